"""Archives: sessions as bytes that prove themselves; no database, no paths.

UTF-8 JSON Lines. A header, then for each session its record, its messages in sequence order and its token usage; the
last line has a fixed form and is the SHA-256 of every byte before it, checked before anything is parsed. (Every bit of
an archive flipped: a checksum over the messages alone accepted 117 changed archives, this form none.) A checksum
detects corruption, not malice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, BinaryIO, TypeVar

from sessionledger.domain.content import JSON, canonical, canonical_object, canonical_text, check, check_format, parse
from sessionledger.domain.errors import (
    ArchiveChecksumError,
    ArchiveError,
    ArchiveFormatError,
    ArchiveLimitError,
    ArchiveVersionError,
    InvalidInputError,
)
from sessionledger.domain.models import (
    ArchiveReceipt,
    Session,
    SessionMessage,
    TokenUsage,
    UsageRecord,
    add_usage,
    checked_count,
    checked_time,
)

FORMAT = "sessionledger.archive"
FORMAT_VERSION = 1

MAX_LINE_DEPTH = 64

_FOOTER = re.compile(rb'\{"sha256":"([0-9a-f]{64})"\}\n')
_FOOTER_LENGTH = len('{"sha256":""}\n') + 64
_BLOCK = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How large an archive may be; checked while it is read, before memory is spent on it.

    Attributes:
        size: Bytes in all.
        line: Bytes a line.
        messages: Messages in all.
        sessions: Sessions in all.
    """

    size: int = 512 * 1024 * 1024
    line: int = 8 * 1024 * 1024
    messages: int = 1_000_000
    sessions: int = 10_000


