"""Rows for archives: read in bounded memory, and stored as fast as the database takes them.

Messages come a page at a time: as many of the next rows as are short enough together, told by their lengths before
they are read, and always one. So memory stays bounded whatever a session holds. A page looks at twice as many rows as
the one before it gave, because to tell a long row's length the database reads it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal,
    select,
    type_coerce,
)

from sessionledger.domain.archive import LedgerRecord, MessageRecord, SessionRecord
from sessionledger.domain.errors import SessionNotFoundError, StorageError
from sessionledger.domain.models import Session
from sessionledger.infrastructure.database import archived_rows, rows
from sessionledger.infrastructure.database.dialects import dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories.sessions import SESSION_ROWS, selected
from sessionledger.infrastructure.database.repositories.tables import MESSAGE_COLUMNS, insert_new, loader
from sessionledger.infrastructure.database.statements import Statement
from sessionledger.infrastructure.database.tables import MESSAGES, SESSIONS, USAGE

Load: TypeAlias = Callable[[Iterable[Sequence[Any]]], object]

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
        self._dialect = dialect_of(connection)
        self._ahead: dict[str, _Content] = {}

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
                for at, row in enumerate(page):
                    if row.session_id not in self._ahead:
                        self._read_ahead(_short(page, at))
                    yield archived_rows.session_record(row)
                after = page[-1].session_id

    def messages(self, session: Session) -> Iterator[MessageRecord]:
        """Return a session's messages, ascending by sequence.

        Raises:
            StorageError: There are others than its last sequence says, or one is not what was appended.
        """
        record = functools.partial(archived_rows.message_record, dialect=self._dialect)
        for page in self._message_pages(session):
            yield from map(record, page)
            del page  # two of the longest messages at once are much of the memory an export may take

    def _message_pages(self, session: Session) -> Iterator[Sequence[Sequence[Any]]]:
        ahead = self._ahead.get(session.session_id)
        if ahead is not None and _sequences(ahead.messages) == list(range(1, session.last_sequence + 1)):
            yield ahead.messages
            return
        sequence, most = 0, FIRST_PAGE
        while sequence < session.last_sequence:
            values = {"session_id": session.session_id, "after": sequence, "most": most, "characters": CHARACTERS}
            page = _MESSAGE_PAGE.rows(HeldConnection.of(self._connection), values)
            if _sequences(page) != list(range(sequence + 1, sequence + 1 + (len(page) or 1))):
                raise StorageError(
                    f"Session {session.session_id} has not the messages that its last sequence says; "
                    "run: sessionledger verify"
                )
            sequence, most = sequence + len(page), min(PAGE, 2 * len(page))
            yield page
            del page

    def usage_records(self, session: Session) -> Iterator[LedgerRecord]:
        """Return a session's records of token usage, ascending by id."""
        if (ahead := self._ahead.get(session.session_id)) is not None:
            yield from map(archived_rows.ledger_record, ahead.usage)
            return
        values = {
            "session_id": session.session_id,
            "namespace": session.namespace,
            "after": "",
            "most": PAGE,
            "characters": CHARACTERS,
        }
        while page := self._connection.execute(_USAGE_PAGE, values).all():
            yield from map(archived_rows.ledger_record, page)
            values["after"] = page[-1].usage_id

    def _read_ahead(self, sessions: Sequence[Row[Any]]) -> None:
        """Read the contents of short sessions together; what is too much for one page is left to their turn."""
        self._ahead.clear()
        if len(sessions) < 2:
            return
        ids = [row.session_id for row in sessions]
        values = {"ids": ids, "first": ids[0], "last": ids[-1], "most": PAGE + 1, "characters": CHARACTERS}
        found = self._connection.execute(_MESSAGES_TOGETHER, values).all()
        messages = _whole(ids, found, session_id=1, texts=(4, 6, 10))
        of_namespace = {**values, "namespace": sessions[0].namespace}
        found = self._connection.execute(_USAGE_TOGETHER, of_namespace).all()
        usage = _whole(ids, found, session_id=0, texts=(-1,))
        self._ahead = {
            each: _Content(messages[each], usage[each]) for each in ids if each in messages and each in usage
        }

    def turn(self) -> None:
        """Ask the database for nothing, so that an event loop that runs this gets a turn."""
        self._connection.execute(_NOTHING)

    def restore_sessions(self, sessions: Sequence[dict[str, Any]]) -> tuple[set[str], set[str]]:
        """Store sessions (see `archived_rows.restored_session_row`) whose ids are free.

        Returns:
            The ids of those that are new, and of those among them that have left records of token usage before.
        """
        statement = insert_new(self._dialect, "sessions")
        new = set(self._connection.execute(statement, sessions).scalars())
        left = select(SESSIONS.c.session_id).where(SESSIONS.c.session_id.in_(new), _HAS_USAGE) if new else _NOTHING
        return new, set(self._connection.execute(left).scalars()) & new

    @functools.cached_property
    def takes_streams(self) -> bool:
        """Whether messages are stored as they come, so that the database works while the next ones are read."""
        copy = self._dialect.copy
        return copy is not None and copy.permitted(self._connection, MESSAGES.name)

    def restore_messages(self, batches: Iterable[Sequence[tuple[str, MessageRecord]]]) -> None:
        """Store messages, each with its session's id, of sessions that are new in this transaction.

        Args:
            batches: As many as have to be in memory at once; where no streams are taken, one batch.
        """
        rows_of = functools.partial(archived_rows.restored_message_rows, dialect=self._dialect)
        self._load_messages(chain.from_iterable(map(rows_of, batches)))

    def restore_usage(self, records: Sequence[dict[str, Any]], *, beside_others: bool) -> None:
        """Store records of token usage (see `archived_rows.restored_usage_row`) of such sessions.

        Args:
            records: The rows.
            beside_others: Whether some of them may be there already, left by a deleted session with the same id.
        """
        if not records:
            return
        if beside_others:
            self._connection.execute(insert_new(self._dialect, "token_usage"), records).all()
        else:
            self._load_usage(map(self._as_driver_takes, records))

    def _as_driver_takes(self, row: dict[str, Any]) -> list[Any]:
        stored = {**row, "recorded_at": self._dialect.time_in(row["recorded_at"]), "cost": rows.cost_in(row["cost"])}
        return [stored[name] for name in _USAGE_COLUMNS]

    @functools.cached_property
    def _load_messages(self) -> Load:
        return loader(self._connection, MESSAGES, archived_rows.RESTORED_MESSAGE)

    @functools.cached_property
    def _load_usage(self) -> Load:
        return loader(self._connection, USAGE, _USAGE_COLUMNS)


