"""How far each part is from the floor: the same rows written and read by hand, with the raw driver.

    python benchmarks/floor.py [--quick] [--json]

Floor: `sqlite3` or psycopg on one held connection, the same tables, the same rows, the same durability (SQLite: WAL and
synchronous=FULL, PostgreSQL: fsync on), one statement and one commit where the database can (PostgreSQL: an UPDATE and
an INSERT in one autocommit statement). It writes canonical JSON and its SHA-256, because they are in the rows, and
reads what a caller would be given: parsed JSON and times. It checks nothing, retries nothing and finds no replay.

Both are measured in one process, in many short rounds. In each round every part runs a few times on our side and on the
floor's, in random order; a round's ratio is the quotient of the two medians, and what is printed is the median of the
rounds' ratios with its quartiles. The times of a shared machine say nothing, so none is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
import random
import secrets
import sqlite3
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

import sessionledger

sys.path.append(str(Path(__file__).parent))
import real_databases

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = " ".join(f"word{number % 97:03}" for number in range(120))  # about a kilobyte
BATCH = [{"role": "user", "content": TEXT, "metadata": {"turn": at}} for at in range(100)]
PAGE = 50
MESSAGE = "message_id, session_id, sequence, role, content, tool_call_id, metadata, created_at, format, content_sha256"
SESSION = (
    "s.session_id, s.namespace, s.actor_name, s.metadata, s.last_sequence, s.input_tokens, s.output_tokens,"
    " s.created_at, s.updated_at, s.title, s.key, s.version, s.archived_at, s.cached_input_tokens,"
    " s.cache_write_tokens, s.reasoning_tokens, s.cost, r.name"
)
LISTED = (
    f"SELECT {SESSION} FROM sessions s LEFT JOIN resources r ON r.resource_id = s.workspace"
    " WHERE s.namespace = 'default' AND s.archived_at IS NULL"
)


class Floor(ABC):
    """The same work by hand on one held connection."""

    @abstractmethod
    def append(self, session_id: str) -> int:
        """Append one message, and return its sequence."""

    @abstractmethod
    def append_batch(self, session_id: str) -> int:
        """Append a hundred messages in one multi-row INSERT, and return the last sequence."""

    @abstractmethod
    def read_last(self, session_id: str) -> list[tuple[Any, ...]]:
        """Read the last fifty messages."""

    @abstractmethod
    def list(self, after: tuple[datetime, str] | None) -> list[tuple[Any, ...]]:
        """Read fifty sessions, newest first."""

    @abstractmethod
    def load(self, sessions: Iterable[tuple[Any, ...]], messages: Iterable[tuple[Any, ...]]) -> None:
        """Load rows in bulk, in one transaction."""

    @abstractmethod
    def settle(self) -> None:
        """Let the database look at what was loaded, and have it all on disk."""

    @staticmethod
    def row(session_id: str, text: str = TEXT, metadata: object = None) -> tuple[Any, ...]:
        """The values of a message's row but for its sequence."""
        content = json.dumps(text, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        extra = json.dumps(metadata or {}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(content.encode()).hexdigest()
        message_id = f"0{secrets.token_hex(13)[1:].upper()}"  # a ULID's form, the cheapest way
        return message_id, session_id, "user", content, None, extra, datetime.now(UTC), "text", digest


class SQLiteFloor(Floor):
    """By hand on SQLite."""

    def __init__(self, url: str) -> None:
        self.connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")

    def _advance(self, session_id: str, count: int, at: datetime) -> int:
        statement = (
            "UPDATE sessions SET last_sequence = last_sequence + ?, updated_at = ?"
            " WHERE session_id = ? AND namespace = 'default' RETURNING last_sequence"
        )
        return self.connection.execute(statement, (count, _text(at), session_id)).fetchone()[0]

    def append(self, session_id: str) -> int:
        """See `Floor.append`."""
        message_id, _, role, content, call, metadata, at, form, digest = self.row(session_id)
        self.connection.execute("BEGIN IMMEDIATE")
        last = self._advance(session_id, 1, at)
        values = (message_id, session_id, last, role, content, call, metadata, _text(at), form, digest)
        self.connection.execute(f"INSERT INTO session_messages ({MESSAGE}) VALUES (?,?,?,?,?,?,?,?,?,?)", values)
        self.connection.execute("COMMIT")
        return last

    def append_batch(self, session_id: str) -> int:
        """See `Floor.append_batch`."""
        rows = [self.row(session_id, each["content"], each["metadata"]) for each in BATCH]
        self.connection.execute("BEGIN IMMEDIATE")
        last = self._advance(session_id, len(rows), rows[-1][6])
        values: list[Any] = []
        for sequence, row in enumerate(rows, last - len(rows) + 1):
            values += (*row[:2], sequence, *row[2:6], _text(row[6]), *row[7:])
        places = ",".join(["(?,?,?,?,?,?,?,?,?,?)"] * len(rows))
        self.connection.execute(f"INSERT INTO session_messages ({MESSAGE}) VALUES {places}", values)
        self.connection.execute("COMMIT")
        return last

    def read_last(self, session_id: str) -> list[tuple[Any, ...]]:
        """See `Floor.read_last`."""
        query = f"SELECT {MESSAGE} FROM session_messages WHERE session_id = ? ORDER BY sequence DESC LIMIT {PAGE}"
        rows = self.connection.execute(query, (session_id,)).fetchall()
        rows.reverse()
        return [(*row[:4], json.loads(row[4]), row[5], json.loads(row[6]), _time(row[7]), *row[8:]) for row in rows]

    def list(self, after: tuple[datetime, str] | None) -> list[tuple[Any, ...]]:
        """See `Floor.list`."""
        behind = " AND (s.created_at, s.session_id) < (?, ?)" if after else ""
        query = f"{LISTED}{behind} ORDER BY s.created_at DESC, s.session_id DESC LIMIT {PAGE}"
        rows = self.connection.execute(query, (_text(after[0]), after[1]) if after else ()).fetchall()
        return [(*row[:3], json.loads(row[3]), *row[4:7], _time(row[7]), _time(row[8]), *row[9:]) for row in rows]

    def load(self, sessions: Iterable[tuple[Any, ...]], messages: Iterable[tuple[Any, ...]]) -> None:
        """See `Floor.load`."""
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO sessions (session_id, namespace, actor_name, metadata, last_sequence, created_at, updated_at,"
            " title) VALUES (?,?,?,?,?,?,?,?)",
            ((*row[:5], _text(row[5]), _text(row[6]), row[7]) for row in sessions),
        )
        self.connection.executemany(
            f"INSERT INTO session_messages ({MESSAGE}) VALUES (?,?,?,?,?,?,?,?,?,?)",
            ((*row[:7], _text(row[7]), *row[8:]) for row in messages),
        )
        self.connection.execute("COMMIT")

    def settle(self) -> None:
        """See `Floor.settle`."""
        self.connection.execute("ANALYZE")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class PostgreSQLFloor(Floor):
    """By hand on PostgreSQL: psycopg, autocommit, prepared statements."""

    APPEND = (
        "WITH s AS (UPDATE sessions SET last_sequence = last_sequence + 1, updated_at = %(at)s"
        " WHERE session_id = %(session)s AND namespace = 'default' RETURNING last_sequence)"
        f" INSERT INTO session_messages ({MESSAGE})"
        " SELECT %(id)s, %(session)s, last_sequence, %(role)s, %(content)s, %(call)s, %(metadata)s, %(at)s,"
        " %(format)s, %(digest)s FROM s RETURNING sequence"
    )
    ROW = "(%s::bigint,%s,%s,%s,%s,%s,%s,%s::timestamptz,%s,%s)"
    APPEND_BATCH = (
        "WITH s AS (UPDATE sessions SET last_sequence = last_sequence + %s, updated_at = %s"
        " WHERE session_id = %s AND namespace = 'default' RETURNING last_sequence - %s AS base)"
        f" INSERT INTO session_messages ({MESSAGE})"
        " SELECT v.id, v.session, s.base + v.place, v.role, v.content, v.call, v.metadata, v.at, v.format, v.digest"
        f" FROM s, (VALUES {','.join([ROW] * len(BATCH))})"
        " AS v(place, id, session, role, content, call, metadata, at, format, digest) RETURNING sequence"
    )

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def append(self, session_id: str) -> int:
        """See `Floor.append`."""
        message_id, _, role, content, call, metadata, at, form, digest = self.row(session_id)
        values = {
            "at": at,
            "session": session_id,
            "id": message_id,
            "role": role,
            "content": content,
            "call": call,
            "metadata": metadata,
            "format": form,
            "digest": digest,
        }
        return self.connection.execute(self.APPEND, values, prepare=True).fetchone()[0]

    def append_batch(self, session_id: str) -> int:
        """See `Floor.append_batch`."""
        rows = [self.row(session_id, each["content"], each["metadata"]) for each in BATCH]
        values: list[Any] = [len(rows), rows[-1][6], session_id, len(rows)]
        for place, row in enumerate(rows, 1):
            values += (place, *row)
        return self.connection.execute(self.APPEND_BATCH, values, prepare=True).fetchall()[-1][0]

    def read_last(self, session_id: str) -> list[tuple[Any, ...]]:
        """See `Floor.read_last`."""
        query = f"SELECT {MESSAGE} FROM session_messages WHERE session_id = %s ORDER BY sequence DESC LIMIT {PAGE}"
        rows = self.connection.execute(query, (session_id,), prepare=True).fetchall()
        rows.reverse()
        return [(*row[:4], json.loads(row[4]), row[5], json.loads(row[6]), *row[7:]) for row in rows]

    def list(self, after: tuple[datetime, str] | None) -> list[tuple[Any, ...]]:
        """See `Floor.list`."""
        behind = " AND (s.created_at, s.session_id) < (%s, %s)" if after else ""
        query = f"{LISTED}{behind} ORDER BY s.created_at DESC, s.session_id DESC LIMIT {PAGE}"
        rows = self.connection.execute(query, after or (), prepare=True).fetchall()
        return [(*row[:3], json.loads(row[3]), *row[4:]) for row in rows]

    def load(self, sessions: Iterable[tuple[Any, ...]], messages: Iterable[tuple[Any, ...]]) -> None:
        """See `Floor.load`."""
        columns = "session_id, namespace, actor_name, metadata, last_sequence, created_at, updated_at, title"
        with self.connection.transaction():
            for into, rows in ((f"sessions ({columns})", sessions), (f"session_messages ({MESSAGE})", messages)):
                with self.connection.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)

    def settle(self) -> None:
        """See `Floor.settle`."""
        self.connection.execute("VACUUM ANALYZE")
        self.connection.execute("CHECKPOINT")


FLOORS: dict[str, type[Floor]] = {"sqlite": SQLiteFloor, "postgresql": PostgreSQLFloor}


def _text(at: datetime) -> str:
    """A time as SQLAlchemy keeps it in SQLite."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Part:
    """One thing that is measured.

    Attributes:
        name: What it does.
        goal: The ratio that the project wants, as in the design.
        times: How often each side does it in a round.
        ours: What we do.
        floor: What the floor does.
    """

    name: str
    goal: str
    times: int
    ours: Callable[[], object]
    floor: Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """How far a part is from the floor: the median of the rounds' ratios, and their quartiles."""

    database: str
    part: str
    ratio: float
    low: float
    high: float
    goal: str
    rounds: int


@dataclass(frozen=True)
class Sizes:
    """How much there is in the database, and how long it is measured."""

    sessions: int
    lengths: tuple[int, ...]
    page: int
    rounds: int


FULL = Sizes(sessions=100_000, lengths=(1_000, 10_000, 100_000), page=1_000, rounds=100)
QUICK = Sizes(sessions=2_000, lengths=(1_000,), page=20, rounds=6)


def parts(kind: str, url: str, sizes: Sizes) -> Iterator[Part]:
    """Fill a database, and give what is measured on it."""
    floor = FLOORS[kind](url)
    sessions = sessionledger.connect(url)
    long = {length: sessionledger.new_id() for length in sizes.lengths}
    floor.load(_sessions(sizes, long), _messages(floor, long))
    floor.settle()
    ours, theirs, other = (sessions.create().session_id for _ in range(3))
    append_goal = "1.3" if kind == "postgresql" else "1.5"
    yield Part(
        "append one",
        f"≤ {append_goal}",
        10,
        lambda: sessions.append_message(ours, "user", TEXT),
        lambda: floor.append(theirs),
    )
    yield Part(
        "control: append one, floor ÷ floor", "1.0", 10, lambda: floor.append(theirs), lambda: floor.append(theirs)
    )
    longest = max(sizes.lengths)
    yield Part(
        f"append one: session of {longest:,} ÷ a short one, both ours",
        "≤ 1.1",
        10,
        lambda: sessions.append_message(long[longest], "user", TEXT),
        lambda: sessions.append_message(other, "user", TEXT),
    )
    yield Part(
        "append a batch of 100",
        "≤ 0.8",
        2,
        lambda: sessions.append_messages(ours, BATCH),
        lambda: floor.append_batch(theirs),
    )
    for length, session_id in long.items():
        yield Part(
            f"read the last 50 of {length:,}",
            "≤ 1.1",
            5,
            lambda session_id=session_id: sessions.get_messages(session_id, last=PAGE),
            lambda session_id=session_id: floor.read_last(session_id),
        )
    yield Part(
        f"list 50 of {sizes.sessions:,}, first page",
        "≤ 1.3",
        5,
        lambda: sessions.list(limit=PAGE),
        lambda: floor.list(None),
    )
    cursor = None
    for _ in range(sizes.page - 1):
        page = sessions.list(limit=PAGE, cursor=cursor)
        cursor = page.next_cursor
    after = (page.sessions[-1].created_at, page.sessions[-1].session_id)
    yield Part(
        f"list 50 of {sizes.sessions:,}, page {sizes.page:,}",
        "≤ 1.3",
        5,
        lambda: sessions.list(limit=PAGE, cursor=cursor),
        lambda: floor.list(after),
    )


def _sessions(sizes: Sizes, long: dict[int, str]) -> Iterator[tuple[Any, ...]]:
    for length, session_id in long.items():
        yield session_id, "default", "reader", "{}", length, START, START, f"{length} messages"
    for at in range(sizes.sessions):
        made = START + timedelta(seconds=at)
        yield (
            sessionledger.new_id(),
            "default",
            f"actor-{at % 100}",
            f'{{"at":{at}}}',
            0,
            made,
            made,
            f"Session {at}",
        )


def _messages(floor: Floor, long: dict[int, str]) -> Iterator[tuple[Any, ...]]:
    for length, session_id in long.items():
        for sequence in range(1, length + 1):
            row = floor.row(session_id)
            yield *row[:2], sequence, *row[2:]


def measure(found: list[tuple[str, Part]], rounds: int) -> list[Finding]:
    """Run every part in every round, in random order, and ours and the floor's turn about."""
    chance = random.Random(1)
    ratios: dict[tuple[str, str], list[float]] = {(kind, part.name): [] for kind, part in found}
    for _, part in found:
        _check(part)
    for number in range(rounds + 2):
        for kind, part in chance.sample(found, len(found)):
            ours: list[float] = []
            floor: list[float] = []
            for _ in range(part.times):
                sides = [(part.ours, ours), (part.floor, floor)]
                chance.shuffle(sides)
                for act, times in sides:
                    began = time.perf_counter_ns()
                    act()
                    times.append(time.perf_counter_ns() - began)
            if number >= 2:  # the first two warm up
                ratios[kind, part.name].append(statistics.median(ours) / statistics.median(floor))
    findings = []
    for kind, part in found:
        low, middle, high = statistics.quantiles(ratios[kind, part.name], n=4)
        findings.append(Finding(kind, part.name, round(middle, 2), round(low, 2), round(high, 2), part.goal, rounds))
    return findings


def _check(part: Part) -> None:
    """What the two sides read is the same: else the ratio would mean nothing."""
    ours, floor = part.ours(), part.floor()
    if "read" in part.name:
        assert [message.content for message in ours] == [row[4] for row in floor], part.name
        assert [message.created_at for message in ours] == [row[7] for row in floor], part.name
    elif "list" in part.name:
        assert [(each.session_id, each.metadata) for each in ours] == [(row[0], row[3]) for row in floor], part.name


def versions() -> dict[str, str]:
    """What was measured with what."""
    names = ("sessionledger", "sqlalchemy", "psycopg")
    with closing(psycopg.connect(real_databases.url_of("postgresql"))) as connection:
        server = connection.info.parameter_status("server_version")
    return {
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": server or "",
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure each part against hand-written SQL, as ratios.")
    parser.add_argument("--quick", action="store_true", help="small data and few rounds: only to see that it runs")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    try:
        urls = {kind: real_databases.url_of(kind) for kind in real_databases.DATABASES}
        found = [(kind, part) for kind, url in urls.items() for part in parts(kind, url, sizes)]
        findings = measure(found, arguments.rounds or sizes.rounds)
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
