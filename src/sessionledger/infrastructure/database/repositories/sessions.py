"""Sessions, with the counter and the totals that every append moves."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Select,
    String,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError

from sessionledger.domain.errors import SessionNotFoundError, VersionConflictError
from sessionledger.domain.models import NO_USAGE, Session, TokenUsage
from sessionledger.domain.service import SessionOrder
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import dialect_of, overflow
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories.resources import workspace_id
from sessionledger.infrastructure.database.repositories.tables import USAGE_COLUMNS, PossibleReplay, insert_new, moved
from sessionledger.infrastructure.database.statements import Statement
from sessionledger.infrastructure.database.tables import MESSAGES, RESOURCES, SESSIONS


class Advanced(NamedTuple):
    """A session after `advance`: its last sequence, its actor, and its totals where usage was added."""

    last_sequence: int
    actor_name: str | None
    usage: TokenUsage


class SessionRepository:
    """The table `sessions`."""

    def __init__(self, held: HeldConnection) -> None:
        self._held = held
        self._dialect = dialect_of(held)

    def create(self, session: Session, workspace_id: str | None = None, unknown: str | None = None) -> bool:
        """Store a session; `False`, and nothing is changed, if its id is taken."""
        statement = insert_new(dialect_of(self._held), "sessions")
        row = rows.session_row(session, workspace_id, unknown)
        return len(self._held.connection.execute(statement, [row]).all()) == 1

    def get_by_id(self, namespace: str, session_id: str) -> Session:
        """Return a session.

        Raises:
            SessionNotFoundError: There is none in this namespace.
        """
        session = self.find_by_id(namespace, session_id)
        if session is None:
            raise SessionNotFoundError(session_id)
        return session

    def find_by_id(self, namespace: str, session_id: str) -> Session | None:
        """Return a session, or `None`."""
        found = _SESSION.rows(self._held, {"namespace": namespace, "session_id": session_id})
        return rows.sessions(found, self._dialect)[0] if found else None

    def are_there(self, namespace: str, session_ids: Sequence[str]) -> bool:
        """Whether all of these sessions are there."""
        found = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.namespace == namespace)
        parts = (session_ids[start : start + 500] for start in range(0, len(session_ids), 500))
        return all(
            self._held.connection.execute(found.where(SESSIONS.c.session_id.in_(part))).scalar_one() == len(part)
            for part in parts
        )

    def list_all(
        self,
        namespace: str,
        *,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = False,
        order: SessionOrder = "newest",
        limit: int = 50,
        offset: int = 0,
        cursor: tuple[datetime, str] | None = None,
    ) -> list[Session]:
        """Return sessions in order, those behind `cursor` (the last one's time and id) or after `offset` of them."""
        query = _page(
            order,
            of_actor=actor_name is not None,
            of_workspace=workspace is not None,
            include_archived=include_archived,
            behind=cursor is not None,
            most=limit,
            skips=offset > 0,
        )
        at, session_id = cursor or (None, None)
        values = {
            "namespace": namespace,
            "actor_name": actor_name,
            "workspace": workspace,
            "at": at and self._dialect.time_in(at),
            "session_id": session_id,
            "skipped": offset,
        }
        return rows.sessions(query.rows(self._held, values), self._dialect)

    def update(
        self,
        namespace: str,
        session_id: str,
        changes: Mapping[str, Any],
        *,
        at: datetime,
        expected_version: int | None = None,
    ) -> Session:
        """Change the columns named in `changes`, and count the version up.

        Raises:
            SessionNotFoundError: There is no such session.
            VersionConflictError: It is at another version than expected.
        """
        statement = (
            update(SESSIONS)
            .where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
            .values(**changes, version=SESSIONS.c.version + 1, updated_at=at)
            .returning(SESSIONS.c.session_id)
        )
        if expected_version is not None:
            statement = statement.where(SESSIONS.c.version == expected_version)
        changed = self._held.connection.execute(statement).first()
        session = self.get_by_id(namespace, session_id)
        if expected_version is not None and changed is None:
            raise VersionConflictError(session_id, expected_version, session.version)
        return session

    def delete(self, namespace: str, session_id: str) -> bool:
        """Delete a session with its messages; `False` if there is none."""
        mine = exists().where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
        # Named, not left to ON DELETE CASCADE: on an application's own SQLite engine foreign keys may be off.
        self._held.connection.execute(delete(MESSAGES).where(MESSAGES.c.session_id == session_id, mine))
        statement = delete(SESSIONS).where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
        return self._held.connection.execute(statement).rowcount == 1

    def advance(
        self, namespace: str, session_id: str, *, messages: int, usage: TokenUsage | None, at: datetime, sign: int = 1
    ) -> Advanced:
        """Move a session's counter and totals, and hold its row until the transaction ends.

        The lock lines writers of one session up, so that sequences follow the order of the commits. A `sign` of -1
        takes usage back; `None` leaves the totals alone.

        Raises:
            SessionNotFoundError: There is no such session.
            PossibleReplay: A total would go too far, unless the usage is in it already.
        """
        values = {
            "namespace": namespace,
            "session_id": session_id,
            "messages": messages,
            "at": self._dialect.time_in(at),
        }
        if usage is not None:
            values |= rows.moved_by(usage, sign)
        try:
            found = (_ADVANCE if usage is None else _ADVANCE_WITH_USAGE).rows(self._held, values)
        except DBAPIError as error:
            if (refusal := overflow(error, self._dialect)) is None:
                raise
            raise PossibleReplay(refusal) from None
        if not found:
            raise SessionNotFoundError(session_id)
        last_sequence, actor_name, *totals = found[0]
        return Advanced(last_sequence, actor_name, rows.usage(totals) if totals else NO_USAGE)

    def set_usage(self, namespace: str, session_id: str, usage: TokenUsage) -> None:
        """Put the totals of a new session where the ledger has them."""
        statement = (
            update(SESSIONS)
            .where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
            .values(**rows.usage_row(usage))
        )
        self._held.connection.execute(statement)


def _given(name: str) -> Any:
    return bindparam(name, type_=String())


def _advance(*, usage: bool) -> Statement:
    return Statement(
        lambda _: (
            update(SESSIONS)
            .where(SESSIONS.c.session_id == _given("session_id"), SESSIONS.c.namespace == _given("namespace"))
            .values(moved(usage=usage))
            .returning(SESSIONS.c.last_sequence, SESSIONS.c.actor_name, *(USAGE_COLUMNS if usage else ()))
        )
    )


_ADVANCE, _ADVANCE_WITH_USAGE = _advance(usage=False), _advance(usage=True)


def selected(namespace: Any, actor_name: Any, workspace: Any, *, include_archived: bool) -> list[ColumnElement[bool]]:
    """The conditions of a listing; each a value, a parameter or `None`."""
    conditions = [SESSIONS.c.namespace == namespace]
    if actor_name is not None:
        conditions.append(SESSIONS.c.actor_name == actor_name)
    if workspace is not None:
        # One id, for a name is registered once: of IN (SELECT …) SQLite makes a walk through all sessions, PostgreSQL a
        # sort of the whole workspace.
        conditions.append(SESSIONS.c.workspace == workspace_id(namespace, workspace))
    if not include_archived:
        conditions.append(SESSIONS.c.archived_at.is_(None))
    return conditions


SESSION_ROWS: Select[Any] = select(
    *(column for column in SESSIONS.c if column.name not in {"workspace", "unknown_fields"}),
    RESOURCES.c.name.label("workspace"),
).select_from(SESSIONS.outerjoin(RESOURCES, RESOURCES.c.resource_id == SESSIONS.c.workspace))
"""Sessions with the names of their workspaces."""

_COLUMNS: list[Any] = [
    *(
        RESOURCES.c.name if name == "workspace" else SESSIONS.c[name]
        for name in (
            "session_id",
            "namespace",
            "created_at",
            "updated_at",
            "key",
            "title",
            "actor_name",
            "metadata",
            "workspace",
            "last_sequence",
            "version",
            "archived_at",
            "source_session_id",
            "source_sha256",
        )
    ),
    *USAGE_COLUMNS,
]
"""The columns of a session, as `rows.sessions` reads them."""

_ROWS = SESSION_ROWS.with_only_columns(*_COLUMNS)


_SESSION = Statement(
    lambda _: _ROWS.where(SESSIONS.c.session_id == _given("session_id"), SESSIONS.c.namespace == _given("namespace"))
)


@functools.lru_cache(maxsize=256)
def _page(
    order: SessionOrder,
    *,
    of_actor: bool,
    of_workspace: bool,
    include_archived: bool,
    behind: bool,
    most: int,
    skips: bool,
) -> Statement:
    """The query for a page of sessions; the number is written out, as in `messages._messages`."""
    time, descending = _ORDERS[order]
    query = _ROWS.where(
        *selected(
            _given("namespace"),
            _given("actor_name") if of_actor else None,
            _given("workspace") if of_workspace else None,
            include_archived=include_archived,
        )
    )
    if behind:
        place = bindparam("at", type_=DateTime(timezone=True)), _given("session_id")
        query = query.where(_behind(time, place, descending=descending))
    keys = [time, SESSIONS.c.session_id]
    query = query.order_by(*(key.desc() if descending else key for key in keys))
    query = query.limit(literal_column(int.__repr__(most)))
    if skips:
        query = query.offset(bindparam("skipped", type_=BigInteger()))
    return Statement(lambda _: query)


_ORDERS = {
    "newest": (SESSIONS.c.created_at, True),
    "oldest": (SESSIONS.c.created_at, False),
    "updated": (SESSIONS.c.updated_at, True),
}


def _behind(time: Any, cursor: tuple[Any, Any], *, descending: bool) -> Any:
    """What comes behind a place: one range of the index, also where many sessions share a time."""
    place, given = tuple_(time, SESSIONS.c.session_id), tuple_(*cursor)
    return place < given if descending else place > given
