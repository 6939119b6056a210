"""The one description of the schema: tables, columns, types, indexes, and the naming convention for constraints.

The migrations build the same tables step by step; a test compares the two on both databases. Our own statements are
Core (see `repositories/`); the ORM classes for applications stand in `models.py`, which brings SQLAlchemy's ORM, half
as much again to import.

Shaped for a distributed PostgreSQL as well: every primary key and unique constraint of a session's tables contains
`session_id`, no foreign key leads to another session, and `session_id` has one type and collation everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

from sessionledger.domain.content import JSON, CanonicalJSON, canonical, decoded
from sessionledger.domain.errors import StorageError
from sessionledger.domain.ids import new_id
from sessionledger.domain.models import COST_PLACES, COUNTS, EXACT, MAX_COUNT, MAX_NAME, MAX_TITLE, MAX_WORD, now

# Text that is compared and sorted by its bytes: bulk load took 9.9 s so, and 13.9 s with a locale's collation.
Id: TypeEngine[str] = String(26).with_variant(String(26, collation="C"), "postgresql")
Name = String(MAX_NAME)
Word = String(MAX_WORD)
Title = String(MAX_TITLE)


class CanonicalText(TypeDecorator[JSON]):
    """A JSON value as canonical text.

    PostgreSQL's `jsonb` changes 1e16 and -0.0 and refuses NUL, so a hash over what comes back would not be the hash of
    what went in.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JSON, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Write a value; a `CanonicalJSON` has its text already."""
        return value.text if isinstance(value, CanonicalJSON) else canonical("content", value).text

    def process_result_value(self, value: str | None, dialect: Dialect) -> JSON:  # noqa: ARG002 - SQLAlchemy's signature
        """Read a value.

        Raises:
            StorageError: It is no JSON: something else has written to the table. It is never skipped.
        """
        try:
            return None if value is None else decoded(value)
        except ValueError:
            raise _unreadable("JSON value") from None


def _unreadable(what: str) -> StorageError:
    return StorageError(f"A stored {what} cannot be read; the row was not written by sessionledger")


class UTCTime(TypeDecorator[datetime]):
    """A time, aware and in UTC, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Write a time; a naive one is refused by `astimezone`'s caller, not guessed."""
        if value is not None and value.utcoffset() is None:
            raise ValueError("a time needs a time zone")
        return None if value is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """Read a time, from text where the database has no times.

        Raises:
            StorageError: It is none; SQLAlchemy's own error would quote it.
        """
        read = super().result_processor(dialect, coltype)
        if read is None:
            return None

        def checked(value: Any) -> datetime | None:
            try:
                return read(value)
            except (ValueError, TypeError):
                raise _unreadable("time") from None

        return checked

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give a time its zone."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Cost(TypeDecorator[Decimal]):
    """A cost as a whole number of 10⁻¹⁰ units: SQLite has no decimal type, and sums must be exact on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Write a cost."""
        return None if value is None else int(value.scaleb(COST_PLACES, EXACT))

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Read a cost.

        Raises:
            StorageError: It is no number.
        """
        try:
            return None if value is None else Decimal(value).scaleb(-COST_PLACES, EXACT)
        except (InvalidOperation, TypeError, ValueError):
            raise _unreadable("cost") from None


def _count(name: str) -> CheckConstraint:
    """SQLite turns an integer that overflows into a float, silently; this refuses it, as PostgreSQL does by itself."""
    return CheckConstraint(f"{name} >= 0 AND {name} <= {MAX_COUNT}", name=name)


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _text(name: str, kind: TypeEngine[str]) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _maybe(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, nullable=True)


def _number(name: str, start: int = 0) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, default=start, server_default=text(str(start)))


def _time(name: str) -> Column[Any]:
    return Column(name, UTCTime, nullable=False, default=now)


RESOURCES = Table(
    "resources",
    METADATA,
    Column("resource_id", Id, primary_key=True, default=new_id),
    _text("namespace", Name),
    _text("kind", Word),
    _text("name", Title),
    Column("aliases", CanonicalText, nullable=False, default=list, server_default="[]"),
    _time("created_at"),
    _time("updated_at"),
    Index(None, "namespace", "kind", "name"),
)
"""Things outside the ledger that sessions belong to (today: workspaces), with an id that outlives their name."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session_id", Id, primary_key=True, default=new_id),
    _text("namespace", Name),
    _maybe("actor_name", Name),
    Column("metadata", CanonicalText, nullable=False, default=dict, server_default="{}"),
    _number("last_sequence"),
    _number("input_tokens"),
    _number("output_tokens"),
    _time("created_at"),
    _time("updated_at"),
    _maybe("title", Title),
    _maybe("key", Name),
    _maybe("workspace", Id),
    _number("version", start=1),
    _maybe("archived_at", UTCTime()),
    _number("cached_input_tokens"),
    _number("cache_write_tokens"),
    _number("reasoning_tokens"),
    _maybe("cost", Cost()),
    _maybe("source_session_id", Id),
    _maybe("source_sha256", String(64)),
    _maybe("unknown_fields", Text()),
    *map(_count, ("last_sequence", *COUNTS, "cost")),
    # No index holds a column that every append changes: PostgreSQL can then update the row in place (HOT).
    Index(None, "created_at"),  # on PostgreSQL of another kind; see `add_options`
    Index(None, "actor_name"),
    Index(None, "namespace", "created_at", "session_id"),
    Index(None, "namespace", "actor_name", "created_at", "session_id"),
    Index(None, "namespace", "workspace", "created_at", "session_id"),
)
"""Sessions, with the counter that numbers their messages and the totals of their token usage."""

