"""Export and import, written once and without colour: units of work over an archive's records."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

from sessionledger import __version__
from sessionledger.application.services.work import Work, found, settled
from sessionledger.domain.archive import (
    FORMAT_VERSION,
    PIECE,
    ArchiveHeader,
    ArchiveProgress,
    ArchiveReader,
    ArchiveReceipt,
    ArchiveWriter,
    Follow,
    ImportReceipt,
    LedgerRecord,
    MessageRecord,
    Record,
    SessionRecord,
    checked_follow,
)
from sessionledger.domain.errors import ArchiveFormatError, InvalidInputError, StorageError
from sessionledger.domain.ids import checked_id, derived_id, new_id
from sessionledger.domain.models import (
    MAX_TITLE,
    NO_USAGE,
    Session,
    SessionSource,
    add_usage,
    checked_flag,
    checked_optional_name,
    checked_time,
    now,
)
from sessionledger.infrastructure.database import UnitOfWork
from sessionledger.infrastructure.database.archived_rows import restored_session_row, restored_usage_row
from sessionledger.infrastructure.database.repositories import WORKSPACE
from sessionledger.infrastructure.database.repositories.archives import ArchiveRepository, Selection
from sessionledger.infrastructure.database.revision import EXPECTED

T = TypeVar("T")

log = logging.getLogger(__name__)

GENERATOR = f"sessionledger {__version__}"

MAX_IDS = 10_000
_ROWS = 500
_CHARACTERS = 1024 * 1024


class Export:
    """One export: called with a unit of work it yields the archive's bytes; afterwards it knows what it wrote.

    See `SessionService.export_sessions` for the arguments.
    """

    def __init__(
        self,
        namespace: str,
        *,
        session_ids: Collection[str] | None = None,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = True,
        since: datetime | None = None,
        follow: Follow | None = None,
    ) -> None:
        self._selection = Selection(
            namespace,
            session_ids=None if session_ids is None else _checked_ids(session_ids),
            actor_name=checked_optional_name("actor_name", actor_name),
            workspace=checked_optional_name("workspace", workspace, MAX_TITLE),
            include_archived=checked_flag("include_archived", include_archived),
            since=None if since is None else checked_time("since", since),
        )
        self._follow = checked_follow(follow)
        self._writer: ArchiveWriter

    def __call__(self, unit: UnitOfWork) -> Iterator[bytes]:
        """Yield the archive in pieces of about a quarter of a MiB."""
        piece: list[bytes] = []
        size = written = messages = 0
        for count, lines in self._lines(ArchiveRepository(unit.connection)):
            piece.append(lines)
            size += len(lines)
            messages += count
            del lines  # the next ones are made without these in memory
            if size >= PIECE:
                yield b"".join(piece)
                written += size
                piece, size = [], 0
                self._follow(ArchiveProgress("export", written, messages, self._header.messages))
        yield b"".join(piece)
        written += size
        self._follow(ArchiveProgress("export", written, messages, self._header.messages))

    def receipt(self, compressed_size: int | None) -> ArchiveReceipt:
        """What was written."""
        receipt = self._writer.receipt(compressed_size)
        log.info("Exported %s", receipt)
        return receipt

    def _lines(self, archive: ArchiveRepository) -> Iterator[tuple[int, bytes]]:
        """The archive's lines, one or several at a time, and how many messages are among them."""
        counts = archive.count(self._selection)
        written = dict.fromkeys(counts._fields, 0)
        self._header = ArchiveHeader(FORMAT_VERSION, GENERATOR, EXPECTED, *counts)
        self._writer = writer = ArchiveWriter(self._header)
        yield 0, writer.header()
        for record in archive.sessions(self._selection):
            session, usage = record.session, NO_USAGE
            yield 0, writer.session(record)
            written["sessions"] += 1
            for count, lines in writer.messages(archive.messages(session)):
                written["messages"] += count
                yield count, lines
                del lines
            for ledger in archive.usage_records(session):
                usage = add_usage(usage, ledger.record.usage)
                written["usage_records"] += 1
                yield 0, writer.usage(ledger)
            if usage != session.usage:  # no import would accept the archive
                raise StorageError(
                    f"Session {session.session_id} has other totals than its records; run: sessionledger verify"
                )
        if written != counts._asdict():
            raise StorageError("The sessions changed during the export: the transaction is no snapshot")
        yield 0, writer.footer()


