"""Rows for archives: read in bounded memory, and stored as fast as the database takes them.

Messages come a page at a time: as many of the next rows as are short enough together, told by their lengths before
they are read, and always one. So memory stays bounded whatever a session holds. A page looks at twice as many rows as
the one before it gave, because to tell a long row's length the database reads it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal,
    select,
    type_coerce,
)

from sessionledger.domain.archive import LedgerRecord, MessageRecord, SessionRecord
from sessionledger.domain.errors import SessionNotFoundError, StorageError
from sessionledger.domain.models import Session
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import dialect_of
from sessionledger.infrastructure.database.repositories.sessions import SESSION_ROWS, selected
from sessionledger.infrastructure.database.repositories.tables import MESSAGES, SESSIONS, USAGE, insert_new, load

SESSION_PAGE = 100
FIRST_PAGE = 16
PAGE = 500
CHARACTERS = 1024 * 1024
"""How many sessions, messages or records are read at once, and how many characters of content and metadata."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The sessions of a namespace that an archive is to hold.

    Attributes:
        namespace: Their namespace.
        session_ids: Exactly these; `None` for all that the rest selects.
        actor_name: Only those of this actor.
        workspace: Only those of this workspace.
        include_archived: Archived ones as well.
        since: Only those appended to or updated at this time or later.
    """

    namespace: str
    session_ids: tuple[str, ...] | None = None
    actor_name: str | None = None
    workspace: str | None = None
    include_archived: bool = True
    since: datetime | None = None

    def parts(self) -> Iterator[list[ColumnElement[bool]]]:
        """The conditions: once, or once for every hundred of the ids, in ascending order."""
        conditions = selected(self.namespace, self.actor_name, self.workspace, include_archived=self.include_archived)
        if self.since is not None:
            conditions.append(SESSIONS.c.updated_at >= self.since)
        if self.session_ids is None:
            yield conditions
            return
        ids = sorted(self.session_ids)
        for start in range(0, len(ids), SESSION_PAGE):
            yield [*conditions, SESSIONS.c.session_id.in_(ids[start : start + SESSION_PAGE])]


class Counts(NamedTuple):
    """How much a selection holds."""

    sessions: int
    messages: int
    usage_records: int


class ArchiveRepository:
    """Sessions whole: for an export, and from an import."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count(self, selection: Selection) -> Counts:
        """Count what is selected.

        Raises:
            SessionNotFoundError: One of the ids is not there.
        """
        totals = Counts(*map(sum, zip(*map(self._count, selection.parts()), (0, 0, 0), strict=True)))
        if selection.session_ids is not None and totals.sessions < len(selection.session_ids):
            found = {record.session.session_id for record in self.sessions(selection)}
            raise SessionNotFoundError(next(each for each in selection.session_ids if each not in found))
        return totals

    def _count(self, conditions: list[ColumnElement[bool]]) -> Counts:
        sessions = select(func.count(), func.coalesce(func.sum(SESSIONS.c.last_sequence), 0)).where(*conditions)
        ids = select(SESSIONS.c.session_id).where(*conditions)
        usage = select(func.count()).select_from(USAGE).where(USAGE.c.session_id.in_(ids))
        number, messages = self._connection.execute(sessions).one()
        return Counts(number, int(messages), self._connection.execute(usage).scalar_one())

    def sessions(self, selection: Selection) -> Iterator[SessionRecord]:
        """Return the selected sessions, ascending by id."""
        query = _SESSION_RECORDS.order_by(SESSIONS.c.session_id).limit(SESSION_PAGE)
        for conditions in selection.parts():
            after = ""
            while page := self._connection.execute(query.where(*conditions, SESSIONS.c.session_id > after)).all():
                yield from map(rows.session_record, page)
                after = page[-1].session_id

    def messages(self, session: Session) -> Iterator[MessageRecord]:
        """Return a session's messages, ascending by sequence.

        Raises:
            StorageError: There are others than its last sequence says, or one is not what was appended.
        """
        sequence, most = 0, FIRST_PAGE
        while sequence < session.last_sequence:
            values = {"session_id": session.session_id, "after": sequence, "most": most, "characters": CHARACTERS}
            page = self._connection.execute(_MESSAGE_PAGE, values).all()
            if [row.sequence for row in page] != list(range(sequence + 1, sequence + 1 + (len(page) or 1))):
                raise StorageError(
                    f"Session {session.session_id} has not the messages that its last sequence says; "
                    "run: sessionledger verify"
                )
            sequence, most = sequence + len(page), min(PAGE, 2 * len(page))
            yield from map(rows.message_record, page)
            del page  # two of the longest messages at once are much of the memory an export may take

    def usage_records(self, session: Session) -> Iterator[LedgerRecord]:
        """Return a session's records of token usage, ascending by id."""
        values = {
            "session_id": session.session_id,
            "namespace": session.namespace,
            "after": "",
            "most": PAGE,
            "characters": CHARACTERS,
        }
        while page := self._connection.execute(_USAGE_PAGE, values).all():
            yield from map(rows.ledger_record, page)
            values["after"] = page[-1].usage_id

    def turn(self) -> None:
        """Ask the database for nothing, so that an event loop that runs this gets a turn."""
        self._connection.execute(_NOTHING)

    def restore_messages(self, messages: Sequence[dict[str, Any]]) -> None:
        """Store messages (see `rows.restored_message_row`) of sessions that are new in this transaction."""
        load(self._connection, MESSAGES, messages)

    def restore_usage(self, records: Sequence[dict[str, Any]], *, beside_others: bool) -> None:
        """Store records of token usage (see `rows.restored_usage_row`) of such sessions.

        Args:
            records: The rows.
            beside_others: Whether some of them may be there already, left by a deleted session with the same id.
        """
        if beside_others and records:
            self._connection.execute(insert_new(dialect_of(self._connection), "token_usage"), records).all()
        else:
            load(self._connection, USAGE, records)


def _page(table: Table, key: str, texts: Sequence[str]) -> Select[Any]:
    """The next rows of a session: at most `most`, and as many as have `characters` in their texts, but always one."""
    place = table.c[key]
    mine = [table.c.session_id == bindparam("session_id"), place > bindparam("after")]
    if "namespace" in table.c:
        mine.append(table.c.namespace == bindparam("namespace"))
    length = functools.reduce(operator.add, (func.coalesce(func.length(table.c[name]), 0) for name in texts))
    before = (func.sum(length).over(order_by=place) - length).label("before")
    # Of keys and numbers only: SQLite keeps the rows of a window, whatever they hold.
    following = select(place, before).where(*mine).order_by(place).limit(bindparam("most")).subquery("following")
    last = select(func.max(following.c[key])).where(following.c.before < bindparam("characters")).scalar_subquery()
    columns = [
        type_coerce(column, Text).label(column.name) if column.name in {"content", "metadata"} else column
        for column in table.c
    ]
    return select(*columns).where(*mine, place <= last).order_by(place)


# Metadata as text: decoded all at once, those of a hundred sessions took 300 MiB.
_SESSION_RECORDS: Select[Any] = SESSION_ROWS.with_only_columns(
    *(column for column in SESSION_ROWS.selected_columns if column.name != "metadata"),
    type_coerce(SESSIONS.c.metadata, Text).label("metadata_text"),
    SESSIONS.c.unknown_fields,
)
_NOTHING = select(literal(1))
_MESSAGE_PAGE = _page(MESSAGES, "sequence", ("content", "metadata", "unknown_fields"))
_USAGE_PAGE = _page(USAGE, "usage_id", ("unknown_fields",))
