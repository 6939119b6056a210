"""The unit of work: a function of the repositories of one transaction, which may run again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection

from sessionledger.infrastructure.database.dialects import dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories import (
    ResourceRepository,
    SessionMessageRepository,
    SessionRepository,
    TokenUsageRepository,
)

T = TypeVar("T")


class UnitOfWork:
    """The repositories of one transaction.

    Attributes:
        replaying: Whether an earlier attempt at this very work may have been committed.
        alone: Whether no transaction has begun: each statement commits by itself, until `restart`.
    """

    __slots__ = ("_held", "_restart", "alone", "replaying")

    def __init__(
        self, held: HeldConnection, restart: Callable[[], None], *, replaying: bool = False, alone: bool = False
    ) -> None:
        self.replaying = replaying
        self.alone = alone
        self._held = held
        self._restart = restart

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's connection."""
        return self._held.connection

    @property
    def sessions(self) -> SessionRepository:
        """The repository of sessions."""
        return SessionRepository(self._held)

    @property
    def messages(self) -> SessionMessageRepository:
        """The repository of messages."""
        return SessionMessageRepository(self._held)

    @property
    def token_usage(self) -> TokenUsageRepository:
        """The repository of the ledger of token usage."""
        return TokenUsageRepository(self._held)

    @property
    def resources(self) -> ResourceRepository:
        """The repository of resources."""
        return ResourceRepository(self._held)

    def loading(self) -> AbstractContextManager[Any]:
        """What is to be open while much is stored."""
        return dialect_of(self._held).loading(self.connection)

    def restart(self) -> None:
        """Undo everything this work has done so far and go on in a fresh transaction."""
        self._restart()
        self.alone = False


Work = Callable[[UnitOfWork], T]


def no_work(_: UnitOfWork) -> None:
    """Do nothing: what is asked is whether the database answers, with the schema that is needed."""
