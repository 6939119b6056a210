"""A ledger that has been in use: thousands of rows, stored past the library, as it would store them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

SESSIONS, WORKSPACES, LONG, MESSAGES, USAGE = 20_000, 2_000, 50, 400, 20_000
"""How many sessions and workspaces there are, how many sessions with how many messages, and records of usage."""

OTHERS = 9
"""How many namespaces there are beside `default`: its sessions are a tenth, and all those with messages."""

EACH = 4
"""How many actors, and how many workspaces, have the sessions of a namespace; the other workspaces are empty."""

NOTES = '{{"notes":"{}"}}'.format("Where is my parcel? " * 20)
"""The metadata of every session: how long its row is tells the planner what reading many of them costs."""

START = datetime(2026, 1, 1, tzinfo=UTC)

Table = tuple[str, list[str], Iterator[tuple[Any, ...]]]


def ulid(kind: str, number: int, of: int = 0) -> str:
    """An id of a kind (one letter) that ascends with the numbers."""
    return f"01JD{kind}{of:010}{number:011}"


def namespace(number: int) -> str:
    of = number % (OTHERS + 1)
    return f"other-{of}" if of and number >= LONG else "default"


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.000000")


def tables() -> Iterator[Table]:
    """Each table with the names of its columns and its rows; what is not named has its default."""
    named = "namespace", "created_at", "updated_at"
    yield "resources", [*named, "resource_id", "kind", "name"], _resources()
    yield "sessions", [*named, "session_id", "actor_name", "workspace", "metadata", "last_sequence"], _sessions()
    names = ["message_id", "session_id", "sequence", "role", "content", "created_at", "format"]
    yield "session_messages", names, _messages()
    yield "token_usage", ["usage_id", "session_id", "namespace", "recorded_at", "input_tokens"], _usage()


def _resources() -> Iterator[tuple[Any, ...]]:
    for number in range(WORKSPACES):
        times = at(number), at(number)
        yield namespace(LONG + number), *times, ulid("W", number), "workspace", f"place-{number}"


def _sessions() -> Iterator[tuple[Any, ...]]:
    for number in range(SESSIONS):
        times = at(number), at(2 * SESSIONS - number)
        group = number // (OTHERS + 1) % EACH
        about = f"actor-{group}", ulid("W", (50 + 100 * group) * (OTHERS + 1)), NOTES
        yield namespace(number), *times, ulid("S", number), *about, MESSAGES if number < LONG else 0


def _messages() -> Iterator[tuple[Any, ...]]:
    for of in range(LONG):
        for sequence in range(1, MESSAGES + 1):
            content = f'"Message {sequence}"'
            yield ulid("M", sequence, of), ulid("S", of), sequence, "user", content, at(sequence), "text"


def _usage() -> Iterator[tuple[Any, ...]]:
    for number in range(USAGE):
        of = number % (SESSIONS // 10)
        yield ulid("V", number, of), ulid("S", of), namespace(of), at(number), 0


def fill_sqlite(url: str) -> list[str]:
    """Fill a database; give it and a copy that ANALYZE has looked at."""
    path = Path(make_url(url).database)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table, names, rows in tables():
            places = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    analyzed = path.with_suffix(".analyzed.db")
    shutil.copyfile(path, analyzed)
    with contextlib.closing(sqlite3.connect(analyzed)) as connection:
        connection.execute("ANALYZE")
        connection.commit()
    return [url, f"sqlite:///{analyzed}"]


def fill_postgresql(url: str) -> list[str]:
    """Fill a database that the server then looks at, as autovacuum does of its own accord."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table, names, rows in tables():
            with connection.cursor().copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute("VACUUM ANALYZE")
    return [url]


FILL: dict[str, Callable[[str], list[str]]] = {"sqlite": fill_sqlite, "postgresql": fill_postgresql}
"""How a database of a kind is filled; it gives the URLs of what statements are explained on."""
