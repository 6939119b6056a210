"""Older format versions, brought to the newest one a step at a time.

A step is a pure function from a record of one format version to a record of the next: the JSON object of a line, the
header's included, and never a field less than it was given but those that it replaces. Format version 1 is the newest,
so there is no step yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sessionledger.domain.content import JSON

Upcast: TypeAlias = Callable[[dict[str, JSON]], dict[str, JSON]]

UPCASTS: Mapping[int, Upcast] = {}
"""By the format version that a step starts from; a test holds that there is one for each but the newest."""


def upcast(values: dict[str, JSON], found: int, newest: int, steps: Mapping[int, Upcast] = UPCASTS) -> dict[str, JSON]:
    """Bring a record from the format version in which it was found to the newest one."""
    for version in range(found, newest):
        values = steps[version](values)
    return values
