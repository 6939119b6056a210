"""All the SQL there is. A repository joins a transaction; it never begins, commits or retries one.

Every query names the namespace, so that a session of another one answers exactly like one that does not exist.
Statements are built once and cached; values are always bound.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
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

from sessionledger.domain.errors import (
    MessageConflictError,
    SequenceConflictError,
    SessionNotFoundError,
    UsageConflictError,
    VersionConflictError,
)
from sessionledger.domain.ids import derived_id
from sessionledger.domain.models import COUNTS, Session, SessionMessage, TokenUsage, UsageRecord, add_usage
from sessionledger.domain.service import SessionOrder
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.models import Cost, Model, UTCTime
from sessionledger.infrastructure.database.rows import MessageDraft

_tables = Model.metadata.tables
_resources = _tables["resources"]
_sessions = _tables["sessions"]
_messages = _tables["session_messages"]
_usage = _tables["token_usage"]

WORKSPACE = "workspace"
NO_USAGE = TokenUsage(0, 0, 0, 0, 0)


class Advanced(NamedTuple):
    """A session after `advance`: its last sequence, its actor and its totals."""

    last_sequence: int
    actor_name: str | None
    usage: TokenUsage


class PossibleReplay(Exception):  # noqa: N818 - a signal to `work.py`, never an error for callers
    """The ids may be stored already: undo this work, and answer with `answer_replay`.

    Attributes:
        last_sequence: Where the session ended, seen under its lock.
    """

    def __init__(self, last_sequence: int = 0) -> None:
        super().__init__(last_sequence)
        self.last_sequence = last_sequence


class SessionRepository:
    """The table `sessions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, session: Session, workspace_id: str | None = None) -> bool:
        """Store a session; `False`, and nothing is changed, if its id is taken."""
        statement = _insert_new(dialect_of(self._connection), "sessions")
        return len(self._connection.execute(statement, [rows.session_row(session, workspace_id)]).all()) == 1

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
        query = _SESSIONS.where(_sessions.c.namespace == namespace)
        if actor_name is not None:
            query = query.where(_sessions.c.actor_name == actor_name)
        if workspace is not None:
            query = query.where(_sessions.c.workspace.in_(_workspace_ids(namespace, workspace)))
        if not include_archived:
            query = query.where(_sessions.c.archived_at.is_(None))
        if cursor is not None:
            query = query.where(_behind(time, cursor, descending=descending))
        keys = [time, _sessions.c.session_id]
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
            update(_sessions)
            .where(_sessions.c.session_id == session_id, _sessions.c.namespace == namespace)
            .values(**changes, version=_sessions.c.version + 1, updated_at=at)
            .returning(_sessions.c.session_id)
        )
        if expected_version is not None:
            statement = statement.where(_sessions.c.version == expected_version)
        changed = self._connection.execute(statement).first()
        session = self.get_by_id(namespace, session_id)
        if expected_version is not None and changed is None:
            raise VersionConflictError(session_id, expected_version, session.version)
        return session

    def delete(self, namespace: str, session_id: str) -> bool:
        """Delete a session with its messages; `False` if there is none."""
        mine = exists().where(_sessions.c.session_id == session_id, _sessions.c.namespace == namespace)
        # Named, not left to ON DELETE CASCADE: on an application's own SQLite engine foreign keys may be off.
        self._connection.execute(delete(_messages).where(_messages.c.session_id == session_id, mine))
        statement = delete(_sessions).where(_sessions.c.session_id == session_id, _sessions.c.namespace == namespace)
        return self._connection.execute(statement).rowcount == 1

    def advance(
        self, namespace: str, session_id: str, *, messages: int, usage: TokenUsage, at: datetime, sign: int = 1
    ) -> Advanced:
        """Move a session's counter and totals, and hold its row until the transaction ends.

        The lock lines writers of one session up, so that sequences follow the order of the commits. A `sign` of -1
        takes usage back.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        values = {
            "in_namespace": namespace,
            "id": session_id,
            "messages": messages,
            "at": at,
            **rows.usage_row(usage, sign),
        }
        row = self._connection.execute(_ADVANCE, values).first()
        if row is None:
            raise SessionNotFoundError(session_id)
        return Advanced(row.last_sequence, row.actor_name, rows.totals(row))

    def set_usage(self, namespace: str, session_id: str, usage: TokenUsage) -> None:
        """Put the totals of a new session where the ledger has them."""
        statement = (
            update(_sessions)
            .where(_sessions.c.session_id == session_id, _sessions.c.namespace == namespace)
            .values(**rows.usage_row(usage))
        )
        self._connection.execute(statement)


class SessionMessageRepository:
    """The table `session_messages`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(
        self,
        namespace: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        *,
        at: datetime,
        expected_sequence: int | None = None,
    ) -> list[SessionMessage]:
        """Number the messages and store them, with their token usage.

        Raises:
            SessionNotFoundError: There is no such session.
            PossibleReplay: An id is stored already, or the session does not end at `expected_sequence`: undo this work
                and ask `answer_replay`.
            UsageConflictError: A message's id is in the ledger of token usage with other counts.
        """
        records = [draft.usage for draft in drafts if draft.usage is not None]
        session = SessionRepository(self._connection).advance(
            namespace, session_id, messages=len(drafts), usage=_summed(records), at=at
        )
        first = session.last_sequence - len(drafts) + 1
        if expected_sequence is not None and first != expected_sequence + 1:
            raise PossibleReplay(first - 1)
        messages = [draft.stored(session_id, sequence) for sequence, draft in enumerate(drafts, first)]
        if not self._insert(list(map(rows.message_row, messages, drafts))):
            raise PossibleReplay(first - 1)
        if records:
            records = [replace(record, actor_name=session.actor_name) for record in records]
            TokenUsageRepository(self._connection).record_appended(namespace, session_id, records, at=at)
        return messages

    def restore(self, messages: Sequence[SessionMessage]) -> None:
        """Store messages that have their sequence already, as an import does."""
        self._insert(list(map(rows.message_row, messages)))

    def answer_replay(
        self,
        namespace: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        *,
        expected_sequence: int | None,
        last_sequence: int,
    ) -> list[SessionMessage]:
        """Answer an append whose ids may be stored: with the stored messages, if they are the same ones.

        Raises:
            SessionNotFoundError: There is no such session.
            SequenceConflictError: No id is stored; the session does not end at `expected_sequence`.
            MessageConflictError: The ids are stored with other content, or only some of them are.
            UsageConflictError: The messages are stored without this token usage.
        """
        ids = [draft.message_id for draft in drafts]
        query = _MESSAGES_COLUMNS.where(_messages.c.session_id == session_id, _messages.c.message_id.in_(ids))
        SessionRepository(self._connection).get_by_id(namespace, session_id)
        stored = {row.message_id: rows.message(row) for row in self._connection.execute(query)}
        if not stored and expected_sequence is not None:
            raise SequenceConflictError(session_id, expected_sequence, last_sequence)
        different = [draft for draft in drafts if not draft.is_replay_of(stored.get(draft.message_id))]
        if different:
            raise MessageConflictError(session_id, tuple(draft.message_id for draft in different))
        TokenUsageRepository(self._connection).refuse_others(
            session_id, [draft.usage for draft in drafts if draft.usage is not None]
        )
        return [stored[message_id] for message_id in ids]

    def get_for_session(
        self,
        namespace: str,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
        offset: int = 0,
    ) -> list[SessionMessage]:
        """Return messages, ascending by sequence; `last` takes the newest so many.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        query = _MESSAGES.where(_messages.c.sequence > bindparam("after"))
        values = {"namespace": namespace, "session_id": session_id, "after": after + offset}
        if before is not None:
            query = query.where(_messages.c.sequence < bindparam("before"))
            values["before"] = before
        newest_first = last is not None
        query = query.order_by(_messages.c.sequence.desc() if newest_first else _messages.c.sequence)
        if (most := last if newest_first else limit) is not None:
            query = query.limit(bindparam("most"))
            values["most"] = most
        found = self._connection.execute(query, values).all()
        if not found:  # empty, or not there: only then is a second statement needed
            SessionRepository(self._connection).get_by_id(namespace, session_id)
        return [rows.message(row) for row in (reversed(found) if newest_first else found)]

    def count_for_session(self, namespace: str, session_id: str) -> int:
        """Count a session's messages.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        SessionRepository(self._connection).get_by_id(namespace, session_id)
        statement = select(func.count()).select_from(_messages).where(_messages.c.session_id == session_id)
        return self._connection.execute(statement).scalar_one()

    def _insert(self, messages: list[dict[str, Any]]) -> bool:
        """Insert rows; `False` if some of the ids are stored already."""
        statement = _insert_new(dialect_of(self._connection), "session_messages")
        return len(self._connection.execute(statement, messages).all()) == len(messages)


class TokenUsageRepository:
    """The table `token_usage`: an append-only ledger. A session's totals move only with a new record."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, namespace: str, session_id: str, record: UsageRecord, *, at: datetime) -> TokenUsage:
        """Store a record and add its counts to the session's totals, which are returned.

        Raises:
            SessionNotFoundError: There is no such session.
            PossibleReplay: The id is recorded already: undo this work and ask `answer_replay`.
        """
        session = SessionRepository(self._connection).advance(
            namespace, session_id, messages=0, usage=record.usage, at=at
        )
        if not self.restore(namespace, session_id, [replace(record, actor_name=session.actor_name)]):
            raise PossibleReplay
        return session.usage

    def answer_replay(self, namespace: str, session_id: str, record: UsageRecord) -> TokenUsage:
        """Answer a record whose id is stored: with the session's totals, if it is the same one.

        Raises:
            SessionNotFoundError: There is no such session.
            UsageConflictError: The usage id is recorded with other counts.
        """
        session = SessionRepository(self._connection).get_by_id(namespace, session_id)
        self.refuse_others(session_id, [record])
        return session.usage

    def record_appended(self, namespace: str, session_id: str, records: Sequence[UsageRecord], *, at: datetime) -> None:
        """Store the records of messages just appended, whose counts are in the totals already.

        A usage id that `record` stored before counts once: its counts are taken back.

        Raises:
            UsageConflictError: A usage id is recorded with other counts.
        """
        new = self.restore(namespace, session_id, records)
        if before := [record for record in records if record.usage_id not in new]:
            self.refuse_others(session_id, before)
            SessionRepository(self._connection).advance(
                namespace, session_id, messages=0, usage=_summed(before), sign=-1, at=at
            )

    def restore(self, namespace: str, session_id: str, records: Sequence[UsageRecord]) -> set[str]:
        """Store records and leave the totals; return the ids that were new."""
        statement = _insert_new(dialect_of(self._connection), "token_usage")
        new = [rows.usage_record_row(namespace, session_id, record) for record in records]
        return {row.usage_id for row in self._connection.execute(statement, new)}

    def get_for_session(
        self, namespace: str, session_id: str, *, after: str = "", limit: int | None = None
    ) -> list[UsageRecord]:
        """Return a session's records ascending by id, those whose id is greater than `after`."""
        query = (
            select(_usage)
            .where(_usage.c.session_id == session_id, _usage.c.namespace == namespace, _usage.c.usage_id > after)
            .order_by(_usage.c.usage_id)
            .limit(limit)
        )
        return [rows.usage_record(row) for row in self._connection.execute(query)]

    def totals(self, namespace: str, session_id: str) -> TokenUsage:
        """The sum of the records under a session's id, those of a deleted session with this id included."""
        sums = [func.coalesce(func.sum(_usage.c[name]), 0).label(name) for name in COUNTS]
        mine = and_(_usage.c.session_id == session_id, _usage.c.namespace == namespace)
        row = self._connection.execute(
            select(*sums, func.sum(_usage.c.cost, type_=Cost).label("cost")).where(mine)
        ).one()
        return TokenUsage(cost=row.cost, **{name: int(getattr(row, name)) for name in COUNTS})

    def count_for_session(self, namespace: str, session_id: str) -> int:
        """Count a session's records."""
        mine = and_(_usage.c.session_id == session_id, _usage.c.namespace == namespace)
        return self._connection.execute(select(func.count()).select_from(_usage).where(mine)).scalar_one()

    def refuse_others(self, session_id: str, records: Sequence[UsageRecord]) -> None:
        """Hold records that are sent again against the stored ones.

        Raises:
            UsageConflictError: One is not stored, or with other counts or another model.
        """
        if not records:
            return
        ids = [record.usage_id for record in records]
        query = select(_usage).where(_usage.c.session_id == session_id, _usage.c.usage_id.in_(ids))
        stored = {row.usage_id: rows.usage_record(row) for row in self._connection.execute(query)}
        for record in records:
            known = stored.get(record.usage_id)
            if known is None or (known.usage, known.model) != (record.usage, record.model):
                raise UsageConflictError(session_id, record.usage_id)


class ResourceRepository:
    """The table `resources`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def register(self, namespace: str, kind: str, name: str, *, at: datetime) -> str:
        """Return the id of a resource by its name; store it if it is new."""
        query = select(_resources.c.resource_id).where(_named(namespace, kind, name))
        found: str | None = self._connection.execute(query).scalars().first()
        if found is not None:
            return found
        resource_id = derived_id("resource", namespace, kind, name)
        row = {
            "resource_id": resource_id,
            "namespace": namespace,
            "kind": kind,
            "name": name,
            "aliases": [],
            "created_at": at,
            "updated_at": at,
        }
        self._connection.execute(_insert_new(dialect_of(self._connection), "resources"), [row])
        return resource_id


def _summed(records: Iterable[UsageRecord]) -> TokenUsage:
    return functools.reduce(add_usage, (record.usage for record in records), NO_USAGE)


@functools.cache
def _insert_new(dialect: Dialect, table_name: str) -> Executable:
    """INSERT … ON CONFLICT (the primary key) DO NOTHING RETURNING the key's last column."""
    table = _tables[table_name]
    own = list(table.primary_key)[-1]
    statement: Executable = (
        dialect.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key)).returning(own)
    )
    return statement


def _moved(name: str) -> Any:
    column = _sessions.c[name]
    if name == "cost":  # NULL until a cost is reported
        by = bindparam(name, type_=Cost)
        return func.coalesce(column + by, column, by, type_=Cost)
    return column + bindparam(name, type_=BigInteger)


_ADVANCE: Update = (
    update(_sessions)
    .where(_sessions.c.session_id == bindparam("id"), _sessions.c.namespace == bindparam("in_namespace"))
    .values(
        last_sequence=_sessions.c.last_sequence + bindparam("messages", type_=BigInteger),
        updated_at=bindparam("at", type_=UTCTime),
        **{name: _moved(name) for name in (*COUNTS, "cost")},
    )
    .returning(
        _sessions.c.last_sequence, _sessions.c.actor_name, _sessions.c.cost, *(_sessions.c[name] for name in COUNTS)
    )
)

_SESSIONS: Select[Any] = select(
    *(column for column in _sessions.c if column.name != "workspace"), _resources.c.name.label("workspace")
).select_from(_sessions.outerjoin(_resources, _resources.c.resource_id == _sessions.c.workspace))

_SESSION = _SESSIONS.where(
    _sessions.c.session_id == bindparam("session_id"), _sessions.c.namespace == bindparam("namespace")
)

_MESSAGES_COLUMNS: Select[Any] = select(_messages)

# The namespace is checked by a sub-query that does not depend on the row: both databases evaluate it once.
_MESSAGES = _MESSAGES_COLUMNS.where(
    _messages.c.session_id == bindparam("session_id"),
    exists().where(_sessions.c.session_id == bindparam("session_id"), _sessions.c.namespace == bindparam("namespace")),
)

_ORDERS = {
    "newest": (_sessions.c.created_at, True),
    "oldest": (_sessions.c.created_at, False),
    "updated": (_sessions.c.updated_at, True),
}


def _behind(time: Any, cursor: tuple[datetime, str], *, descending: bool) -> Any:
    """Row comparison written out with the leading column alone first, so that an index on it is used."""
    at, session_id = cursor
    if descending:
        return and_(time <= at, or_(time < at, _sessions.c.session_id < session_id))
    return and_(time >= at, or_(time > at, _sessions.c.session_id > session_id))


def _named(namespace: str, kind: str, name: str) -> Any:
    return and_(_resources.c.namespace == namespace, _resources.c.kind == kind, _resources.c.name == name)


def _workspace_ids(namespace: str, name: str) -> Select[Any]:
    return select(_resources.c.resource_id).where(_named(namespace, WORKSPACE, name))
