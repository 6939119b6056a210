"""Appends as units of work: one by itself, or those of several callers in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sessionledger.domain.errors import SessionLedgerError, StorageError
from sessionledger.domain.service import Messages
from sessionledger.infrastructure.database import UnitOfWork
from sessionledger.infrastructure.database.repositories import PossibleReplay
from sessionledger.infrastructure.database.rows import MessageDraft


class Append:
    """The unit of work of one append, which may run again.

    Attributes:
        namespace: The session's namespace.
        session_id: The session.
        drafts: The messages, checked and with their ids.
        at: The time of the append.
        expected_sequence: The last sequence that the caller has seen, if that matters.
    """

    def __init__(
        self,
        namespace: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        at: datetime,
        expected_sequence: int | None = None,
    ) -> None:
        self.namespace = namespace
        self.session_id = session_id
        self.drafts = drafts
        self.at = at
        self.expected_sequence = expected_sequence

    @property
    def ids(self) -> tuple[str, ...]:
        """The messages' ids."""
        return tuple([draft.message_id for draft in self.drafts])

    def __call__(self, unit: UnitOfWork) -> Messages:
        """Append, in one statement that commits by itself where that may be; or answer as a replay is answered."""
        asked = self.namespace, self.session_id, self.drafts
        if unit.alone:
            messages = unit.messages.append_alone(*asked, at=self.at, expected_sequence=self.expected_sequence)
            if messages is not None:
                return messages
            unit.restart()
        try:
            return unit.messages.append(*asked, at=self.at, expected_sequence=self.expected_sequence)
        except PossibleReplay as signal:
            unit.restart()
            return unit.messages.answer_replay(*asked, signal.refusal)


class ApartError(Exception):
    """One of the appends needs an answer of its own; this attempt committed nothing.

    Args:
        again: Whether an earlier attempt may have committed them all.
    """

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again


class Together:
    """The unit of work of several callers' appends in one commit.

    Args:
        appends: What they append, of one namespace, in their order.

    Raises:
        ApartError: Each is to be done by itself.
    """

    def __init__(self, appends: Sequence[Append]) -> None:
        self._appends = appends
        self.ids = tuple(message_id for append in appends for message_id in append.ids)

    def __call__(self, unit: UnitOfWork) -> list[Messages]:
        """Append to each session once, and give each caller its messages."""
        sessions: dict[str, list[int]] = {}
        for place, append in enumerate(self._appends):
            sessions.setdefault(append.session_id, []).append(place)
        if len(set(self.ids)) < len(self.ids):
            raise ApartError(again=unit.replaying)
        answers: list[Messages] = [[]] * len(self._appends)
        for places in sessions.values():
            messages = iter(self._appended(unit, [self._appends[place] for place in places]))
            for place in places:
                answers[place] = [next(messages) for _ in self._appends[place].drafts]
        return answers

    def _appended(self, unit: UnitOfWork, appends: Sequence[Append]) -> Messages:
        first = appends[0]
        drafts = [draft for append in appends for draft in append.drafts]
        at = max(append.at for append in appends)
        try:
            store = unit.messages.append_alone if unit.alone else unit.messages.append
            messages = store(first.namespace, first.session_id, drafts, at=at)
        except StorageError:
            raise
        except (PossibleReplay, SessionLedgerError):
            raise ApartError(again=unit.replaying) from None
        if messages is None:
            raise ApartError(again=unit.replaying)
        return messages
