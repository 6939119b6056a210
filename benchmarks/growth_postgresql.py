"""What a message costs on PostgreSQL: bytes on disk, bytes of write-ahead log, and the pages each call touches."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Engine, event

import sessionledger
from floor import PAGE, TEXT

BATCH = 100
LENGTHS = (100, 10_000, 100_000)
QUICK_LENGTHS = (100, 1_000)
SHORT = "Hello"


def sizes(url: str) -> dict[str, int]:
    """The bytes of each table, with what it keeps outside of its rows, and of each index."""
    query = (
        "SELECT relname, CASE relkind WHEN 'r' THEN pg_table_size(oid) ELSE pg_relation_size(oid) END FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') ORDER BY relkind DESC, relname"
    )
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query).fetchall())


def settle(url: str) -> None:
    """Let the server clean up, look at what is there, and have it all on disk."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


class Filled:
    """A ledger with sessions of some lengths, appended to in turn, and many short ones.

    Args:
        url: The database, which is empty.
        lengths: How many messages the long sessions have.
        sessions: How many sessions with one message there are beside them.
    """

    def __init__(self, url: str, lengths: tuple[int, ...], sessions: int) -> None:
        self.url = url
        with closing(sessionledger.connect(url)) as service:
            self.long = {length: service.create(actor_name="reader").session_id for length in lengths}
            left = dict(self.long)
            messages = [{"role": "user", "content": TEXT}] * BATCH
            for done in range(0, max(lengths), BATCH):
                left = {length: each for length, each in left.items() if length > done}
                for session_id in left.values():
                    service.append_messages(session_id, messages)
            self.short = []
            for number in range(sessions):
                self.short.append(service.create(actor_name=f"actor-{number % 100}").session_id)
                service.append_message(self.short[-1], "user", TEXT)
        settle(url)
        self.messages = sum(lengths) + sessions


def storage(filled: Filled) -> dict[str, Any]:
    """Bytes a message and a session, in the tables and in each index."""
    found = sizes(filled.url)
    rows = {"session_messages": filled.messages, "sessions": len(filled.short) + len(filled.long)}

    def table_of(name: str) -> str | None:
        return next(
            (table for table in rows if name in {table, f"pk_{table}"} or name.startswith(f"ix_{table}_")), None
        )

    each = {name: round(size / rows[table], 1) for name, size in found.items() if (table := table_of(name))}
    return {"messages": filled.messages, "sessions": rows["sessions"], "content": len(TEXT) + 2, "bytes_each": each}


@dataclass(frozen=True)
class Logged:
    """What an append leaves in the write-ahead log, its commit included.

    Attributes:
        what: Who was appended to.
        content: The bytes of the content.
        after: What went before: a checkpoint, after which a page's first change stores an image of all of it; or as
            many appends to the same sessions.
        bytes: Bytes an append.
        images: How many images of pages an append needed.
    """

    what: str
    content: int
    after: str
    bytes: int
    images: float


def log(filled: Filled, appends: int) -> Iterator[Logged]:
    """Append so often under each condition; nobody else writes."""
    chance = random.Random(1)
    one = [filled.short[0]]
    for what, ids in (("one session", one), (f"{len(filled.short):,} sessions at random", filled.short)):
        for text in (SHORT, TEXT):
            order = [chance.choice(ids) for _ in range(appends)]
            with psycopg.connect(filled.url, autocommit=True) as connection:
                connection.execute("VACUUM sessions, session_messages")  # else autovacuum might, meanwhile
                connection.execute("CHECKPOINT")
                for after in ("a checkpoint", "as many appends"):
                    yield Logged(what, len(text) + 2, after, *_log(connection, filled.url, order, text))


def _log(connection: Any, url: str, ids: list[str], text: str) -> tuple[int, float]:
    place, images = _log_place(connection)
    with closing(sessionledger.connect(url)) as service:  # what it has counted is told when it is closed
        for session_id in ids:
            service.append_message(session_id, "user", text)
    end, images_then = _log_place(connection)
    return round((end - place) / len(ids)), round((images_then - images) / len(ids), 3)


