"""The rules between the records of an archive: their order, their counts, their sums."""

from __future__ import annotations

import functools
from array import array
from collections import defaultdict
from itertools import islice, pairwise
from typing import NamedTuple

from sessionledger.domain.archive import records
from sessionledger.domain.archive.records import ArchiveHeader, LedgerRecord, MessageRecord, SessionRecord
from sessionledger.domain.content import JSON
from sessionledger.domain.errors import ArchiveFormatError
from sessionledger.domain.models import NO_USAGE, Session, add_usage


class Line(NamedTuple):
    """A line of an archive.

    Attributes:
        number: From 1.
        values: Its JSON object, of the newest format version.
        preceding_sha256: The SHA-256 of all bytes before it.
    """

    number: int
    values: dict[str, JSON]
    preceding_sha256: str


class Structure:
    """Holds the records of an archive to the rules, one after the other.

    Args:
        header: The archive's header.

    Attributes:
        session_ids: The ids of the sessions.
        workspaces: The names of their workspaces.
        repeated: Hashes that two message ids of a session share: all but surely one id that is there twice.
    """

    def __init__(self, header: ArchiveHeader) -> None:
        self._header = header
        self.session_ids: list[str] = []
        self.workspaces: set[str] = set()
        self.repeated: set[int] = set()
        self._message_ids = _Hashes()
        self._counts = {"sessions": 0, "messages": 0, "usage_records": 0}
        self._session: Session | None = None
        self._line = 1
        self._sequence = 0
        self._usage_id = ""
        self._usage = NO_USAGE

    def take(self, line: Line) -> None:
        """Hold the next record to the rules."""
        record = records.record_of(line.values)
        if isinstance(record, SessionRecord):
            self._take_session(record.session, line)
        elif isinstance(record, MessageRecord):
            self.take_message(record, line.number)
        else:
            self._take_usage(record, line.number)

    def take_message(self, message: MessageRecord, number: int) -> None:
        """Hold the next record, a message, to the rules; `number` is its line's."""
        self._belongs(message.session_id, number)
        if self._usage_id:
            raise ArchiveFormatError("messages must come before token usage", number)
        self._count("messages")
        self._sequence += 1
        if message.sequence != self._sequence:
            raise ArchiveFormatError(f"the message must have sequence {self._sequence}", number)
        self._message_ids.add(message.message_id)

    def end(self) -> None:
        """Hold the archive as a whole to the rules."""
        self._end_session()
        for name, counted in self._counts.items():
            if counted != getattr(self._header, name):
                raise ArchiveFormatError(f"the header counts other {name} than there are", 1)

    def _take_session(self, session: Session, line: Line) -> None:
        self._end_session()
        if line.values["preceding_sha256"] != line.preceding_sha256:
            raise ArchiveFormatError("preceding_sha256 is not that of the lines before it", line.number)
        if self._session is not None and session.session_id <= self._session.session_id:
            raise ArchiveFormatError("sessions must ascend by session_id", line.number)
        self._count("sessions")
        self.session_ids.append(session.session_id)
        if session.workspace is not None:
            self.workspaces.add(session.workspace)
        self._session, self._line = session, line.number
        self._sequence, self._usage_id, self._usage = 0, "", NO_USAGE
        self._message_ids = _Hashes()

    def _belongs(self, session_id: str, number: int) -> None:
        if self._session is None:
            raise ArchiveFormatError("a session must come right after the header", number)
        if session_id != self._session.session_id:
            raise ArchiveFormatError("the record must belong to the session before it", number)

    def _take_usage(self, ledger: LedgerRecord, number: int) -> None:
        self._belongs(ledger.session_id, number)
        if ledger.record.usage_id <= self._usage_id:
            raise ArchiveFormatError("records of token usage must ascend by usage_id", number)
        self._count("usage_records")
        self._usage_id = ledger.record.usage_id
        self._usage = add_usage(self._usage, ledger.record.usage)

    def _end_session(self) -> None:
        if self._session is None:
            return
        if not self.repeated:
            self.repeated = self._message_ids.repeated()
        if self._sequence != self._session.last_sequence:
            raise ArchiveFormatError("the session's last_sequence is not that of its messages", self._line)
        if self._usage != self._session.usage:
            raise ArchiveFormatError("the session's usage is not the sum of its records", self._line)

    def _count(self, name: str) -> None:
        self._counts[name] += 1
        if self._counts[name] > getattr(self._header, name):  # told before the rest is read
            raise ArchiveFormatError(f"the header counts other {name} than there are", 1)


class _Hashes:
    """Tells whether one of many texts was there twice, at eight bytes a text: a set of a million ids takes 109 MiB."""

    def __init__(self) -> None:
        self._parts: defaultdict[int, array[int]] = defaultdict(functools.partial(array, "q"))

    def add(self, text: str) -> None:
        """Take a text."""
        value = hash(text)
        self._parts[value & 63].append(value)

    def repeated(self) -> set[int]:
        """Some of the hashes that were there more than once, if there are any."""
        ordered = map(sorted, self._parts.values())  # one part at a time, because a list takes five times as much
        return set(islice((one for part in ordered for one, other in pairwise(part) if one == other), 100))
