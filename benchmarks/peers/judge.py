"""What became of the messages that writers were told were stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Counts:
    """What was counted after writers had appended to one session at once.

    Attributes:
        acknowledged: Messages whose call returned.
        lost: Acknowledged ones that the reading API does not give back.
        doubled: Messages that it gives back more often than once, each time more counted.
        doubled_places: Messages that share their place with another one, by the peer's own rows.
        out_of_order: Messages that are read behind one whose call began only after theirs had returned.
        refused: Errors that were raised to the caller, by type.
        kept: Messages that are stored although their call raised.
        failed: Writers that could not start, in words.
    """

    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    doubled_places: int = 0
    out_of_order: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add another round's counts."""
        for name in ("acknowledged", "lost", "doubled", "doubled_places", "out_of_order", "kept"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused = dict(Counter(self.refused) + Counter(other.refused))
        self.failed += other.failed


def judge(told: dict[str, Any], stored: dict[str, Any]) -> Counts:
    """Compare what the writers were told with what is stored.

    Args:
        told: Of `worker.py --writers`: for each writer its acknowledged (tag, begin, end) and its errors; times are of
            the machine's monotonic clock, which all processes share.
        stored: Of the order `read`: the tags in reading order, and the places or `None`.
    """
    acknowledged = {tag: (began, ended) for writer in told["writers"] for tag, began, ended in writer["acknowledged"]}
    read = Counter(stored["tags"])
    places = stored["positions"] or []
    refused: Counter[str] = Counter()
    for writer in told["writers"]:
        refused.update(writer["errors"])
    return Counts(
        acknowledged=len(acknowledged),
        lost=len(acknowledged.keys() - read.keys()),
        doubled=read.total() - len(read),
        doubled_places=len(places) - len(set(places)),
        out_of_order=_out_of_order(acknowledged, stored["tags"]),
        refused=dict(refused),
        kept=len(read.keys() - acknowledged.keys()),
        failed=list(told["failed"]),
    )


def _out_of_order(acknowledged: dict[str, tuple[int, int]], tags: list[str]) -> int:
    """How many stand behind one that began only when they had ended: no order of the calls explains that."""
    count, latest_begin = 0, 0
    for tag in tags:
        if tag in acknowledged:
            began, ended = acknowledged[tag]
            count += latest_begin > ended
            latest_begin = max(latest_begin, began)
    return count


def controls() -> list[str]:
    """Judge planted faults, and say which of them is not found; an empty list is good."""
    calls = [(f"w0-{at}", at * 10, at * 10 + 5) for at in range(10)]
    told = {"writers": [{"acknowledged": calls, "errors": {"SomeError": 2}}], "failed": []}
    tags = [tag for tag, _, _ in calls]
    good = judge(told, {"tags": tags, "positions": list(range(10))})
    planted = {
        "lost": judge(told, {"tags": tags[:4] + tags[5:], "positions": None}).lost,
        "doubled": judge(told, {"tags": [*tags, "w0-3"], "positions": None}).doubled,
        "doubled_places": judge(told, {"tags": tags, "positions": [0, 1, 2, 2, 4, 5, 6, 7, 8, 9]}).doubled_places,
        "out_of_order": judge(told, {"tags": [*tags[:4], tags[5], tags[4], *tags[6:]], "positions": None}).out_of_order,
        "kept": judge(told, {"tags": [*tags, "w0-11"], "positions": None}).kept,
    }
    missed = [
        f"a planted fault is counted {count} times, not once: {name}" for name, count in planted.items() if count != 1
    ]
    wrong = [name for name in planted if getattr(good, name)]
    return missed + [f"found where nothing is wrong: {name}" for name in wrong]