def _log_place(connection: Any) -> tuple[int, int]:
    query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), (SELECT wal_fpi FROM pg_stat_wal)"
    return tuple(map(int, connection.execute(query).fetchone()))


@dataclass(frozen=True)
class Touched:
    """What a call touches.

    Attributes:
        call: The call.
        statements: How many statements it sends, `BEGIN` not counted.
        pages: How often a page of a table or an index was looked at, in memory or not; not what a foreign key's check
            looks at.
        rows: Rows that were looked at in tables and indexes, those that a filter dropped among them.
        log: Bytes of write-ahead log, without the commit.
    """

    call: str
    statements: int
    pages: int
    rows: int
    log: int


def touched(filled: Filled) -> Iterator[Touched]:
    """Explain, analyze and undo the statements of each call."""
    with closing(sessionledger.connect(filled.url)) as service:
        service.list(limit=1)
        far = None
        for _ in range(len(filled.short) // PAGE - 1):
            far = service.list(limit=PAGE, cursor=far).next_cursor
        calls: dict[str, Callable[[], Any]] = {}
        for length, session_id in filled.long.items():
            what = f"a session of {length:,}"
            calls |= {
                f"append_message to {what}": lambda its=session_id: service.append_message(its, "user", TEXT),
                f"get_messages of the last {PAGE} of {what}": lambda its=session_id: service.get_messages(
                    its, last=PAGE
                ),
                f"get_messages of a page of {PAGE} of {what}": lambda its=session_id, length=length: (
                    service.get_messages(its, after=length // 2, limit=PAGE)
                ),
            }
        batch = [{"role": "user", "content": TEXT}] * BATCH
        calls |= {
            f"append_messages, {BATCH} of them": lambda: service.append_messages(session_id, batch),
            "update_token_usage": lambda: service.update_token_usage(session_id, input_tokens=1),
            "get": lambda: service.get(session_id),
            f"list {PAGE} of {len(filled.short):,}, first page": lambda: service.list(limit=PAGE),
            f"list {PAGE}, last page": lambda: service.list(limit=PAGE, cursor=far),
            f"list {PAGE} of an actor": lambda: service.list(limit=PAGE, actor_name="actor-7"),
            f"list {PAGE}, updated first": lambda: service.list(limit=PAGE, order="updated"),
        }
        for name, call in calls.items():
            yield _touched(filled.url, name, call)


def _touched(url: str, name: str, call: Callable[[], Any]) -> Touched:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        statements.append((statement, values[0] if many and isinstance(values, list) else values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    statements = [each for each in statements if not each[0].startswith(("BEGIN", "SET", "SELECT pg_"))]
    pages = rows = log = 0
    for statement, values in statements:
        plan = _analyzed(url, statement, values)
        # What a CTE writes is done when the rest is, and is not in the figures of the plan's top.
        writing = [node for node in _nodes(plan) if node.get("Subplan Name") and node["Node Type"] == "ModifyTable"]
        for node in writing or [plan]:
            pages += node["Shared Hit Blocks"] + node["Shared Read Blocks"]
            log += node["WAL Bytes"]
        rows += sum(map(_rows, _nodes(plan)))
    return Touched(name, len(statements), pages, rows, log)


def _analyzed(url: str, statement: str, values: Any) -> dict[str, Any]:
    """A statement's plan as it ran, with new ids for the messages that the call has stored; what it did is undone."""
    if isinstance(values, dict):
        values = {name: _renewed(name, value) for name, value in values.items()}
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        told = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) {statement}", values).fetchone()
        connection.rollback()
    return told[0][0]["Plan"]


def _renewed(name: str, value: Any) -> Any:
    if name in {"message_id", "usage_id"} and value is not None:
        return sessionledger.new_id()
    if name == "rows":
        return re.sub('(?<="message_id":")[0-9A-Z]{26}', lambda _: sessionledger.new_id(), value)
    return value


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> int:
    if "Relation Name" not in node or not node["Node Type"].endswith("Scan"):
        return 0
    return round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
