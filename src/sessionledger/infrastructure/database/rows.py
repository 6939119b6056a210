"""Rows of the tables, from and to the domain's values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row

from sessionledger.domain.archive import LedgerRecord, MessageRecord, SessionRecord
from sessionledger.domain.content import (
    ANY_JSON,
    JSON,
    TEXT,
    CanonicalJSON,
    canonical,
    canonical_object,
    check_format,
    parse,
    sha256_of,
)
from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.domain.ids import derived_id
from sessionledger.domain.models import (
    COUNTS,
    Session,
    SessionMessage,
    SessionSource,
    TokenUsage,
    UsageRecord,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MessageDraft:
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
        return SessionMessage(
            message_id=self.message_id,
            session_id=session_id,
            sequence=sequence,
            role=self.role,
            content=self.content.value,
            format=self.format,
            content_sha256=self.content_sha256,
            created_at=self.created_at,
            tool_call_id=self.tool_call_id,
            metadata=self.metadata.value,
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


def totals(row: Row[Any]) -> TokenUsage:
    """A session's totals."""
    return TokenUsage(cost=row.cost, **{name: getattr(row, name) for name in COUNTS})


@_readable
def session(row: Row[Any]) -> Session:
    """A session, from a row of `sessions` with the name of its workspace."""
    return _session(row, row.metadata)


def _session(row: Row[Any], metadata: JSON) -> Session:
    return Session(
        session_id=row.session_id,
        namespace=row.namespace,
        created_at=row.created_at,
        updated_at=row.updated_at,
        key=row.key,
        title=row.title,
        actor_name=row.actor_name,
        metadata=metadata,
        workspace=row.workspace,
        last_sequence=row.last_sequence,
        usage=totals(row),
        version=row.version,
        archived_at=row.archived_at,
        source=None if row.source_sha256 is None else SessionSource(row.source_session_id, row.source_sha256),
    )


@_readable
def session_record(row: Row[Any]) -> SessionRecord:
    """A session for an archive, its metadata still as it is stored (`metadata_text`)."""
    metadata = canonical_object("metadata", parse("metadata", row.metadata_text)).value
    return SessionRecord(_session(row, metadata), row.unknown_fields)


def message_record(row: Row[Any]) -> MessageRecord:
    """A message for an archive, its JSON as canonical text.

    Raises:
        StorageError: Its content is not what was appended, or breaks a rule: no import would accept the archive.
    """
    try:
        return _message_record(row)
    except InvalidInputError as error:
        raise StorageError(
            f"Message {row.message_id} of session {row.session_id} cannot be exported: {error}"
        ) from None


def _message_record(row: Row[Any]) -> MessageRecord:
    """What was appended is canonical, and proves it by its hash.

    The formats `text` and `json` are also those that a migration gave to rows of before, which nobody has held to the
    rules; so these are.
    """
    content, metadata = row.content, row.metadata
    if not isinstance(content, str) or not isinstance(metadata, str):  # SQLite keeps whatever it was given
        raise InvalidInputError("content", "or its metadata is no text; run: sessionledger verify")
    content_sha256 = sha256_of(content)
    if row.content_sha256 not in {None, content_sha256}:
        raise InvalidInputError("content", "is not what was appended; run: sessionledger verify")
    if row.content_sha256 is None or row.format in {TEXT, ANY_JSON}:
        value = parse("content", content)
        check_format(value, row.format)
        found = canonical("content", value)
        content, content_sha256 = found.text, found.sha256
    if metadata != "{}":
        metadata = canonical_object("metadata", parse("metadata", metadata)).text
    return MessageRecord(
        message_id=row.message_id,
        session_id=row.session_id,
        sequence=row.sequence,
        role=row.role,
        content=content,
        format=row.format,
        content_sha256=content_sha256,
        created_at=row.created_at,
        tool_call_id=row.tool_call_id,
        metadata=metadata,
        unknown=row.unknown_fields,
    )


@_readable
def ledger_record(row: Row[Any]) -> LedgerRecord:
    """A record of token usage for an archive."""
    return LedgerRecord(row.session_id, usage_record(row), row.unknown_fields)


@_readable
def message(row: Row[Any]) -> SessionMessage:
    """A message."""
    return SessionMessage(
        message_id=row.message_id,
        session_id=row.session_id,
        sequence=row.sequence,
        role=row.role,
        content=row.content,
        format=row.format,
        # NULL where a release that knew no hashes appended the message.
        content_sha256=row.content_sha256 or canonical("content", row.content).sha256,
        created_at=row.created_at,
        tool_call_id=row.tool_call_id,
        metadata=row.metadata,
    )


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


def message_row(message: SessionMessage, draft: MessageDraft) -> dict[str, Any]:
    """The row of a message from its draft, whose JSON is canonical already."""
    return {
        "message_id": message.message_id,
        "session_id": message.session_id,
        "sequence": message.sequence,
        "role": message.role,
        "content": draft.content,
        "tool_call_id": message.tool_call_id,
        "metadata": draft.metadata,
        "created_at": message.created_at,
        "format": message.format,
        "content_sha256": message.content_sha256,
    }


def restored_message_row(session_id: str, message: MessageRecord) -> dict[str, Any]:
    """The row of a message from an archive, under its session's new id."""
    return {
        "message_id": derived_id(session_id, message.message_id),
        "session_id": session_id,
        "sequence": message.sequence,
        "role": message.role,
        "content": CanonicalJSON(None, message.content),
        "tool_call_id": message.tool_call_id,
        "metadata": CanonicalJSON(None, message.metadata),
        "created_at": message.created_at,
        "format": message.format,
        "content_sha256": message.content_sha256,
        "unknown_fields": message.unknown,
    }


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


def restored_usage_row(namespace: str, session_id: str, ledger: LedgerRecord) -> dict[str, Any]:
    """The row of a record of token usage from an archive, under its session's new id."""
    row = usage_record_row(namespace, session_id, ledger.record)
    message_id = row["message_id"]
    return {
        **row,
        "usage_id": derived_id(session_id, row["usage_id"]),
        "message_id": message_id and derived_id(session_id, message_id),
        "unknown_fields": ledger.unknown,
    }


def usage_row(usage: TokenUsage, sign: int = 1) -> dict[str, Any]:
    """The counts and the cost as a session's totals take them; a `sign` of -1 takes them back."""
    counts = {name: sign * (getattr(usage, name) or 0) for name in COUNTS}
    return {**counts, "cost": None if usage.cost is None else sign * usage.cost}
