"""How a helper talks to Robot: `helper_….py VERB JSON` says `ready`, waits for a line, and prints JSON.

Helpers are copied out of the checkout and run on the installed wheel; one that finds another package refuses to run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sessionledger


def ready() -> None:
    """Wait until all processes of a test are ready."""
    print("ready", flush=True)
    sys.stdin.readline()


def answer(verbs: dict[str, Callable[..., Any]]) -> None:
    """Run the verb of the command line. A verb whose preparations take time calls `ready` itself."""
    package = Path(sessionledger.__file__)
    if not package.is_relative_to(sys.prefix):
        sys.exit(f"{package} is not the installed wheel")
    verb = verbs[sys.argv[1]]
    if not getattr(verb, "prepares", False):
        ready()
    print(json.dumps(verb(**json.loads(sys.argv[2]))))


def prepares(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a verb that calls `ready` itself."""
    verb.prepares = True
    return verb
