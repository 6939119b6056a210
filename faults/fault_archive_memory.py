"""The memory of exports and imports: it does not grow with what there is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from archives import Item, invented, lines_of
from harness import Found, Kind, control, fault
from memory import MIB, Cost, cost

MOST = 64 * MIB
LONGEST = 6_815_744
MOST_OF_LONGEST = 96 * MIB
"""Of messages near the longest there may be: SQLite takes 32 MiB to read such a row, before any of our code runs."""
WAYS = ("sync", "async")
SECONDS = 1_800

Size = tuple[int, int, int]
"""Sessions, messages in each, and bytes of each message; 0 for what conversations have."""


def conversations(size: Size) -> list[Sequence[Item]]:
    """Conversations of a size; they share their messages, so they take no memory here."""
    sessions, messages, length = size
    if length:
        return [[Item("user", "x" * length, "text")] * messages] * sessions
    some = invented(8, 1)
    return [(some * (messages // 8 + 1))[:messages]] * sessions


def written(path: Path, size: Size) -> None:
    """An archive of a size, in a file."""
    with path.open("wb") as file:
        file.writelines(lines_of(conversations(size), "memory"))


def told(size: Size) -> str:
    sessions, messages, length = size
    return f"{sessions:,} x {messages:,}" + (f" of {length / MIB:.2g} MiB" if length else "")


def over_idle(costs: Cost) -> int:
    """The memory it took beyond what it had when it was idle, in MiB."""
    assert costs.outcome != "died", "the process died"
    return (costs.peak - costs.idle) // MIB


@fault(
    "memory of export and import beyond an idle process: sessions x messages",
    short={"sizes": [(1, 1_200, 65_536)]},
    full={"sizes": [(1, 100_000, 0), (10_000, 10, 0), (1, 40, LONGEST)]},
)
def archive_memory(kind: Kind, found: Found, *, sizes: list[Size]) -> None:
    large = []
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder, "archive"), Path(folder, "again")
        for size in sizes:
            written(path, size)
            for way in WAYS:
                url = kind.fresh()
                for work, file in (("import", path), ("export", again)):
                    costs = cost(work, way, url, file, seconds=SECONDS)
                    found[f"{told(size)}, {work} {way}, MiB"] = over_idle(costs)
                    if costs.peak - costs.idle > (MOST_OF_LONGEST if size[2] == LONGEST else MOST):
                        large.append(f"{told(size)}, {work} {way}: {over_idle(costs)} MiB")
                assert_same(path, again)
                kind.drop(url)
    assert not large, "; ".join(large)


def assert_same(path: Path, again: Path) -> None:
    """Hold that the second archive is as large as the first, but for the digests of what comes before."""
    assert abs(path.stat().st_size - again.stat().st_size) < path.stat().st_size // 10 + 1000, "other sizes"


@control(
    "a reader that keeps all records in a list",
    short={"sizes": [(1, 1_200, 65_536)]},
    full={"sizes": [(1, 100_000, 0), (10_000, 10, 0), (1, 40, LONGEST)]},
    databases=("sqlite",),
)
def archive_memory_in_a_list(kind: Kind, found: Found, *, sizes: list[Size]) -> None:  # noqa: ARG001
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "archive")
        for size in sizes:
            written(path, size)
            costs = cost("hoarding", path)
            found[f"{told(size)}, MiB"] = over_idle(costs)
            assert costs.peak - costs.idle > MOST, "it stays within the figure"
