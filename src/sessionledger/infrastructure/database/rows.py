"""Rows of the tables, from and to the domain's values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row

from sessionledger.domain.content import (
    CanonicalJSON,
    canonical,
    decoded,
)
from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.domain.models import (
    COST_PLACES,
    COUNTS,
    EXACT,
    NO_USAGE,
    Session,
    SessionMessage,
    SessionSource,
    TokenUsage,
    UsageRecord,
    checked_cost,
    unchecked,
)
from sessionledger.infrastructure.database.dialects import Dialect

T = TypeVar("T")

_message = unchecked(SessionMessage)
_session_of = unchecked(Session)
_usage_of = unchecked(TokenUsage)


class MessageDraft(NamedTuple):
    """A message ready to be stored: checked, with its id and its canonical texts; the database gives the sequence."""

    message_id: str
    role: str
    content: CanonicalJSON
    format: str
    content_sha256: str
    created_at: datetime
    tool_call_id: str | None
    metadata: CanonicalJSON
    usage: UsageRecord | None

    def stored(self, session_id: str, sequence: int) -> SessionMessage:
        """The message that it becomes."""
        return _message(
            self.message_id,
            session_id,
            sequence,
            self.role,
            self.content.value,
            self.format,
            self.content_sha256,
            self.created_at,
            self.tool_call_id,
            self.metadata.value,
        )

    def is_replay_of(self, stored: SessionMessage | None) -> bool:
        """Whether it says the same as a stored message."""
        return stored is not None and (self.role, self.format, self.tool_call_id, self.content_sha256) == (
            stored.role,
            stored.format,
            stored.tool_call_id,
            stored.content_sha256,
        )


def _readable(read: Callable[[Row[Any]], T]) -> Callable[[Row[Any]], T]:
    """Report a row that breaks the rules of the domain as the database's fault, not the caller's."""

    @functools.wraps(read)
    def checked(row: Row[Any]) -> T:
        try:
            return read(row)
        except InvalidInputError as error:
            raise StorageError(f"A stored row cannot be read: {error}") from None

    return checked


def messages(found: Iterable[Sequence[Any]], dialect: Dialect) -> list[SessionMessage]:
    """Messages, from rows in the order of `MESSAGE_COLUMNS`, as the driver gives them.

    Raises:
        StorageError: One cannot be read: something else has written to the table. It is never skipped.
    """
    time_out = dialect.time_out
    try:
        return [
            _message(
                message_id,
                session_id,
                _whole(sequence),
                role,
                value := decoded(content),
                form,
                # NULL where a release that knew no hashes appended the message.
                content_sha256 or canonical("content", value).sha256,
                time_out(created_at),
                tool_call_id,
                {} if metadata == "{}" else _object(metadata),
            )
            for (
                message_id,
                session_id,
                sequence,
                role,
                content,
                tool_call_id,
                metadata,
                created_at,
                form,
                content_sha256,
            ) in found
        ]
    except (TypeError, ValueError, AttributeError):  # an InvalidInputError is a ValueError
        raise _unreadable() from None


def sessions(found: Iterable[Sequence[Any]], dialect: Dialect) -> list[Session]:
    """Sessions, from rows in the order of `repositories/sessions.py`, as the driver gives them.

    Raises:
        StorageError: As `messages`.
    """
    time_out = dialect.time_out
    try:
        return [
            _session_of(
                session_id,
                namespace,
                time_out(created_at),
                time_out(updated_at),
                key,
                title,
                actor_name,
                {} if metadata == "{}" else _object(metadata),
                workspace,
                _whole(last_sequence),
                usage(counts),
                _whole(version),
                None if archived_at is None else time_out(archived_at),
                None if source_sha256 is None else SessionSource(source_session_id, source_sha256),
            )
            for (
                session_id,
                namespace,
                created_at,
                updated_at,
                key,
                title,
                actor_name,
                metadata,
                workspace,
                last_sequence,
                version,
                archived_at,
                source_session_id,
                source_sha256,
                *counts,
            ) in found
        ]
    except (TypeError, ValueError, AttributeError):
        raise _unreadable() from None


def _object(text: str) -> dict[str, Any]:
    value = decoded(text)
    if type(value) is not dict:
        raise TypeError
    return value


def _whole(value: Any) -> int:
    """SQLite keeps whatever it was given."""
    if type(value) is not int:
        raise TypeError
    return value


def usage(counts: Sequence[Any]) -> TokenUsage:
    """A session's totals, from `USAGE_COLUMNS` as the driver gives them.

    Raises:
        StorageError: As `messages`.
    """
    if not any(counts) and counts[-1] is None:
        return NO_USAGE
    try:
        tokens, cost = [_whole(count) for count in counts[:-1]], counts[-1]
        spent = None if cost is None else checked_cost("cost", Decimal(cost).scaleb(-COST_PLACES, EXACT))
    except (ArithmeticError, TypeError, ValueError):  # an InvalidInputError is a ValueError
        raise _unreadable() from None
    return _usage_of(*tokens, spent)


def _unreadable() -> StorageError:
    return StorageError("A stored row cannot be read; it was not written by sessionledger")


@_readable
def usage_record(row: Row[Any]) -> UsageRecord:
    """A record of token usage."""
    counts = {name: getattr(row, name) for name in COUNTS}
    usage = TokenUsage(
        **{**counts, "input_tokens": row.input_tokens or 0, "output_tokens": row.output_tokens or 0}, cost=row.cost
    )
    return UsageRecord(
        usage_id=row.usage_id,
        usage=usage,
        recorded_at=row.recorded_at,
        message_id=row.message_id,
        actor_name=row.actor_name,
        model=row.model,
        imported=row.imported,
    )


def session_row(session: Session, workspace_id: str | None, unknown: str | None = None) -> dict[str, Any]:
    """The row of a session."""
    source = session.source
    return {
        "session_id": session.session_id,
        "namespace": session.namespace,
        "actor_name": session.actor_name,
        "metadata": session.metadata,
        "last_sequence": session.last_sequence,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "title": session.title,
        "key": session.key,
        "workspace": workspace_id,
        "version": session.version,
        "archived_at": session.archived_at,
        "source_session_id": source and source.session_id,
        "source_sha256": source and source.sha256,
        "unknown_fields": unknown,
        **usage_row(session.usage),
    }


def message_row(session_id: str, draft: MessageDraft, sequence: int, created_at: Any) -> tuple[Any, ...]:
    """The row of a message, in the order of `MESSAGE_COLUMNS`, as the driver takes it."""
    return (
        draft.message_id,
        session_id,
        sequence,
        draft.role,
        draft.content.text,
        draft.tool_call_id,
        draft.metadata.text,
        created_at,
        draft.format,
        draft.content_sha256,
    )


def usage_record_row(namespace: str, session_id: str, record: UsageRecord) -> dict[str, Any]:
    """The row of a record of token usage; a count that was not reported is NULL."""
    return {
        "session_id": session_id,
        "usage_id": record.usage_id,
        "message_id": record.message_id,
        "actor_name": record.actor_name,
        "namespace": namespace,
        "model": record.model,
        "imported": record.imported,
        "recorded_at": record.recorded_at,
        "cost": record.usage.cost,
        **{name: getattr(record.usage, name) for name in COUNTS},
    }


def usage_values(namespace: str, session_id: str, record: UsageRecord, dialect: Dialect) -> dict[str, Any]:
    """The row of a record of token usage, as the driver takes it."""
    return {
        **usage_record_row(namespace, session_id, record),
        "recorded_at": dialect.time_in(record.recorded_at),
        "cost": cost_in(record.usage.cost),
    }


def usage_row(usage: TokenUsage, sign: int = 1) -> dict[str, Any]:
    """The counts and the cost as a session's totals take them; a `sign` of -1 takes them back."""
    counts = {name: sign * (getattr(usage, name) or 0) for name in COUNTS}
    return {**counts, "cost": None if usage.cost is None else sign * usage.cost}


def reported(record: UsageRecord) -> dict[str, Any]:
    """The counts, the cost and the model as they were reported, as the driver takes them."""
    usage = record.usage
    return {**{name: getattr(usage, name) for name in COUNTS}, "cost": cost_in(usage.cost), "model": record.model}


def moved_by(usage: TokenUsage, sign: int = 1) -> dict[str, Any]:
    """What `tables.moved` adds to the totals, as the driver takes it; a `sign` of -1 takes it back."""
    more: dict[str, Any] = {f"{name}_more": sign * (getattr(usage, name) or 0) for name in COUNTS}
    cost = cost_in(usage.cost)
    return {**more, "cost_more": None if cost is None else sign * cost}


def cost_in(cost: Decimal | None) -> int | None:
    """A cost as the whole number that is stored; see `models.Cost`."""
    return None if cost is None else int(cost.scaleb(COST_PLACES, EXACT))
