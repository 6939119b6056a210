"""Sessions, with the counter and the totals that every append moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from sessionledger.domain.errors import SessionNotFoundError, VersionConflictError
from sessionledger.domain.models import COUNTS, Session, TokenUsage
from sessionledger.domain.service import SessionOrder
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import dialect_of, overflow
from sessionledger.infrastructure.database.models import Cost, UTCTime
from sessionledger.infrastructure.database.repositories.resources import workspace_ids
from sessionledger.infrastructure.database.repositories.tables import (
    MESSAGES,
    RESOURCES,
    SESSIONS,
    PossibleReplay,
    insert_new,
)


class Advanced(NamedTuple):
    """A session after `advance`: its last sequence, its actor and its totals."""

    last_sequence: int
    actor_name: str | None
    usage: TokenUsage


class SessionRepository:
    """The table `sessions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, session: Session, workspace_id: str | None = None, unknown: str | None = None) -> bool:
        """Store a session; `False`, and nothing is changed, if its id is taken."""
        statement = insert_new(dialect_of(self._connection), "sessions")
        row = rows.session_row(session, workspace_id, unknown)
        return len(self._connection.execute(statement, [row]).all()) == 1

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
        row = self._connection.execute(_SESSION, {"namespace": namespace, "session_id": session_id}).first()
        return None if row is None else rows.session(row)

    def are_there(self, namespace: str, session_ids: Sequence[str]) -> bool:
        """Whether all of these sessions are there."""
        found = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.namespace == namespace)
        parts = (session_ids[start : start + 500] for start in range(0, len(session_ids), 500))
        return all(
            self._connection.execute(found.where(SESSIONS.c.session_id.in_(part))).scalar_one() == len(part)
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
        time, descending = _ORDERS[order]
        query = SESSION_ROWS.where(*selected(namespace, actor_name, workspace, include_archived=include_archived))
        if cursor is not None:
            query = query.where(_behind(time, cursor, descending=descending))
        keys = [time, SESSIONS.c.session_id]
        query = query.order_by(*(key.desc() if descending else key for key in keys)).limit(limit)
        return [rows.session(row) for row in self._connection.execute(query.offset(offset) if offset else query)]

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
        changed = self._connection.execute(statement).first()
        session = self.get_by_id(namespace, session_id)
        if expected_version is not None and changed is None:
            raise VersionConflictError(session_id, expected_version, session.version)
        return session

    def delete(self, namespace: str, session_id: str) -> bool:
        """Delete a session with its messages; `False` if there is none."""
        mine = exists().where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
        # Named, not left to ON DELETE CASCADE: on an application's own SQLite engine foreign keys may be off.
        self._connection.execute(delete(MESSAGES).where(MESSAGES.c.session_id == session_id, mine))
        statement = delete(SESSIONS).where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
        return self._connection.execute(statement).rowcount == 1

    def advance(
        self, namespace: str, session_id: str, *, messages: int, usage: TokenUsage, at: datetime, sign: int = 1
    ) -> Advanced:
        """Move a session's counter and totals, and hold its row until the transaction ends.

        The lock lines writers of one session up, so that sequences follow the order of the commits. A `sign` of -1
        takes usage back.

        Raises:
            SessionNotFoundError: There is no such session.
            PossibleReplay: A total would go too far, unless the usage is in it already.
        """
        values = {
            "in_namespace": namespace,
            "id": session_id,
            "messages": messages,
            "at": at,
            **rows.usage_row(usage, sign),
        }
        try:
            row = self._connection.execute(_ADVANCE, values).first()
        except DBAPIError as error:
            if (refusal := overflow(error, dialect_of(self._connection))) is None:
                raise
            raise PossibleReplay(refusal) from None
        if row is None:
            raise SessionNotFoundError(session_id)
        return Advanced(row.last_sequence, row.actor_name, rows.totals(row))

    def set_usage(self, namespace: str, session_id: str, usage: TokenUsage) -> None:
        """Put the totals of a new session where the ledger has them."""
        statement = (
            update(SESSIONS)
            .where(SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == namespace)
            .values(**rows.usage_row(usage))
        )
        self._connection.execute(statement)


def _moved(name: str) -> Any:
    column = SESSIONS.c[name]
    if name == "cost":  # NULL until a cost is reported
        by = bindparam(name, type_=Cost)
        return func.coalesce(column + by, column, by, type_=Cost)
    return column + bindparam(name, type_=BigInteger)


_ADVANCE: Update = (
    update(SESSIONS)
    .where(SESSIONS.c.session_id == bindparam("id"), SESSIONS.c.namespace == bindparam("in_namespace"))
    .values(
        last_sequence=SESSIONS.c.last_sequence + bindparam("messages", type_=BigInteger),
        updated_at=bindparam("at", type_=UTCTime),
        **{name: _moved(name) for name in (*COUNTS, "cost")},
    )
    .returning(SESSIONS.c.last_sequence, SESSIONS.c.actor_name, SESSIONS.c.cost, *(SESSIONS.c[name] for name in COUNTS))
)


def selected(
    namespace: str, actor_name: str | None, workspace: str | None, *, include_archived: bool
) -> list[ColumnElement[bool]]:
    """The conditions of a listing."""
    conditions = [SESSIONS.c.namespace == namespace]
    if actor_name is not None:
        conditions.append(SESSIONS.c.actor_name == actor_name)
    if workspace is not None:
        conditions.append(SESSIONS.c.workspace.in_(workspace_ids(namespace, workspace)))
    if not include_archived:
        conditions.append(SESSIONS.c.archived_at.is_(None))
    return conditions


SESSION_ROWS: Select[Any] = select(
    *(column for column in SESSIONS.c if column.name not in {"workspace", "unknown_fields"}),
    RESOURCES.c.name.label("workspace"),
).select_from(SESSIONS.outerjoin(RESOURCES, RESOURCES.c.resource_id == SESSIONS.c.workspace))
"""Sessions with the names of their workspaces."""

_SESSION = SESSION_ROWS.where(
    SESSIONS.c.session_id == bindparam("session_id"), SESSIONS.c.namespace == bindparam("namespace")
)

_ORDERS = {
    "newest": (SESSIONS.c.created_at, True),
    "oldest": (SESSIONS.c.created_at, False),
    "updated": (SESSIONS.c.updated_at, True),
}


def _behind(time: Any, cursor: tuple[datetime, str], *, descending: bool) -> Any:
    """Row comparison written out with the leading column alone first, so that an index on it is used."""
    at, session_id = cursor
    if descending:
        return and_(time <= at, or_(time < at, SESSIONS.c.session_id < session_id))
    return and_(time >= at, or_(time > at, SESSIONS.c.session_id > session_id))