MESSAGES = Table(
    "session_messages",
    METADATA,
    Column("message_id", Id, nullable=False, default=new_id),
    Column("session_id", Id, ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    _text("role", Word),
    Column("content", CanonicalText, nullable=False),
    _maybe("tool_call_id", Name),
    Column("metadata", CanonicalText, nullable=False, default=dict, server_default="{}"),
    _time("created_at"),
    Column("format", Word, nullable=False, default="json", server_default="json"),
    _maybe("content_sha256", String(64)),
    _maybe("unknown_fields", Text()),
    PrimaryKeyConstraint("session_id", "message_id"),
    Index(None, "session_id", "sequence", unique=True),
)
"""The messages of sessions."""

USAGE = Table(
    "token_usage",
    METADATA,
    Column("session_id", Id, nullable=False),
    Column("usage_id", Id, nullable=False, default=new_id),
    _maybe("message_id", Id),
    _maybe("actor_name", Name),
    _text("namespace", Name),
    _maybe("model", Name),
    *(_maybe(name, BigInteger()) for name in COUNTS),
    _maybe("cost", Cost()),
    Column("imported", Boolean, nullable=False, default=False, server_default=false()),
    _time("recorded_at"),
    _maybe("unknown_fields", Text()),
    PrimaryKeyConstraint("session_id", "usage_id"),
    Index(None, "namespace", "recorded_at"),
)
"""The append-only ledger of token usage. What was spent stays true after its session is deleted."""

COMPATIBLE_REVISIONS = Table(
    "sessionledger_compatible_revisions",
    METADATA,
    Column("revision", String(32), primary_key=True),
)
"""The revisions whose releases may work with the database; written by migrations only."""


def add_options() -> None:
    """Add what PostgreSQL alone has; for `models.py` and migrations, because it imports all of that dialect."""
    options = SESSIONS.dialect_options["postgresql"]
    options["with"] = {"fillfactor": 90}  # room on the page for the new version of a row, which HOT needs
    [created_at] = (index for index in SESSIONS.indexes if index.name == "ix_sessions_created_at")
    # By a b-tree of times PostgreSQL would look for a namespace's newest sessions, and read everybody's.
    created_at.dialect_options["postgresql"]["using"] = "brin"
