"""W9: the work of every day on ten million messages in 100,000 sessions, against the same work on ten thousand.

    python benchmarks/ten_million.py [--messages N] [--size BYTES] [--rounds N] [--json FILE] [--publish]

PostgreSQL, with every commit forced to the disk. Both ledgers are built by `import_sessions`, from archives of 1,000
sessions with 100 messages each, that are made as they go. Then, in one interleaved run: append one, read the last 50,
list 50 sessions, each to a session drawn at random; ours on the large ledger against ours on the small one (the goal),
and each against the floor on the same ledger. The sizes are those of the tables after the import.

Ten million messages of a kilobyte need about 20 GB of free disk while it runs, and take long; `--messages 20000` shows
in a minute that everything runs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent / "features"))

import generated_archives
import postgresql
import real_databases
import report
import sessionledger
from floor import PAGE, PostgreSQLFloor
from growth_postgresql import settle, sizes
from interleaved import Finding, Goal, Part, measure

SESSIONS, MESSAGES = 1_000, 100
"""How many sessions an archive holds, and how many messages a session."""

SMALL = 10_000
FAR = 1_000
SETTINGS = real_databases.SETTINGS | {"autovacuum": "on", "shared_buffers": "1GB", "maintenance_work_mem": "256MB"}
PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "performance" / "ten_million.json"
NEEDED = 2.0
"""How much disk is needed while a ledger is built, in parts of what it holds: the tables, the log, one archive."""

WITHIN = Goal(1.3)
FLOOR = {"W1": Goal(1.3), "W3": Goal(1.1), "W5": Goal(1.3)}


@dataclass(frozen=True)
class Import:
    """How a ledger was built.

    Attributes:
        messages: How many messages it holds.
        seconds: How long the imports took, without making the archives.
        first: Messages a second over its first tenth.
        last: Messages a second over its last tenth.
        sizes: Bytes of each table and index after `VACUUM`, by name.
    """

    messages: int
    seconds: float
    first: float
    last: float
    sizes: dict[str, int]


class Ledger:
    """A ledger of so many messages, with our service and the floor on it.

    Args:
        messages: How many messages.
        size: About how many bytes a message's content has.
        closing: Closes what is opened here.
    """

    def __init__(self, messages: int, size: int, closing: ExitStack) -> None:
        self.url = real_databases.fresh("postgresql")
        self.text = ("parcel " * (size // 7 + 1))[:size]
        self.sessions = closing.enter_context(sessionledger.connect(self.url))
        self.ids: list[str] = []
        self.imported = self._import(messages // MESSAGES)
        self.floor = PostgreSQLFloor(self.url)
        closing.callback(self.floor.close)
        self._chance = random.Random(1)

    def any(self) -> str:
        """The id of a session, at random."""
        return self._chance.choice(self.ids)

    def cursor(self, page: int) -> str | None:
        """The cursor of a page of the listing."""
        cursor = None
        for _ in range(page - 1):
            cursor = self.sessions.list(limit=PAGE, cursor=cursor).next_cursor
        return cursor

    def after(self, cursor: str | None) -> tuple[Any, str] | None:
        """The same place for the floor: the time and the id of the session before the page's first one."""
        if cursor is None:
            return None
        first = next(iter(self.sessions.list(limit=1, cursor=cursor)))
        query = (
            "SELECT created_at, session_id FROM sessions WHERE (created_at, session_id) > (%s, %s)"
            " ORDER BY created_at, session_id LIMIT 1"
        )
        return self.floor.connection.execute(query, (first.created_at, first.session_id)).fetchone()

    def _import(self, sessions: int) -> Import:
        took: list[tuple[int, float]] = []
        for first in range(0, sessions, SESSIONS):
            count = min(SESSIONS, sessions - first)
            with tempfile.TemporaryFile() as file:
                generated_archives.write(file, first, count, MESSAGES, self.text)
                file.seek(0)
                began = time.perf_counter()
                self.ids += self.sessions.import_sessions(file).session_ids
                took.append((count * MESSAGES, time.perf_counter() - began))
            if len(took) % 10 == 0:
                print(f"imported {len(self.ids) * MESSAGES:,} messages", file=sys.stderr, flush=True)
        tenth = max(1, len(took) // 10)
        settle(self.url)
        seconds = sum(each for _, each in took)
        return Import(sessions * MESSAGES, seconds, _rate(took[:tenth]), _rate(took[-tenth:]), sizes(self.url))


def _rate(took: list[tuple[int, float]]) -> float:
    return sum(count for count, _ in took) / sum(seconds for _, seconds in took)


def parts(large: Ledger, small: Ledger) -> Iterator[Part]:
    """What is measured: ours on the large ledger against ours on the small one, and each against its floor."""
    for workload, name, ours, floor in (*_appends(), *_reads(), *_lists(large, small)):
        yield Part(workload, "postgresql", name, ours(large), ours(small), WITHIN, against="ours, 10,000 messages")
        yield Part(workload, "postgresql", name, ours(large), floor(large), FLOOR[workload])
        yield Part(workload, "postgresql", name, floor(large), floor(small), against="floor, 10,000 messages")
    for _, name, _, floor in (*_appends(), *_reads()):
        act = floor(large)
        yield Part("control", "postgresql", f"{name}, floor ÷ floor", act, act, control=(0.8, 1.25))


Act = Callable[[Ledger], Callable[[], Any]]


def _appends() -> Iterator[tuple[str, str, Act, Act]]:
    yield (
        "W1",
        "append one",
        lambda ledger: lambda: ledger.sessions.append_message(ledger.any(), "user", ledger.text),
        lambda ledger: lambda: ledger.floor.append(ledger.any(), ledger.text),
    )


def _reads() -> Iterator[tuple[str, str, Act, Act]]:
    yield (
        "W3",
        "read the last 50",
        lambda ledger: lambda: ledger.sessions.get_messages(ledger.any(), last=PAGE),
        lambda ledger: lambda: ledger.floor.read_last(ledger.any()),
    )


def _lists(large: Ledger, small: Ledger) -> Iterator[tuple[str, str, Act, Act]]:
    yield (
        "W5",
        "list 50, first page",
        lambda ledger: lambda: ledger.sessions.list(limit=PAGE),
        lambda ledger: lambda: ledger.floor.list(),
    )
    far = min(FAR, len(large.ids) // PAGE)
    cursors = {ledger.url: ledger.cursor(page) for ledger, page in ((large, far), (small, 2))}
    places = {ledger.url: ledger.after(cursors[ledger.url]) for ledger in (large, small)}
    yield (
        "W5",
        f"list 50, page {far:,} (of the small one: 2)",
        lambda ledger: lambda: ledger.sessions.list(limit=PAGE, cursor=cursors[ledger.url]),
        lambda ledger: lambda: ledger.floor.list(places[ledger.url]),
    )
    # Of an actor the small ledger has one session: what is held against each other is the price of a page.
    yield (
        "W5",
        "list 50 of an actor (of the small one: of all)",
        lambda ledger: lambda: ledger.sessions.list(limit=PAGE, actor_name="actor-7" if ledger is large else None),
        lambda ledger: lambda: ledger.floor.list(actor="actor-7" if ledger is large else None),
    )


def same(large: Ledger) -> None:
    """See that ours and the floor read the same: else the ratios would mean nothing."""
    session_id = large.any()
    ours, floor = large.sessions.get_messages(session_id, last=PAGE), large.floor.read_last(session_id)
    assert [each.content for each in ours] == [row[4] for row in floor]
    assert len(ours) == PAGE
    assert [each.session_id for each in large.sessions.list(limit=PAGE)] == [row[0] for row in large.floor.list()]
    for ledger, page in itertools.product((large,), (2, min(FAR, len(large.ids) // PAGE))):
        cursor = ledger.cursor(page)
        listed = [each.session_id for each in ledger.sessions.list(limit=PAGE, cursor=cursor)]
        assert listed == [row[0] for row in ledger.floor.list(ledger.after(cursor))], page


def show(found: dict[str, Any]) -> Iterator[str]:
    """The lines that a reader is told."""
    yield f"{found['messages']:,} messages of {found['size']} bytes in {found['messages'] // MESSAGES:,} sessions"
    for name, each in found["imports"].items():
        total = sum(each["sizes"].values())
        rate, first, last = each["messages"] / each["seconds"], each["first"], each["last"]
        yield (
            f"{name}: imported at {rate:,.0f} messages/s in {each['seconds']:,.0f} s (first tenth {first:,.0f}/s,"
            f" last tenth {last:,.0f}/s); {total / 1e9:.2f} GB, {total / each['messages']:,.0f} bytes a message"
        )
    large = found["imports"]["large"]
    yield ""
    yield from report.table(
        [("table or index", "---"), ("bytes", "---:"), ("bytes a message", "---:")],
        (
            [name, f"{size:,}", f"{size / large['messages']:,.1f}"]
            for name, size in large["sizes"].items()
            if size > 65_536
        ),
    )
    yield ""
    yield from report.table(
        [("workload", "---"), ("work", "---"), ("÷", "---"), ("ratio", "---:"), ("quartiles", "---"), ("goal", "---")],
        (
            [
                each["workload"],
                each["part"],
                each["against"],
                f"{each['ratio']:.2f}",
                f"{each['low']:.2f} to {each['high']:.2f}",
                each["goal"] + ("" if each["met"] is None else " met" if each["met"] else " **missed**"),
            ]
            for each in found["findings"]
        ),
    )


def run(arguments: argparse.Namespace, closing: ExitStack) -> dict[str, Any]:
    """Build both ledgers, and measure."""
    server = closing.enter_context(postgresql.Server(settings=SETTINGS))
    os.environ[real_databases.VARIABLE] = server.url
    small = Ledger(min(SMALL, arguments.messages), arguments.size, closing)
    large = Ledger(arguments.messages, arguments.size, closing)
    same(large)
    with asyncio.Runner() as runner:
        findings: list[Finding] = measure(list(parts(large, small)), arguments.rounds, runner.run)
    return {
        "format": 1,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "settings": SETTINGS,
        "messages": arguments.messages,
        "size": arguments.size,
        "imports": {"small": asdict(small.imported), "large": asdict(large.imported)},
        "findings": [asdict(each) for each in findings],
    }


def main() -> int:
    """Measure and print; fail where a control is beyond its bounds."""
    parser = argparse.ArgumentParser(description="Measure the work of every day on ten million messages.")
    parser.add_argument("--messages", type=int, default=10_000_000, help="how many messages the large ledger has")
    parser.add_argument("--size", type=int, default=1_024, help="how many bytes the text of a message has")
    parser.add_argument("--rounds", type=int, default=50, help="how many rounds are measured")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.add_argument("--publish", action="store_true", help=f"write it to {PUBLISHED.name} in the documentation")
    arguments = parser.parse_args()
    if arguments.messages < SMALL or arguments.messages % (MESSAGES * 10):
        parser.error(f"--messages must be at least {SMALL:,}, in thousands")
    needed = NEEDED * arguments.messages * (arguments.size + 300)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        parser.error(
            f"{needed / 1e9:,.0f} GB of disk are needed and {free / 1e9:,.0f} GB are free; give a smaller --size"
        )
    with ExitStack() as closing:
        found = run(arguments, closing)
    print(*show(found), sep="\n")
    for path in filter(None, (arguments.json, PUBLISHED if arguments.publish else None)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if any(each["control"] and not each["met"] for each in found["findings"]) else 0


if __name__ == "__main__":
    sys.exit(main())