class _Content(NamedTuple):
    """All that a short session holds, read ahead of its turn."""

    messages: Sequence[Sequence[Any]]
    usage: Sequence[Row[Any]]


def _sequences(messages: Sequence[Sequence[Any]]) -> list[Any]:
    return [row[2] for row in messages]


def _short(page: Sequence[Row[Any]], first: int) -> Sequence[Row[Any]]:
    """The sessions from a place of a page on that have no more messages together than are read at once."""
    messages = 0
    for at in range(first, len(page)):
        # What is no number is refused where the session is read.
        messages += page[at].last_sequence if isinstance(page[at].last_sequence, int) else PAGE
        if messages > PAGE:
            return page[first:at]
    return page[first:]


def _whole(ids: Sequence[str], found: Sequence[Any], *, session_id: int, texts: Sequence[int]) -> dict[str, list[Any]]:
    """The rows of each session of which all were read; `found` is in order, and may end in the middle of one."""
    whole: dict[str, list[Any]] = {each: [] for each in ids}
    for row in found:
        whole[row[session_id]].append(row)
    characters = sum(len(row[at] or "") for row in found for at in texts)
    if len(found) > PAGE or characters >= CHARACTERS:
        last = found[-1][session_id]
        return {each: mine for each, mine in whole.items() if each < last}
    return whole


def _length(table: Table, texts: Sequence[str]) -> ColumnElement[int]:
    return functools.reduce(operator.add, (func.coalesce(func.length(table.c[name]), 0) for name in texts))


def _page(table: Table, columns: Sequence[Any], key: str, texts: Sequence[str]) -> Select[Any]:
    """The next rows of a session: at most `most`, and as many as have `characters` in their texts, but always one."""
    place = table.c[key]
    mine = [table.c.session_id == bindparam("session_id"), place > bindparam("after")]
    if "namespace" in table.c:
        mine.append(table.c.namespace == bindparam("namespace"))
    length = _length(table, texts)
    before = (func.sum(length).over(order_by=place) - length).label("before")
    # Of keys and numbers only: SQLite keeps the rows of a window, whatever they hold.
    following = select(place, before).where(*mine).order_by(place).limit(bindparam("most")).subquery("following")
    last = select(func.max(following.c[key])).where(following.c.before < bindparam("characters")).scalar_subquery()
    return select(*columns).where(*mine, place <= last).order_by(place)


def _together(table: Table, columns: Sequence[Any], key: str, texts: Sequence[str]) -> Select[Any]:
    """The first rows of several sessions, as `_page` reads those of one.

    The ids are in the statement, and their bounds too: given a list as one value, PostgreSQL read all messages from the
    first one on for fifty sessions (150 ms instead of 2).
    """
    order = [table.c.session_id, table.c[key]]
    mine: list[ColumnElement[bool]] = [
        order[0].in_(bindparam("ids", expanding=True)),
        order[0] >= bindparam("first"),
        order[0] <= bindparam("last"),
    ]
    if "namespace" in table.c:
        mine.append(table.c.namespace == bindparam("namespace"))
    length = _length(table, texts)
    before = (func.sum(length).over(order_by=order) - length).label("before")
    following = select(*order, before).where(*mine).order_by(*order).limit(bindparam("most")).subquery("following")
    same = and_(following.c.session_id == order[0], following.c[key] == order[1])
    few = following.c.before < bindparam("characters")
    return select(*columns).select_from(following.join(table, same)).where(few).order_by(*order)


# Metadata as text: decoded all at once, those of a hundred sessions took 300 MiB.
_SESSION_RECORDS: Select[Any] = SESSION_ROWS.with_only_columns(
    *(column for column in SESSION_ROWS.selected_columns if column.name != "metadata"),
    type_coerce(SESSIONS.c.metadata, Text).label("metadata_text"),
    SESSIONS.c.unknown_fields,
)
_NOTHING = select(literal(1))
_HAS_USAGE = exists().where(USAGE.c.session_id == SESSIONS.c.session_id)
_TEXTS = ("content", "metadata", "unknown_fields")
_MESSAGE = [*MESSAGE_COLUMNS, MESSAGES.c.unknown_fields]
_MESSAGE_PAGE = Statement(lambda _: _page(MESSAGES, _MESSAGE, "sequence", _TEXTS))
# As the driver gives them, like `_MESSAGE_PAGE`.
_MESSAGES_TOGETHER = _together(MESSAGES, [type_coerce(each, Text) for each in _MESSAGE], "sequence", _TEXTS)
_USAGE_PAGE = _page(USAGE, list(USAGE.c), "usage_id", ("unknown_fields",))
_USAGE_TOGETHER = _together(USAGE, list(USAGE.c), "usage_id", ("unknown_fields",))
_USAGE_COLUMNS = [column.name for column in USAGE.c]
