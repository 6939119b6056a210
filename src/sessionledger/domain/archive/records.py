"""An archive's records, from and to the JSON objects of its lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TypeAlias

from sessionledger.domain.content import JSON, canonical, canonical_object, canonical_text, check_format
from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.ids import checked_id
from sessionledger.domain.models import (
    Session,
    TokenUsage,
    UsageRecord,
    checked_count,
    checked_name,
    checked_optional_name,
    checked_time,
    checked_word,
    unchecked,
)

FORMAT = "sessionledger.archive"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """An archive's first line.

    Attributes:
        format_version: The format version it was written in.
        generator: Who wrote it, e.g. `sessionledger 0.1.0`.
        schema_revision: The one that its writer works with.
        sessions: How many sessions it holds.
        messages: How many messages.
        usage_records: How many records of token usage.
    """

    format_version: int
    generator: str
    schema_revision: str
    sessions: int
    messages: int
    usage_records: int

    def __post_init__(self) -> None:
        checked_name("generator", self.generator)
        checked_name("schema_revision", self.schema_revision)
        for name in ("sessions", "messages", "usage_records"):
            checked_count(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as an archive carries it.

    Attributes:
        session: The session.
        unknown: The fields of its line that this release does not know, as a canonical JSON object; kept, so that
            another export writes them again. `None` where there are none.
    """

    session: Session
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as an archive carries it, and a database stores it: content and metadata as canonical JSON texts.

    Its `repr` tells ids only. See `SessionMessage` and `SessionRecord` for the attributes.
    """

    message_id: str
    session_id: str
    sequence: int
    role: str
    content: str
    format: str
    content_sha256: str
    created_at: datetime
    tool_call_id: str | None
    metadata: str
    unknown: str | None = None

    def __post_init__(self) -> None:
        check_message(self)
        object.__setattr__(self, "created_at", checked_time("created_at", self.created_at))

    def __repr__(self) -> str:
        return (
            f"MessageRecord(message_id={self.message_id!r}, session_id={self.session_id!r}, sequence={self.sequence})"
        )


def check_message(message: MessageRecord) -> None:
    """Hold a message's ids, words and numbers to the rules.

    Raises:
        InvalidInputError: One breaks them.
    """
    checked_id("message_id", message.message_id)
    checked_id("session_id", message.session_id)
    checked_count("sequence", message.sequence, minimum=1)
    checked_word("role", message.role)
    checked_word("format", message.format)
    checked_optional_name("tool_call_id", message.tool_call_id)


trusted_message = unchecked(MessageRecord)
"""A message record of values that have been held to the rules: all of them, in order."""


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A record of the ledger of token usage as an archive carries it; see `SessionRecord` for `unknown`."""

    session_id: str
    record: UsageRecord
    unknown: str | None = None

    def __post_init__(self) -> None:
        checked_id("session_id", self.session_id)


Record: TypeAlias = SessionRecord | MessageRecord | LedgerRecord


def header_values(header: ArchiveHeader) -> dict[str, JSON]:
    """The header's JSON object."""
    return {"format": FORMAT, **{each.name: getattr(header, each.name) for each in fields(header)}}


def session_values(session: Session, preceding_sha256: str) -> dict[str, JSON]:
    """A session's JSON object.

    Args:
        session: The session.
        preceding_sha256: The SHA-256 of all bytes before its line.
    """
    return {
        "record": "session",
        "preceding_sha256": preceding_sha256,
        "session_id": session.session_id,
        "namespace": session.namespace,
        "key": session.key,
        "title": session.title,
        "actor_name": session.actor_name,
        "metadata": session.metadata,
        "workspace": session.workspace,
        "last_sequence": session.last_sequence,
        "usage": _usage_values(session.usage),
        "created_at": session.created_at.isoformat(),
        "updated_at": session.updated_at.isoformat(),
        "archived_at": None if session.archived_at is None else session.archived_at.isoformat(),
    }


def ledger_values(ledger: LedgerRecord) -> dict[str, JSON]:
    """The JSON object of a record of token usage."""
    record = ledger.record
    return {
        "record": "usage",
        "session_id": ledger.session_id,
        "usage_id": record.usage_id,
        "message_id": record.message_id,
        "actor_name": record.actor_name,
        "model": record.model,
        **_usage_values(record.usage),
        "recorded_at": record.recorded_at.isoformat(),
    }


def _usage_values(usage: TokenUsage) -> dict[str, JSON]:
    values = {each: getattr(usage, each) for each in _COUNTS}
    return {**values, "cost": None if usage.cost is None else format(usage.cost, "f")}


def header(values: Mapping[str, JSON]) -> ArchiveHeader:
    """Read a header; fields that are not known describe the file, and are passed over."""
    return ArchiveHeader(**{each.name: values[each.name] for each in fields(ArchiveHeader)})