class ArchiveWriter:
    """Makes the bytes of one archive, a line at a time, and keeps count.

    Args:
        generator: Who writes it, e.g. `sessionledger 0.1.0`.
        schema_revision: Of the database it comes from.
    """

    def __init__(self, generator: str, schema_revision: str) -> None:
        self._generator = generator
        self._schema_revision = schema_revision
        self._digest = hashlib.sha256()
        self._size = 0
        self._counts = {"sessions": 0, "messages": 0, "usage_records": 0}

    def header(self, *, sessions: int, messages: int, usage_records: int) -> bytes:
        """The first line."""
        self._counts = {"sessions": sessions, "messages": messages, "usage_records": usage_records}
        return self._line(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "generator": self._generator,
                "schema_revision": self._schema_revision,
                **self._counts,
            }
        )

    def session(self, session: Session) -> bytes:
        """The line of a session."""
        return self._line(
            {
                "record": "session",
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
        )

    def message(self, message: SessionMessage) -> bytes:
        """The line of a message."""
        return self._line(
            {
                "record": "message",
                "message_id": message.message_id,
                "sequence": message.sequence,
                "role": message.role,
                "content": message.content,
                "format": message.format,
                "content_sha256": message.content_sha256,
                "tool_call_id": message.tool_call_id,
                "metadata": message.metadata,
                "created_at": message.created_at.isoformat(),
            }
        )

    def usage(self, record: UsageRecord) -> bytes:
        """The line of a record of token usage."""
        return self._line(
            {
                "record": "usage",
                "usage_id": record.usage_id,
                "message_id": record.message_id,
                "actor_name": record.actor_name,
                "model": record.model,
                **_usage_values(record.usage),
                "recorded_at": record.recorded_at.isoformat(),
            }
        )

    def footer(self) -> bytes:
        """The last line: the digest of all lines before it."""
        line = b'{"sha256":"%s"}\n' % self._digest.hexdigest().encode()
        self._size += len(line)
        return line

    def receipt(self) -> ArchiveReceipt:
        """What was written."""
        return ArchiveReceipt(self._digest.hexdigest(), self._size, FORMAT_VERSION, **self._counts)

    def _line(self, values: dict[str, JSON]) -> bytes:
        line = canonical_text(values).encode() + b"\n"
        self._digest.update(line)
        self._size += len(line)
        return line


def _usage_values(usage: TokenUsage) -> dict[str, JSON]:
    values = {each.name: getattr(usage, each.name) for each in fields(usage)}
    return {**values, "cost": None if usage.cost is None else format(usage.cost, "f")}


class ArchiveReader:
    """Reads one archive from a seekable binary file, from where it stands.

    Making one checks the digest over all bytes, and then every record against the rules of the format; only then can
    `session`, `messages` and `usage_records` be read, as often as wanted, in bounded memory.

    Args:
        file: The file; it is read to its end and left open.
        limits: How large the archive may be.

    Attributes:
        sha256: The archive's digest.
        session: Its session.

    Raises:
        ArchiveError: One of its kinds, for what is wrong first.
    """

    def __init__(self, file: BinaryIO, limits: ArchiveLimits | None = None) -> None:
        self._file = file
        self._limits = limits or ArchiveLimits()
        self._start = file.tell()
        self.sha256, self._end = self._verified_digest()
        records = self._records()
        self.header = _checked_header(next(records, None), self._limits)
        self.session = self._checked_session(records)

    def messages(self) -> Iterator[SessionMessage]:
        """The messages, ascending by sequence."""
        for number, record in self._records():
            if record.get("record") == "message":
                yield _read(number, _message, record, self.session.session_id)

    def usage_records(self) -> Iterator[UsageRecord]:
        """The records of token usage."""
        for number, record in self._records():
            if record.get("record") == "usage":
                yield _read(number, _usage_record, record)

    def _verified_digest(self) -> tuple[str, int]:
        """Hash every byte before the last line and compare; nothing is parsed yet."""
        digest = hashlib.sha256()
        size, tail = 0, b""
        while block := self._file.read(_BLOCK):
            size += len(block)
            if size > self._limits.size:
                raise ArchiveLimitError("bytes", self._limits.size)
            tail += block
            digest.update(tail[:-_FOOTER_LENGTH])
            tail = tail[-_FOOTER_LENGTH:]
        footer = _FOOTER.fullmatch(tail)
        if footer is None:
            raise ArchiveFormatError("its last line is not a SHA-256 footer; it may be cut short")
        claimed, found = footer[1].decode(), digest.hexdigest()
        if claimed != found:
            raise ArchiveChecksumError(claimed, found)
        return found, size - _FOOTER_LENGTH

    def _records(self) -> Iterator[tuple[int, dict[str, JSON]]]:
        """The lines before the footer, each with its number, as JSON objects."""
        self._file.seek(self._start)
        position = number = 0
        while position < self._end:
            line = self._file.readline(self._limits.line + 1)
            position += len(line)
            number += 1
            if len(line) > self._limits.line:
                raise ArchiveLimitError("bytes a line", self._limits.line)
            yield number, _parsed(number, line)

    def _checked_session(self, records: Iterator[tuple[int, dict[str, JSON]]]) -> Session:
        """Hold every record to the rules; return the session."""
        number, record = next(records, (2, {}))
        if self.header["sessions"] != 1 or record.get("record") != "session":
            raise ArchiveFormatError("it must hold one session, right after the header", number)
        session = _read(number, _session, record)
        messages, usage_records, total = 0, 0, TokenUsage(0, 0, 0, 0, 0)
        for number, record in records:
            if record.get("record") == "message" and not usage_records:
                messages += 1
                if _read(number, _message, record, session.session_id).sequence != messages:
                    raise ArchiveFormatError(f"the message must have sequence {messages}", number)
            elif record.get("record") == "usage":
                usage_records += 1
                total = _read(number, add_usage, total, _read(number, _usage_record, record).usage)
            else:
                raise ArchiveFormatError("the record must be a message or, after all messages, token usage", number)
        if (messages, usage_records) != (self.header["messages"], self.header["usage_records"]):
            raise ArchiveFormatError("the header counts other messages or usage records than there are", 1)
        if messages != session.last_sequence or total != session.usage:
            raise ArchiveFormatError("the session's last sequence or token usage is not that of its records", 2)
        return session


def _checked_header(first: tuple[int, dict[str, JSON]] | None, limits: ArchiveLimits) -> dict[str, int]:
    if first is None or first[1].get("format") != FORMAT:
        raise ArchiveFormatError(f"it does not start with a header of the format {FORMAT}", 1)
    header = first[1]
    version = header.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArchiveFormatError("format_version must be an integer from 1", 1)
    if version > FORMAT_VERSION:
        raise ArchiveVersionError(version, FORMAT_VERSION)
    counts = {
        name: _read(1, checked_count, name, header.get(name)) for name in ("sessions", "messages", "usage_records")
    }
    for name, allowed in (("sessions", limits.sessions), ("messages", limits.messages)):
        if counts[name] > allowed:
            raise ArchiveLimitError(name, allowed)
    return counts


def _parsed(number: int, line: bytes) -> dict[str, JSON]:
    """Read a line strictly: UTF-8 and one object."""
    try:
        value = parse("the line", line.decode())
        check("the line", value, MAX_LINE_DEPTH)
    except InvalidInputError as error:
        raise ArchiveFormatError(str(error), number) from None
    except UnicodeDecodeError:
        raise ArchiveFormatError("the line must be UTF-8", number) from None
    if not line.endswith(b"\n") or not isinstance(value, dict):
        raise ArchiveFormatError("the line must be one JSON object", number)
    return value


def _read(number: int, read: Callable[..., T], *values: Any) -> T:
    """Read a part of a line; what breaks a rule is reported with the line's number, never with the value."""
    try:
        return read(*values)
    except ArchiveError:
        raise
    except InvalidInputError as error:
        raise ArchiveFormatError(str(error), number) from None
    except (KeyError, TypeError, ValueError):
        raise ArchiveFormatError("a field is missing or of the wrong type", number) from None


def _time(record: Mapping[str, JSON], name: str) -> datetime:
    return checked_time(name, datetime.fromisoformat(record[name]))


def _usage(record: Mapping[str, JSON]) -> TokenUsage:
    return TokenUsage(**{each.name: record[each.name] for each in fields(TokenUsage)})


def _session(record: Mapping[str, JSON]) -> Session:
    return Session(
        session_id=record["session_id"],
        namespace=record["namespace"],
        created_at=_time(record, "created_at"),
        updated_at=_time(record, "updated_at"),
        key=record["key"],
        title=record["title"],
        actor_name=record["actor_name"],
        metadata=canonical_object("metadata", record["metadata"]).value,
        workspace=record["workspace"],
        last_sequence=record["last_sequence"],
        usage=_usage(record["usage"]),
        archived_at=None if record["archived_at"] is None else _time(record, "archived_at"),
    )


def _message(record: Mapping[str, JSON], session_id: str) -> SessionMessage:
    check_format(record["content"], record["format"])
    if canonical("content", record["content"]).sha256 != record["content_sha256"]:
        raise InvalidInputError("content_sha256", "is not that of the content")
    return SessionMessage(
        message_id=record["message_id"],
        session_id=session_id,
        sequence=record["sequence"],
        role=record["role"],
        content=record["content"],
        format=record["format"],
        content_sha256=record["content_sha256"],
        created_at=_time(record, "created_at"),
        tool_call_id=record["tool_call_id"],
        metadata=canonical_object("metadata", record["metadata"]).value,
    )


def _usage_record(record: Mapping[str, JSON]) -> UsageRecord:
    return UsageRecord(
        usage_id=record["usage_id"],
        usage=_usage(record),
        recorded_at=_time(record, "recorded_at"),
        message_id=record["message_id"],
        actor_name=record["actor_name"],
        model=record["model"],
        imported=True,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