def _checked_ids(session_ids: Collection[str]) -> tuple[str, ...]:
    if isinstance(session_ids, (str, bytes)) or not isinstance(session_ids, Collection) or not session_ids:
        raise InvalidInputError("session_ids", "must be a list of at least one id")
    if len(session_ids) > MAX_IDS:
        raise InvalidInputError("session_ids", f"must be at most {MAX_IDS} at once")
    return tuple(dict.fromkeys(checked_id("session_id", each) for each in session_ids))


class Import:
    """One import of a verified archive: called with a unit of work it stores the sessions, all or none.

    Ids are derived from the archive's digest and the namespace, or from a seed where a copy is asked for, before any
    retry; so they are the same in every attempt.

    Attributes:
        ids: The ids that the sessions get, in the archive's order.
    """

    def __init__(self, archive: ArchiveReader, namespace: str, *, as_copy: bool) -> None:
        self._archive = archive
        self._namespace = namespace
        self._at = now()
        origin = ("copy", new_id()) if checked_flag("as_copy", as_copy) else ("import", namespace, archive.sha256)
        self.ids = tuple(derived_id(*origin, session_id) for session_id in archive.session_ids)

    def __call__(self, unit: UnitOfWork) -> ImportReceipt:
        """Store what is not there yet."""
        if not unit.sessions.are_there(self._namespace, self.ids):
            with unit.loading():
                self._load(unit)
        signature = self._archive.signature
        return ImportReceipt(
            sha256=self._archive.sha256,
            session_ids=self.ids,
            messages=self._archive.header.messages,
            usage_records=self._archive.header.usage_records,
            signature_key_id=None if signature is None else signature.key_id,
        )

    def _load(self, unit: UnitOfWork) -> None:
        ids = dict(zip(self._archive.session_ids, self.ids, strict=True))
        loading = _Loading(
            unit,
            self._namespace,
            # All of them in one order, or two imports could wait for each other.
            {
                name: unit.resources.register(self._namespace, WORKSPACE, name, at=self._at)
                for name in self._archive.workspaces
            },
            self._archive.records(),
        )
        for record in loading.records():
            if isinstance(record, MessageRecord):
                loading.message(record)
            elif isinstance(record, SessionRecord):
                session_id = ids.get(record.session.session_id)
                if session_id is None:
                    raise ArchiveFormatError("the file was changed since it was verified")
                loading.session(self._arrived(record.session, session_id), record.unknown)
            else:
                loading.usage(record)
        loading.finish()

    def one_session(self) -> Work[Session]:
        """The same for an archive of one session, which is returned.

        Raises:
            ArchiveFormatError: It holds none or several.
        """
        if self._archive.header.sessions != 1:
            raise ArchiveFormatError("it must hold one session; import_sessions reads one of several", 1)

        def work(unit: UnitOfWork) -> Session:
            self(unit)
            return unit.sessions.get_by_id(self._namespace, *self.ids)

        return work

    def committed(self, answer: T) -> T:
        """Say in the log that it is stored; give back the answer."""
        counts = self._archive.header
        log.info(
            "Imported %d session(s), %d message(s), SHA-256 %s", counts.sessions, counts.messages, self._archive.sha256
        )
        return answer

    def _arrived(self, session: Session, session_id: str) -> Session:
        source = SessionSource(session.session_id, self._archive.sha256)
        return replace(session, session_id=session_id, namespace=self._namespace, key=None, source=source)


