"""Rows of the tables, from and to an archive's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Row

from sessionledger.domain.archive import LedgerRecord, MessageRecord, SessionRecord, canonical_sha256
from sessionledger.domain.archive.records import check_message, trusted_message
from sessionledger.domain.content import (
    ANY_JSON,
    TEXT,
    CanonicalJSON,
    canonical,
    canonical_object,
    canonical_text,
    check_format,
    parse,
    sha256_of,
)
from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.domain.ids import derived_id, derived_ids
from sessionledger.domain.models import COUNTS, Session, SessionSource, TokenUsage, checked_time
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import Dialect


def session_record(row: Row[Any]) -> SessionRecord:
    """A session for an archive, its metadata still as it is stored (`metadata_text`).

    Raises:
        StorageError: It breaks a rule.
    """
    try:
        metadata = canonical_object("metadata", parse("metadata", row.metadata_text)).value
        session = Session(
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
            usage=TokenUsage(cost=row.cost, **{name: getattr(row, name) for name in COUNTS}),
            version=row.version,
            archived_at=row.archived_at,
            source=None if row.source_sha256 is None else SessionSource(row.source_session_id, row.source_sha256),
        )
    except InvalidInputError as error:
        raise StorageError(f"A stored row cannot be read: {error}") from None
    return SessionRecord(session, row.unknown_fields)


def message_record(row: Sequence[Any], dialect: Dialect) -> MessageRecord:
    """A message for an archive, its JSON as canonical text; from a row of `MESSAGE_COLUMNS` and the unknown fields.

    Raises:
        StorageError: Its content is not what was appended, or breaks a rule: no import would accept the archive.
    """
    message_id, session_id, sequence, role, content, tool_call_id, metadata, at, form, stored_sha256, unknown = row
    try:
        _check_texts(content, metadata)
        content, content_sha256 = _proved(content, form, stored_sha256)
        if metadata != "{}":
            metadata = canonical_object("metadata", parse("metadata", metadata)).text
        record = trusted_message(
            message_id,
            session_id,
            sequence,
            role,
            content,
            form,
            content_sha256,
            checked_time("created_at", dialect.time_out(at)),
            tool_call_id,
            metadata,
            unknown,
        )
        check_message(record)
    except InvalidInputError as error:
        raise StorageError(f"Message {message_id} of session {session_id} cannot be exported: {error}") from None
    except (TypeError, ValueError, AttributeError):
        raise StorageError("A stored time cannot be read; the row was not written by sessionledger") from None
    return record


def _check_texts(*values: object) -> None:
    if not all(isinstance(value, str) for value in values):  # SQLite keeps whatever it was given
        raise InvalidInputError("content", "or its metadata is no text; run: sessionledger verify")


def _proved(content: str, form: Any, stored_sha256: Any) -> tuple[str, str]:
    """A content's canonical text and its hash.

    What was appended is canonical, and proves it by its hash. The formats `text` and `json` are also those that a
    migration gave to rows of before, which nobody has held to the rules; so these are.
    """
    if stored_sha256 is not None and form not in {TEXT, ANY_JSON}:
        content_sha256: str | None = sha256_of(content)
    else:
        content_sha256 = canonical_sha256(content, form)
    if stored_sha256 not in {None, content_sha256 or sha256_of(content)}:
        raise InvalidInputError("content", "is not what was appended; run: sessionledger verify")
    if content_sha256 is not None:
        return content, content_sha256
    value = parse("content", content)
    check_format(value, form)
    found = canonical("content", value)
    return found.text, found.sha256


def ledger_record(row: Row[Any]) -> LedgerRecord:
    """A record of token usage for an archive.

    Raises:
        StorageError: It breaks a rule.
    """
    try:
        return LedgerRecord(row.session_id, rows.usage_record(row), row.unknown_fields)
    except InvalidInputError as error:
        raise StorageError(f"A stored row cannot be read: {error}") from None


def restored_session_row(session: Session, workspace_id: str | None, unknown: str | None) -> dict[str, Any]:
    """The row of a session from an archive; its metadata as text, which takes less memory than the value."""
    row = rows.session_row(session, workspace_id, unknown)
    return {**row, "metadata": CanonicalJSON(None, canonical_text(session.metadata))}


RESTORED_MESSAGE = (
    *("message_id", "session_id", "sequence", "role", "content", "tool_call_id", "metadata", "created_at", "format"),
    *("content_sha256", "unknown_fields"),
)


def restored_message_rows(messages: Iterable[tuple[str, MessageRecord]], dialect: Dialect) -> Iterator[tuple[Any, ...]]:
    """The rows of messages from an archive, each under its session's new id; as the driver takes them."""
    for session_id, pairs in groupby(messages, itemgetter(0)):
        mine = [message for _, message in pairs]
        for message_id, message in zip(derived_ids(session_id, [each.message_id for each in mine]), mine, strict=True):
            yield (
                message_id,
                session_id,
                message.sequence,
                message.role,
                message.content,
                message.tool_call_id,
                message.metadata,
                str(dialect.time_in(message.created_at)),  # psycopg writes a text in a third of the time of a time
                message.format,
                message.content_sha256,
                message.unknown,
            )


def restored_usage_row(namespace: str, session_id: str, ledger: LedgerRecord) -> dict[str, Any]:
    """The row of a record of token usage from an archive, under its session's new id."""
    row = rows.usage_record_row(namespace, session_id, ledger.record)
    message_id = row["message_id"]
    return {
        **row,
        "usage_id": derived_id(session_id, row["usage_id"]),
        "message_id": message_id and derived_id(session_id, message_id),
        "unknown_fields": ledger.unknown,
    }
