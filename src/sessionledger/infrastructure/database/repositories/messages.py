"""Messages: numbered by the session's counter, never stored twice."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import BigInteger, Executable, String, Text, bindparam, exists, func, literal_column, select
from sqlalchemy.exc import DBAPIError

from sessionledger.domain.errors import MessageConflictError, SequenceConflictError, SessionLedgerError
from sessionledger.domain.models import SessionMessage
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of, refused
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories import appending
from sessionledger.infrastructure.database.repositories.sessions import SessionRepository
from sessionledger.infrastructure.database.repositories.tables import MESSAGE_COLUMNS, PossibleReplay
from sessionledger.infrastructure.database.repositories.token_usage import TokenUsageRepository, summed
from sessionledger.infrastructure.database.rows import MessageDraft
from sessionledger.infrastructure.database.statements import Statement
from sessionledger.infrastructure.database.tables import MESSAGES, SESSIONS


class SessionMessageRepository:
    """The table `session_messages`."""

    def __init__(self, held: HeldConnection) -> None:
        self._held = held
        self._dialect = dialect_of(held)

    def append_alone(
        self,
        namespace: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        *,
        at: datetime,
        expected_sequence: int | None = None,
    ) -> list[SessionMessage] | None:
        """Number the messages and store them, with their token usage, in one statement that commits by itself.

        Returns:
            The messages; `None`, and nothing has changed, where `append` has to say why not.
        """
        if next(appending.parts(drafts)) is not drafts:
            return None
        records = [draft.usage for draft in drafts if draft.usage is not None]
        values = {
            "namespace": namespace,
            "session_id": session_id,
            "messages": len(drafts),
            "at": at,
            "expected_sequence": expected_sequence,
        }
        if records:
            values |= rows.moved_by(summed(records))
        if many := len(drafts) > 1:
            values |= appending.arrays(drafts, usage=bool(records))
        else:
            values |= appending.values(session_id, drafts[0])
        try:
            found = appending.append(many=many, usage=bool(records)).rows(self._held, values)
        except DBAPIError as error:
            if refused(error, self._dialect):
                return None
            raise
        if not found:
            return None
        first = found[0][0] - len(drafts) + 1
        return [draft.stored(session_id, sequence) for sequence, draft in enumerate(drafts, first)]

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
        session = SessionRepository(self._held).advance(
            namespace, session_id, messages=len(drafts), usage=summed(records) if records else None, at=at
        )
        first = session.last_sequence - len(drafts) + 1
        if expected_sequence is not None and first != expected_sequence + 1:
            raise PossibleReplay(SequenceConflictError(session_id, expected_sequence, first - 1))
        if self._insert(session_id, drafts, first) < len(drafts):
            raise PossibleReplay
        if records:
            records = [replace(record, actor_name=session.actor_name) for record in records]
            TokenUsageRepository(self._held).record_appended(namespace, session_id, records, at=at)
        return [draft.stored(session_id, sequence) for sequence, draft in enumerate(drafts, first)]

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
        SessionRepository(self._held).get_by_id(namespace, session_id)
        found = _BY_ID.rows(self._held, {"session_id": session_id, "message_ids": json.dumps(ids)})
        stored = {message.message_id: message for message in rows.messages(found, self._dialect)}
        if not stored and refusal is not None:
            raise refusal
        different = [draft for draft in drafts if not draft.is_replay_of(stored.get(draft.message_id))]
        if different:
            raise MessageConflictError(session_id, tuple(draft.message_id for draft in different))
        TokenUsageRepository(self._held).refuse_others(
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
        after += offset
        query = _messages(
            behind=after > 0,
            bounded=before is not None,
            most=limit if last is None else last,
            newest_first=last is not None,
        )
        values = {"namespace": namespace, "session_id": session_id, "after": after, "before": before}
        found = query.rows(self._held, values)
        if not found:  # empty, or not there: only then is a second statement needed
            SessionRepository(self._held).get_by_id(namespace, session_id)
        if last is not None:
            found.reverse()
        return rows.messages(found, self._dialect)

    def count_for_session(self, namespace: str, session_id: str) -> int:
        """Count a session's messages.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        SessionRepository(self._held).get_by_id(namespace, session_id)
        statement = select(func.count()).select_from(MESSAGES).where(MESSAGES.c.session_id == session_id)
        return self._held.connection.execute(statement).scalar_one()

    def _insert(self, session_id: str, drafts: Sequence[MessageDraft], first: int) -> int:
        """Insert messages but for those whose ids are stored already; return how many."""
        stored = 0
        for part in appending.parts(drafts):
            stored += appending.insert(self._held, session_id, part, first)
            first += len(part)
        return stored


def _by_id(dialect: Dialect) -> Executable:
    """Messages of a session by a JSON array of their ids."""
    ids = dialect.each_text(bindparam("message_ids", type_=Text()))
    return select(*MESSAGE_COLUMNS).where(
        MESSAGES.c.session_id == bindparam("session_id", type_=String()), MESSAGES.c.message_id.in_(ids)
    )


_BY_ID = Statement(_by_id)


@functools.lru_cache(maxsize=256)
def _messages(*, behind: bool, bounded: bool, most: int | None, newest_first: bool) -> Statement:
    """The query for messages of a session, at most so many.

    The number is written out: with a parameter there PostgreSQL plans each execution anew, a third of its time
    (measured), because it takes a tenth of the session for what is asked.
    """
    session_id = bindparam("session_id", type_=String())
    query = select(*MESSAGE_COLUMNS).where(
        MESSAGES.c.session_id == session_id,
        # A sub-query that does not depend on the row: both databases evaluate it once.
        exists().where(
            SESSIONS.c.session_id == session_id, SESSIONS.c.namespace == bindparam("namespace", type_=String())
        ),
    )
    if behind:
        query = query.where(MESSAGES.c.sequence > bindparam("after", type_=BigInteger()))
    if bounded:
        query = query.where(MESSAGES.c.sequence < bindparam("before", type_=BigInteger()))
    query = query.order_by(MESSAGES.c.sequence.desc() if newest_first else MESSAGES.c.sequence)
    if most is not None:
        query = query.limit(literal_column(int.__repr__(most)))
    return Statement(lambda _: query)
