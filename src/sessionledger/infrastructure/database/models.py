"""ORM classes of the tables (see `tables.py`), for applications that query with them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped

from sessionledger.domain.content import JSON
from sessionledger.infrastructure.database import tables

tables.add_options()


class Model(DeclarativeBase):
    """The base of all models."""

    metadata: ClassVar[MetaData] = tables.METADATA


class ResourceModel(Model):
    """A thing outside the ledger that sessions belong to (today: workspaces), with an id that outlives its name."""

    __table__ = tables.RESOURCES

    if TYPE_CHECKING:
        resource_id: Mapped[str]
        namespace: Mapped[str]
        kind: Mapped[str]
        name: Mapped[str]
        aliases: Mapped[JSON]
        created_at: Mapped[datetime]
        updated_at: Mapped[datetime]


class SessionModel(Model):
    """A session, with the counter that numbers its messages and the totals of its token usage."""

    __table__ = tables.SESSIONS

    if not TYPE_CHECKING:
        session_metadata = tables.SESSIONS.c.metadata  # `metadata` is SQLAlchemy's own name
    else:
        session_metadata: Mapped[JSON]
        session_id: Mapped[str]
        namespace: Mapped[str]
        actor_name: Mapped[str | None]
        last_sequence: Mapped[int]
        input_tokens: Mapped[int]
        output_tokens: Mapped[int]
        created_at: Mapped[datetime]
        updated_at: Mapped[datetime]
        title: Mapped[str | None]
        key: Mapped[str | None]
        workspace: Mapped[str | None]
        version: Mapped[int]
        archived_at: Mapped[datetime | None]
        cached_input_tokens: Mapped[int]
        cache_write_tokens: Mapped[int]
        reasoning_tokens: Mapped[int]
        cost: Mapped[Decimal | None]
        source_session_id: Mapped[str | None]
        source_sha256: Mapped[str | None]
        unknown_fields: Mapped[str | None]


class SessionMessageModel(Model):
    """A message of a session."""

    __table__ = tables.MESSAGES

    if not TYPE_CHECKING:
        message_metadata = tables.MESSAGES.c.metadata
    else:
        message_metadata: Mapped[JSON]
        message_id: Mapped[str]
        session_id: Mapped[str]
        sequence: Mapped[int]
        role: Mapped[str]
        content: Mapped[JSON]
        tool_call_id: Mapped[str | None]
        created_at: Mapped[datetime]
        format: Mapped[str]
        content_sha256: Mapped[str | None]
        unknown_fields: Mapped[str | None]


class TokenUsageModel(Model):
    """A record of the append-only ledger of token usage. What was spent stays true after its session is deleted."""

    __table__ = tables.USAGE

    if TYPE_CHECKING:
        session_id: Mapped[str]
        usage_id: Mapped[str]
        message_id: Mapped[str | None]
        actor_name: Mapped[str | None]
        namespace: Mapped[str]
        model: Mapped[str | None]
        input_tokens: Mapped[int | None]
        output_tokens: Mapped[int | None]
        cached_input_tokens: Mapped[int | None]
        cache_write_tokens: Mapped[int | None]
        reasoning_tokens: Mapped[int | None]
        cost: Mapped[Decimal | None]
        imported: Mapped[bool]
        recorded_at: Mapped[datetime]
        unknown_fields: Mapped[str | None]