def session_record(values: Mapping[str, JSON]) -> SessionRecord:
    """Read a session; its `preceding_sha256` is the reader's to check."""
    session = Session(
        session_id=values["session_id"],
        namespace=values["namespace"],
        created_at=_time(values, "created_at"),
        updated_at=_time(values, "updated_at"),
        key=values["key"],
        title=values["title"],
        actor_name=values["actor_name"],
        metadata=canonical_object("metadata", values["metadata"]).value,
        workspace=values["workspace"],
        last_sequence=values["last_sequence"],
        usage=_usage(values["usage"]),
        archived_at=None if values["archived_at"] is None else _time(values, "archived_at"),
    )
    return SessionRecord(session, _unknown(values, _SESSION))


def message_record(values: Mapping[str, JSON]) -> MessageRecord:
    """Read a message; its content must have its hash."""
    check_format(values["content"], values["format"])
    content = canonical("content", values["content"])
    if content.sha256 != values["content_sha256"]:
        raise InvalidInputError("content_sha256", "is not that of the content")
    return verified_message(values, content.text)


def verified_message(values: Mapping[str, JSON], content: str | None = None) -> MessageRecord:
    """Read a message that `message_record` has read before.

    Args:
        values: Its JSON object.
        content: The canonical text of its content; by default it is made.
    """
    return MessageRecord(
        message_id=values["message_id"],
        session_id=values["session_id"],
        sequence=values["sequence"],
        role=values["role"],
        content=canonical_text(values["content"]) if content is None else content,
        format=values["format"],
        content_sha256=values["content_sha256"],
        created_at=_time(values, "created_at"),
        tool_call_id=values["tool_call_id"],
        metadata=canonical_object("metadata", values["metadata"]).text,
        unknown=_unknown(values, _MESSAGE),
    )


def ledger_record(values: Mapping[str, JSON]) -> LedgerRecord:
    """Read a record of token usage; here it is history, so it is marked as imported."""
    record = UsageRecord(
        usage_id=values["usage_id"],
        usage=_usage(values),
        recorded_at=_time(values, "recorded_at"),
        message_id=values["message_id"],
        actor_name=values["actor_name"],
        model=values["model"],
        imported=True,
    )
    return LedgerRecord(values["session_id"], record, _unknown(values, _LEDGER))


def _time(values: Mapping[str, JSON], name: str) -> datetime:
    if not _TIME.fullmatch(values[name]):  # Python's own reading differs from release to release
        raise InvalidInputError(name, "must be a time such as 2026-01-31T12:00:00.000000+00:00")
    return checked_time(name, datetime.fromisoformat(values[name]))


def _usage(values: Mapping[str, JSON]) -> TokenUsage:
    cost = values["cost"]
    if cost is not None and not (isinstance(cost, str) and _COST.fullmatch(cost)):
        raise InvalidInputError("cost", "must be a string of digits, with or without a decimal point")
    return TokenUsage(**{name: values[name] for name in _COUNTS})


def _unknown(values: Mapping[str, JSON], known: frozenset[str]) -> str | None:
    if len(values) == len(known):  # every known field has been read, so there is no other
        return None
    return canonical_object("a field that is not known", {key: values[key] for key in values.keys() - known}).text


_HOURS = r"(?:[01]\d|2[0-3])"  # Python 3.14 takes 24:00 too, and every release an offset of 01:60
TIME = rf"\d{{4}}-\d\d-\d\dT{_HOURS}:\d\d:\d\d(?:\.\d{{1,6}})?(?:Z|[+-]{_HOURS}:[0-5]\d)"
_TIME = re.compile(TIME, re.ASCII)

_COST = re.compile(r"\d+(\.\d{1,10})?", re.ASCII)
_COUNTS = tuple(each.name for each in fields(TokenUsage))
_MESSAGE = frozenset({each.name for each in fields(MessageRecord)} - {"unknown"} | {"record"})
_SESSION = frozenset({each.name for each in fields(Session)} - {"version", "source"} | {"record", "preceding_sha256"})
_LEDGER = frozenset(
    {each.name for each in fields(UsageRecord)} - {"usage", "imported"} | {"record", "session_id", *_COUNTS}
)


def record_of(values: Mapping[str, JSON]) -> Record:
    """Read a record of the newest format version.

    Raises:
        InvalidInputError: It is none that this format version knows, or breaks a rule.
        KeyError, TypeError, ValueError: A field is missing or of the wrong type.
    """
    read = _READ.get(kind) if isinstance(kind := values.get("record"), str) else None
    if read is None:
        raise InvalidInputError("record", f"must be one of {', '.join(_READ)}")
    return read(values)


def verified_record(values: Mapping[str, JSON]) -> Record:
    """Read a record that `record_of` has read before."""
    return _VERIFIED[values["record"]](values)


_READ: dict[str, Callable[[Mapping[str, JSON]], Record]] = {
    "session": session_record,
    "message": message_record,
    "usage": ledger_record,
}
_VERIFIED: dict[str, Callable[[Mapping[str, JSON]], Record]] = {**_READ, "message": verified_message}
