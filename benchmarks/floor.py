"""The floor: the same rows written and read by hand, with the raw driver on one held connection.

`sqlite3` or psycopg, the same tables, the same rows, the same durability (SQLite: WAL and synchronous=FULL, PostgreSQL:
fsync on), one statement and one commit where the database can (PostgreSQL: an UPDATE and an INSERT in one autocommit,
prepared statement). It writes canonical JSON and its SHA-256, because they are in the rows, and reads what a caller
would be given: parsed JSON and times. It checks nothing, retries nothing and finds no replay.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = " ".join(f"word{number % 97:03}" for number in range(120))  # about a kilobyte
BATCH = [{"role": "user", "content": TEXT, "metadata": {"turn": at}} for at in range(100)]
USAGE = {"input_tokens": 120, "output_tokens": 30}
MODEL = "any-model"
PAGE = 50
MESSAGE = "message_id, session_id, sequence, role, content, tool_call_id, metadata, created_at, format, content_sha256"
RECORD = "session_id, usage_id, message_id, actor_name, namespace, model, input_tokens, output_tokens, recorded_at"
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

    connection: Any
    place: str
    """The placeholder of a parameter."""

    @abstractmethod
    def append(self, session_id: str, text: str = TEXT) -> int:
        """Append one message, and return its sequence."""

    @abstractmethod
    def append_with_usage(self, session_id: str) -> int:
        """Append one message with its token usage: one record more, and the session's totals."""

    @abstractmethod
    def append_batch(self, session_id: str) -> int:
        """Append a hundred messages in one multi-row INSERT, and return the last sequence."""

    @abstractmethod
    def read_last(self, session_id: str) -> list[tuple[Any, ...]]:
        """Read the last fifty messages."""

    @abstractmethod
    def list(self, after: tuple[datetime, str] | None = None, actor: str | None = None) -> list[tuple[Any, ...]]:
        """Read fifty sessions, newest first, of everybody or of one actor."""

    @abstractmethod
    def load(self, sessions: Iterable[tuple[Any, ...]], messages: Iterable[tuple[Any, ...]]) -> None:
        """Load rows in bulk, in one transaction."""

    @abstractmethod
    def settle(self) -> None:
        """Let the database look at what was loaded, and have it all on disk."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def newest(self, session_id: str, count: int = 1) -> list[tuple[Any, ...]]:
        """The newest rows of a session as they are stored, but for what differs between two appends: ids and times."""
        columns = "role, content, tool_call_id, metadata, format, content_sha256"
        mine = f"session_id = {self.place} ORDER BY sequence DESC LIMIT {count}"
        query = f"SELECT {columns} FROM session_messages WHERE {mine}"
        return self.connection.execute(query, (session_id,)).fetchall()

    def used(self, session_id: str) -> tuple[Any, ...]:
        """What was used in a session as it is stored: its totals, and the sums of its records."""
        query = (
            "SELECT input_tokens, output_tokens, (SELECT count(*) FROM token_usage u WHERE u.session_id = s.session_id"
            " AND u.message_id = u.usage_id AND u.model = 'any-model'), (SELECT sum(input_tokens) FROM token_usage u"
            f" WHERE u.session_id = s.session_id) FROM sessions s WHERE session_id = {self.place}"
        )
        return self.connection.execute(query, (session_id,)).fetchone()

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

    place = "?"

    def __init__(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")

    def _advance(self, session_id: str, count: int, at: datetime) -> int:
        statement = (
            "UPDATE sessions SET last_sequence = last_sequence + ?, updated_at = ?"
            " WHERE session_id = ? AND namespace = 'default' RETURNING last_sequence"
        )
        return self.connection.execute(statement, (count, _text(at), session_id)).fetchone()[0]

    def append(self, session_id: str, text: str = TEXT) -> int:
        """See `Floor.append`."""
        message_id, _, role, content, call, metadata, at, form, digest = self.row(session_id, text)
        self.connection.execute("BEGIN IMMEDIATE")
        last = self._advance(session_id, 1, at)
        values = (message_id, session_id, last, role, content, call, metadata, _text(at), form, digest)
        self.connection.execute(f"INSERT INTO session_messages ({MESSAGE}) VALUES (?,?,?,?,?,?,?,?,?,?)", values)
        self.connection.execute("COMMIT")
        return last

    def append_with_usage(self, session_id: str) -> int:
        """See `Floor.append_with_usage`."""
        message_id, _, role, content, call, metadata, at, form, digest = self.row(session_id)
        added, given = USAGE["input_tokens"], USAGE["output_tokens"]
        self.connection.execute("BEGIN IMMEDIATE")
        advance = (
            "UPDATE sessions SET last_sequence = last_sequence + 1, updated_at = ?, input_tokens = input_tokens + ?,"
            " output_tokens = output_tokens + ? WHERE session_id = ? AND namespace = 'default'"
            " RETURNING last_sequence, actor_name"
        )
        last, actor = self.connection.execute(advance, (_text(at), added, given, session_id)).fetchone()
        values = (message_id, session_id, last, role, content, call, metadata, _text(at), form, digest)
        self.connection.execute(f"INSERT INTO session_messages ({MESSAGE}) VALUES (?,?,?,?,?,?,?,?,?,?)", values)
        record = (session_id, message_id, message_id, actor, "default", MODEL, added, given, _text(at))
        self.connection.execute(f"INSERT INTO token_usage ({RECORD}) VALUES (?,?,?,?,?,?,?,?,?)", record)
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

    def list(self, after: tuple[datetime, str] | None = None, actor: str | None = None) -> list[tuple[Any, ...]]:
        """See `Floor.list`."""
        whose = " AND s.actor_name = ?" if actor else ""
        behind = " AND (s.created_at, s.session_id) < (?, ?)" if after else ""
        query = f"{LISTED}{whose}{behind} ORDER BY s.created_at DESC, s.session_id DESC LIMIT {PAGE}"
        values = (*((actor,) if actor else ()), *((_text(after[0]), after[1]) if after else ()))
        rows = self.connection.execute(query, values).fetchall()
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

    def close(self) -> None:
        """See `Floor.close`."""
        self.connection.close()


class PostgreSQLFloor(Floor):
    """By hand on PostgreSQL: psycopg, autocommit, prepared statements."""

    place = "%s"
    APPEND = (
        "WITH s AS (UPDATE sessions SET last_sequence = last_sequence + 1, updated_at = %(at)s"
        " WHERE session_id = %(session)s AND namespace = 'default' RETURNING last_sequence)"
        f" INSERT INTO session_messages ({MESSAGE})"
        " SELECT %(id)s, %(session)s, last_sequence, %(role)s, %(content)s, %(call)s, %(metadata)s, %(at)s,"
        " %(format)s, %(digest)s FROM s RETURNING sequence"
    )
    APPEND_WITH_USAGE = (
        "WITH s AS (UPDATE sessions SET last_sequence = last_sequence + 1, updated_at = %(at)s,"
        " input_tokens = input_tokens + %(added)s, output_tokens = output_tokens + %(given)s"
        " WHERE session_id = %(session)s AND namespace = 'default' RETURNING last_sequence, actor_name),"
        f" u AS (INSERT INTO token_usage ({RECORD})"
        " SELECT %(session)s, %(id)s, %(id)s, actor_name, 'default', %(model)s, %(added)s, %(given)s, %(at)s FROM s)"
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

    @classmethod
    def values(cls, session_id: str, text: str = TEXT) -> dict[str, Any]:
        """The parameters of `APPEND`."""
        message_id, _, role, content, call, metadata, at, form, digest = cls.row(session_id, text)
        return {
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

    def append(self, session_id: str, text: str = TEXT) -> int:
        """See `Floor.append`."""
        return self.connection.execute(self.APPEND, self.values(session_id, text), prepare=True).fetchone()[0]

    def append_with_usage(self, session_id: str) -> int:
        """See `Floor.append_with_usage`."""
        values = self.values(session_id)
        values |= {"model": MODEL, "added": USAGE["input_tokens"], "given": USAGE["output_tokens"]}
        return self.connection.execute(self.APPEND_WITH_USAGE, values, prepare=True).fetchone()[0]

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

    def list(self, after: tuple[datetime, str] | None = None, actor: str | None = None) -> list[tuple[Any, ...]]:
        """See `Floor.list`."""
        whose = " AND s.actor_name = %s" if actor else ""
        behind = " AND (s.created_at, s.session_id) < (%s, %s)" if after else ""
        query = f"{LISTED}{whose}{behind} ORDER BY s.created_at DESC, s.session_id DESC LIMIT {PAGE}"
        rows = self.connection.execute(query, (*((actor,) if actor else ()), *(after or ())), prepare=True).fetchall()
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

    def close(self) -> None:
        """See `Floor.close`."""
        self.connection.close()


FLOORS: dict[str, type[Floor]] = {"sqlite": SQLiteFloor, "postgresql": PostgreSQLFloor}


def _text(at: datetime) -> str:
    """A time as SQLAlchemy keeps it in SQLite."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
