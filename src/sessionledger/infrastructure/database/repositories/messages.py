"""Messages: numbered by the session's counter, never stored twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, func, select

from sessionledger.domain.errors import MessageConflictError, SequenceConflictError, SessionLedgerError
from sessionledger.domain.models import SessionMessage
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import dialect_of
from sessionledger.infrastructure.database.repositories.sessions import SessionRepository
from sessionledger.infrastructure.database.repositories.tables import MESSAGES, SESSIONS, PossibleReplay, insert_new
from sessionledger.infrastructure.database.repositories.token_usage import TokenUsageRepository, summed
from sessionledger.infrastructure.database.rows import MessageDraft


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
            PossibleReplay: An id is stored already, or the messages are refused unless they are stored: undo this work
                and ask `answer_replay`.
            UsageConflictError: A message's id is in the ledger of token usage with other counts.
        """
        records = [draft.usage for draft in drafts if draft.usage is not None]
        session = SessionRepository(self._connection).advance(
            namespace, session_id, messages=len(drafts), usage=summed(records), at=at
        )
        first = session.last_sequence - len(drafts) + 1
        if expected_sequence is not None and first != expected_sequence + 1:
            raise PossibleReplay(SequenceConflictError(session_id, expected_sequence, first - 1))
        messages = [draft.stored(session_id, sequence) for sequence, draft in enumerate(drafts, first)]
        if not self._insert(list(map(rows.message_row, messages, drafts))):
            raise PossibleReplay
        if records:
            records = [replace(record, actor_name=session.actor_name) for record in records]
            TokenUsageRepository(self._connection).record_appended(namespace, session_id, records, at=at)
        return messages

    def answer_replay(
        self,
        namespace: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        refusal: SessionLedgerError | None,
    ) -> list[SessionMessage]:
        """Answer an append whose ids may be stored: with the stored messages, if they are the same ones.

        Raises:
            SessionNotFoundError: There is no such session.
            SequenceConflictError: No id is stored; the session does not end at the sequence that was expected.
            InvalidInputError: No id is stored; the usage would take a total too far.
            MessageConflictError: The ids are stored with other content, or only some of them are.
            UsageConflictError: The messages are stored without this token usage.
        """
        ids = [draft.message_id for draft in drafts]
        query = _MESSAGES_COLUMNS.where(MESSAGES.c.session_id == session_id, MESSAGES.c.message_id.in_(ids))
        SessionRepository(self._connection).get_by_id(namespace, session_id)
        stored = {row.message_id: rows.message(row) for row in self._connection.execute(query)}
        if not stored and refusal is not None:
            raise refusal
        different = [draft for draft in drafts if not draft.is_replay_of(stored.get(draft.message_id))]
        if different:
            raise MessageConflictError(session_id, tuple(draft.message_id for draft in different))
        TokenUsageRepository(self._connection).refuse_others(
            namespace, session_id, [draft.usage for draft in drafts if draft.usage is not None]
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
        query = _MESSAGES.where(MESSAGES.c.sequence > bindparam("after"))
        values = {"namespace": namespace, "session_id": session_id, "after": after + offset}
        if before is not None:
            query = query.where(MESSAGES.c.sequence < bindparam("before"))
            values["before"] = before
        newest_first = last is not None
        query = query.order_by(MESSAGES.c.sequence.desc() if newest_first else MESSAGES.c.sequence)
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
        statement = select(func.count()).select_from(MESSAGES).where(MESSAGES.c.session_id == session_id)
        return self._connection.execute(statement).scalar_one()

    def _insert(self, messages: list[dict[str, Any]]) -> bool:
        """Insert rows; `False` if some of the ids are stored already."""
        statement = insert_new(dialect_of(self._connection), "session_messages")
        return len(self._connection.execute(statement, messages).all()) == len(messages)


_MESSAGES_COLUMNS: Select[Any] = select(*(column for column in MESSAGES.c if column.name != "unknown_fields"))

# The namespace is checked by a sub-query that does not depend on the row: both databases evaluate it once.
_MESSAGES = _MESSAGES_COLUMNS.where(
    MESSAGES.c.session_id == bindparam("session_id"),
    exists().where(SESSIONS.c.session_id == bindparam("session_id"), SESSIONS.c.namespace == bindparam("namespace")),
)
