"""How far export and import are from the floor: the same rows as JSON Lines, written and read by hand.

    python benchmarks/archive_floor.py [--quick] [--json]

Floor of an export: one SELECT, each content decoded, each row encoded as a line of JSON, one SHA-256 over all lines.
Floor of an import: each line hashed, decoded, its content encoded and hashed, and the rows stored in one transaction:
COPY on PostgreSQL, `executemany` on SQLite. One pass; it verifies nothing before it writes, and no field of a record.

Ours and the floor's take turns, in random order; printed is the median of the rounds' ratios with its quartiles.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import sessionledger

sys.path.append(str(Path(__file__).parent))
import real_databases
from floor import FLOORS, MESSAGE, START, TEXT, Finding, Floor, versions

COLUMNS = MESSAGE.split(", ")
ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def export_by_hand(floor: Floor, session_id: str) -> bytes:
    """A session's messages as lines of JSON, with their digest."""
    file, digest = io.BytesIO(), hashlib.sha256()
    mark = "?" if "SQLite" in type(floor).__name__ else "%s"
    query = f"SELECT {MESSAGE} FROM session_messages WHERE session_id = {mark} ORDER BY sequence"
    for row in floor.connection.execute(query, (session_id,)):
        values = dict(zip(COLUMNS, row, strict=True))
        values["content"] = json.loads(values["content"])
        values["metadata"] = json.loads(values["metadata"])
        values["created_at"] = str(values["created_at"])
        line = ENCODE(values).encode() + b"\n"
        digest.update(line)
        file.write(line)
    file.write(b'{"sha256":"%s"}\n' % digest.hexdigest().encode())
    return file.getvalue()


def import_by_hand(floor: Floor, archive: bytes) -> str:
    """Store such lines under a new session, and return its id."""
    session_id = sessionledger.new_id()
    lines = archive.splitlines(keepends=True)[:-1]
    session = (session_id, "default", None, "{}", len(lines), START, START, None)
    floor.load([session], _rows(session_id, lines))
    return session_id


def _rows(session_id: str, lines: list[bytes]) -> Iterator[tuple[Any, ...]]:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
        values = json.loads(line)
        content = ENCODE(values["content"])
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        values |= {"session_id": session_id, "content": content, "metadata": ENCODE(values["metadata"])}
        values |= {"content_sha256": sha256}
        values |= {"created_at": datetime.fromisoformat(values["created_at"])}
        yield tuple(values[name] for name in COLUMNS)


class Side:
    """One way to export and import on one database, and its archive."""

    def __init__(self, export: Callable[[], bytes], load: Callable[[bytes], str], forget: Callable[[str], None]):
        self.export, self.load, self.forget = export, load, forget
        self.archive = export()

    def seconds_to_export(self) -> float:
        """How long an export takes."""
        began = time.perf_counter()
        self.export()
        return time.perf_counter() - began

    def seconds_to_import(self) -> float:
        """How long an import takes; what it stored is deleted again."""
        began = time.perf_counter()
        session_id = self.load(self.archive)
        seconds = time.perf_counter() - began
        self.forget(session_id)
        return seconds


def sides(kind: str, url: str, count: int) -> dict[str, Side]:
    """Ours and the floor's, on a session of so many messages."""
    sessions = sessionledger.connect(url)
    session_id = sessions.create(actor_name="reader").session_id
    for start in range(0, count, 1000):
        sessions.append_messages(
            session_id, [{"role": "user", "content": f"{at} {TEXT}"} for at in range(start, start + 1000)]
        )
    floor = FLOORS[kind](url)

    def export() -> bytes:
        file = io.BytesIO()
        sessions.export_session(session_id, file)
        return file.getvalue()

    return {
        "ours": Side(
            export,
            lambda archive: sessions.import_session(io.BytesIO(archive), as_copy=True).session_id,
            sessions.delete,
        ),
        "floor": Side(
            lambda: export_by_hand(floor, session_id),
            lambda archive: import_by_hand(floor, archive),
            sessions.delete,
        ),
    }


def measure(kind: str, found: dict[str, Side], count: int, rounds: int) -> Iterator[Finding]:
    """Run both sides in turn, in random order."""
    chance = random.Random(1)
    for what in ("export", "import"):
        ratios = []
        for _ in range(rounds):
            seconds = {
                name: getattr(found[name], f"seconds_to_{what}")() for name in chance.sample(sorted(found), len(found))
            }
            ratios.append(seconds["ours"] / seconds["floor"])
        low, middle, high = statistics.quantiles(ratios, n=4)
        part = f"{what} {count:,} messages"
        yield Finding(kind, part, round(middle, 2), round(low, 2), round(high, 2), "≤ 1.5", rounds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure export and import against JSON Lines by hand, as ratios.")
    parser.add_argument("--quick", action="store_true", help="few messages and rounds: only to see that it runs")
    parser.add_argument("--messages", type=int, help="how many messages")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    arguments = parser.parse_args()
    count, rounds = (2_000, 2) if arguments.quick else (100_000, 7)
    count, rounds = arguments.messages or count, arguments.rounds or rounds
    try:
        findings = [
            finding
            for kind in real_databases.DATABASES
            for finding in measure(kind, sides(kind, real_databases.url_of(kind), count), count, rounds)
        ]
        measured_with = versions()
    finally:
        real_databases.stop()
    if arguments.json:
        print(json.dumps({"versions": measured_with, "findings": [asdict(each) for each in findings]}))
        return
    print(", ".join(f"{name} {version}" for name, version in measured_with.items()))
    print()
    print("| database | part | ours ÷ floor | quartiles | goal |")
    print("| --- | --- | ---: | --- | --- |")
    for each in findings:
        quartiles = f"{each.low:.2f} to {each.high:.2f}"
        print(f"| {each.database} | {each.part} | {each.ratio:.2f} | {quartiles} | {each.goal} |")


if __name__ == "__main__":
    main()
