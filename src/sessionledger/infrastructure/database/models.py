"""The one description of the schema: tables, columns, types, indexes, and the naming convention for constraints.

The migrations build the same tables step by step; a test compares the two on both databases. The ORM classes are for
applications that query with them; our own statements are Core, over `…Model.__table__` (see `repositories/`).

Shaped for a distributed PostgreSQL as well: every primary key and unique constraint of a session's tables contains
`session_id`, no foreign key leads to another session, and `session_id` has one type and collation everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Text,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from sessionledger.domain.content import JSON, CanonicalJSON, canonical
from sessionledger.domain.errors import StorageError
from sessionledger.domain.ids import new_id
from sessionledger.domain.models import COST_PLACES, EXACT, MAX_COUNT, MAX_NAME, MAX_TITLE, MAX_WORD, now

# Text that is compared and sorted by its bytes: bulk load took 9.9 s so, and 13.9 s with a locale's collation.
Id: TypeEngine[str] = String(26).with_variant(String(26, collation="C"), "postgresql")
Name = String(MAX_NAME)
Word = String(MAX_WORD)
Title = String(MAX_TITLE)


_DECODER = json.JSONDecoder()


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
        if value is None or value == "{}":  # metadata is empty most of the time
            return None if value is None else {}
        try:
            return _DECODER.decode(value)
        except (ValueError, RecursionError):
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


class Model(DeclarativeBase):
    """The base of all models."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UTCTime(), Decimal: Cost(), int: BigInteger()}


class ResourceModel(Model):
    """A thing outside the ledger that sessions belong to (today: workspaces), with an id that outlives its name."""

    __tablename__ = "resources"
    __table_args__ = (Index(None, "namespace", "kind", "name"),)

    resource_id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    namespace: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(Word)
    name: Mapped[str] = mapped_column(Title)
    aliases: Mapped[JSON] = mapped_column(CanonicalText, default=list, server_default="[]")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class SessionModel(Model):
    """A session, with the counter that numbers its messages and the totals of its token usage."""

    __tablename__ = "sessions"
    __table_args__ = (
        *map(
            _count,
            (
                "last_sequence",
                "input_tokens",
                "output_tokens",
                "cached_input_tokens",
                "cache_write_tokens",
                "reasoning_tokens",
                "cost",
            ),
        ),
        # No index holds a column that every append changes: PostgreSQL can then update the row in place (HOT).
        Index(None, "created_at"),
        Index(None, "actor_name"),
        Index(None, "namespace", "created_at", "session_id"),
        Index(None, "namespace", "actor_name", "created_at", "session_id"),
        Index(None, "namespace", "workspace", "created_at", "session_id"),
    )

    session_id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    namespace: Mapped[str] = mapped_column(Name)
    actor_name: Mapped[str | None] = mapped_column(Name)
    session_metadata: Mapped[JSON] = mapped_column("metadata", CanonicalText, default=dict, server_default="{}")
    last_sequence: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    input_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    title: Mapped[str | None] = mapped_column(Title)
    key: Mapped[str | None] = mapped_column(Name)
    workspace: Mapped[str | None] = mapped_column(Id)
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    archived_at: Mapped[datetime | None]
    cached_input_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    cache_write_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    reasoning_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    cost: Mapped[Decimal | None]
    source_session_id: Mapped[str | None] = mapped_column(Id)
    source_sha256: Mapped[str | None] = mapped_column(String(64))
    unknown_fields: Mapped[str | None] = mapped_column(Text)


class SessionMessageModel(Model):
    """A message of a session."""

    __tablename__ = "session_messages"
    __table_args__ = (
        PrimaryKeyConstraint("session_id", "message_id"),
        Index(None, "session_id", "sequence", unique=True),
    )

    message_id: Mapped[str] = mapped_column(Id, default=new_id)
    session_id: Mapped[str] = mapped_column(Id, ForeignKey("sessions.session_id", ondelete="CASCADE"))
    sequence: Mapped[int]
    role: Mapped[str] = mapped_column(Word)
    content: Mapped[JSON] = mapped_column(CanonicalText)
    tool_call_id: Mapped[str | None] = mapped_column(Name)
    message_metadata: Mapped[JSON] = mapped_column("metadata", CanonicalText, default=dict, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(default=now)
    format: Mapped[str] = mapped_column(Word, default="json", server_default="json")
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    unknown_fields: Mapped[str | None] = mapped_column(Text)


class TokenUsageModel(Model):
    """A record of the append-only ledger of token usage. What was spent stays true after its session is deleted."""

    __tablename__ = "token_usage"
    __table_args__ = (
        PrimaryKeyConstraint("session_id", "usage_id"),
        Index(None, "namespace", "recorded_at"),
    )

    session_id: Mapped[str] = mapped_column(Id)
    usage_id: Mapped[str] = mapped_column(Id, default=new_id)
    message_id: Mapped[str | None] = mapped_column(Id)
    actor_name: Mapped[str | None] = mapped_column(Name)
    namespace: Mapped[str] = mapped_column(Name)
    model: Mapped[str | None] = mapped_column(Name)
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cached_input_tokens: Mapped[int | None]
    cache_write_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    cost: Mapped[Decimal | None]
    imported: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    recorded_at: Mapped[datetime] = mapped_column(default=now)
    unknown_fields: Mapped[str | None] = mapped_column(Text)


class CompatibleRevisionModel(Model):
    """A revision whose releases may work with the database; written by migrations only."""

    __tablename__ = "sessionledger_compatible_revisions"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