class _Loading:
    """Stores records in batches; those of a session that is there already are passed over.

    Args:
        unit: The transaction.
        namespace: Where the sessions go.
        workspaces: The ids of their workspaces, by name.
        records: The archive's records.
    """

    def __init__(
        self, unit: UnitOfWork, namespace: str, workspaces: Mapping[str, str], records: Iterator[Record]
    ) -> None:
        self._unit = unit
        self._archive = ArchiveRepository(unit.connection)
        self._namespace = namespace
        self._workspaces = workspaces
        self._records = records
        self._session_id = ""  # of the session that records are taken of
        self._passes_over = False  # whether it is there already
        self._begun: dict[str, Session] = {}
        self._beside_others: dict[str, Session] = {}  # a deleted session with the same id has left token usage
        self._sessions: list[dict[str, Any]] = []
        self._messages: list[tuple[str, MessageRecord]] = []
        self._usage: list[dict[str, Any]] = []
        self._characters = 0
        self._waiting: Record | None = None  # was read behind a stream of messages, and is not taken yet
        self._skipped = 0

    def records(self) -> Iterator[Record]:
        """The records that are still to be taken."""
        for record in self._records:
            yield record
            while (waiting := self._waiting) is not None:
                self._waiting = None
                yield waiting

    def session(self, session: Session, unknown: str | None) -> None:
        """Begin the next session."""
        self._session_id, self._passes_over = session.session_id, False
        row = restored_session_row(session, self._workspaces.get(session.workspace or ""), unknown)
        self._sessions.append(row)
        self._begun[session.session_id] = replace(session, metadata={})  # as text it is in the row
        self._taken(len(self._sessions), len(row["metadata"].text) + len(unknown or ""))

    def message(self, record: MessageRecord) -> None:
        """Take a message of the session."""
        if self._passes_over:
            self._passed_over()
            return
        self._messages.append((self._session_id, record))
        self._taken(len(self._messages), _length(record))

    def usage(self, ledger: LedgerRecord) -> None:
        """Take a record of the session's token usage."""
        if self._passes_over:
            self._passed_over()
            return
        self._usage.append(restored_usage_row(self._namespace, self._session_id, ledger))
        self._taken(len(self._usage), len(ledger.unknown or ""))

    def finish(self) -> None:
        """Store the rest."""
        self._session_id = ""
        self._flush()

    def _passed_over(self) -> None:
        self._skipped += 1
        if self._skipped % _ROWS == 0:
            self._archive.turn()

    def _taken(self, rows: int, characters: int) -> None:
        self._characters += characters
        if rows == _ROWS or self._characters > _CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        over = self._store_sessions()
        self._passes_over |= self._session_id in over
        self._store_messages(over)
        for beside in (False, True):
            mine = [row for row in self._usage if row["session_id"] not in over]
            mine = [row for row in mine if (row["session_id"] in self._beside_others) == beside]
            self._archive.restore_usage(mine, beside_others=beside)
        for session_id in [each for each in self._beside_others if each != self._session_id]:
            settled(self._unit, self._beside_others.pop(session_id))
        self._sessions, self._messages, self._usage, self._characters = [], [], [], 0

    def _store_messages(self, over: set[str]) -> None:
        """Store the messages, and where streams are taken those that come next in the session as well."""
        messages = [each for each in self._messages if each[0] not in over] if over else self._messages
        if messages and messages[-1][0] == self._session_id and self._archive.takes_streams:
            self._archive.restore_messages(chain([messages], self._next_messages()))
        elif messages:
            self._archive.restore_messages([messages])

    def _next_messages(self) -> Iterator[list[tuple[str, MessageRecord]]]:
        """The messages of this session that come next, a batch at a time."""
        batch: list[tuple[str, MessageRecord]] = []
        characters = 0
        for record in self._records:
            if not isinstance(record, MessageRecord):
                self._waiting = record
                break
            batch.append((self._session_id, record))
            characters += _length(record)
            if len(batch) == _ROWS or characters > _CHARACTERS:
                yield batch
                batch, characters = [], 0
        yield batch

    def _store_sessions(self) -> set[str]:
        """Store the sessions that have begun; return the ids of those that are there already."""
        if not self._sessions:
            return set()
        new, beside_others = self._archive.restore_sessions(self._sessions)
        over = self._begun.keys() - new
        for session_id in self._begun:
            if session_id in over:
                found(self._unit, self._namespace, session_id)
        self._beside_others |= {each: self._begun[each] for each in self._begun if each in beside_others}
        self._begun = {}
        return over


def _length(record: MessageRecord) -> int:
    return len(record.content) + len(record.metadata) + len(record.unknown or "")
