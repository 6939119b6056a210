"""Begin, commit, retry and translate together, in one place, around a whole unit of work.

All logic is written once, synchronously, as `work(UnitOfWork)`. `Database` runs it for callers that block;
`AsyncDatabase` (in `aio.py`) runs the very same function for callers that await. Work talks to the database and to
nothing else: no clock, no new ids, no sleep, no network, because it may run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

import sqlalchemy
import tenacity
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.orm import Session as OrmSession

from sessionledger.domain.errors import CommitOutcomeUnknownError, StorageError
from sessionledger.infrastructure import telemetry
from sessionledger.infrastructure.database import dialects, revision
from sessionledger.infrastructure.database.dialects import Dialect
from sessionledger.infrastructure.database.repositories import (
    ResourceRepository,
    SessionMessageRepository,
    SessionRepository,
    TokenUsageRepository,
)

log = logging.getLogger(__name__)
# Where nobody has set up logging, Python would print our warnings on standard error, beside a command's own line.
logging.getLogger("sessionledger").addHandler(logging.NullHandler())

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class UnitOfWork:
    """The repositories of one transaction.

    Attributes:
        connection: The transaction's connection.
        sessions: The repository of sessions.
        messages: The repository of messages.
        token_usage: The repository of the ledger of token usage.
        resources: The repository of resources.
        replaying: Whether an earlier attempt at this very work may have been committed.
    """

    def __init__(self, connection: Connection, restart: Callable[[], None], *, replaying: bool = False) -> None:
        self.connection = connection
        self.sessions = SessionRepository(connection)
        self.messages = SessionMessageRepository(connection)
        self.token_usage = TokenUsageRepository(connection)
        self.resources = ResourceRepository(connection)
        self.replaying = replaying
        self._restart = restart

    def restart(self) -> None:
        """Undo everything this work has done so far and go on in a fresh transaction."""
        self._restart()


Work = Callable[[UnitOfWork], T]


def no_work(_: UnitOfWork) -> None:
    """Do nothing: what is asked is whether the database answers, with the schema that is needed."""


class Call(Generic[T]):
    """One call of `read` or `write`, over all its attempts.

    Attributes:
        work: The unit of work.
        writes: Whether it writes.
        ids: The ids minted for it; they travel in every error.
        committing: Whether COMMIT has been sent in the present attempt.
    """

    def __init__(self, dialect: Dialect, work: Work[T], *, writes: bool, ids: tuple[str, ...] = ()) -> None:
        self.work = work
        self.writes = writes
        self.ids = ids
        self._dialect = dialect
        self.committing = False
        self._outcome_unknown = False

    def perform(self, connection: Connection) -> T:
        """Run the work in a transaction of its own: the one function that both executors run."""
        self._begin(connection)
        result = self.work(UnitOfWork(connection, lambda: self._restart(connection), replaying=self._outcome_unknown))
        if self.writes:
            self._commit(connection)
        return result

    def join(self, connection: Connection) -> T:
        """Run the work inside the caller's transaction: a savepoint, no commit."""
        if self._dialect.begin_writing and not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]  # sqlite3's
            # A savepoint alone would begin the transaction, and releasing it would commit what the caller may undo.
            connection.exec_driver_sql(self._dialect.begin_writing)
        savepoint = [connection.begin_nested()]

        def restart() -> None:
            savepoint[0].rollback()
            savepoint[0] = connection.begin_nested()

        try:
            result = self.work(UnitOfWork(connection, restart))
        except BaseException:
            if savepoint[0].is_active:
                savepoint[0].rollback()
            raise
        savepoint[0].commit()
        return result

    def _begin(self, connection: Connection) -> None:
        self.committing = False
        statement = self._dialect.begin_writing if self.writes else self._dialect.begin_reading
        if statement:
            connection.exec_driver_sql(statement)

    def _commit(self, connection: Connection) -> None:
        self.committing = True
        try:
            connection.commit()
        except BaseException:
            # SQLAlchemy takes the transaction for ended, whatever the database says, and would give the connection back
            # to the pool without a rollback: the next transaction on it would commit this one as well.
            if not connection.invalidated:  # as it is where it was lost: then it does not go back at all
                try:
                    connection.connection.rollback()
                except BaseException as error:
                    connection.invalidate()
                    if not isinstance(error, connection.dialect.loaded_dbapi.Error):
                        raise
            raise

    def _restart(self, connection: Connection) -> None:
        connection.rollback()
        self._begin(connection)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise our errors in place of the driver's, whose text may quote a message."""
        try:
            yield
        except StorageError as error:
            raise self._with_facts(error) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            failure = dialects.translated(error, self._dialect, committing=self.committing)
            if failure is None:
                raise
            raise (self._with_facts(failure) if isinstance(failure, StorageError) else failure) from None
        except UnicodeError:  # a driver's, about a value that is no text; it carries the whole value
            raise self._with_facts(StorageError("A text cannot be sent to the database, or read from it")) from None

    def _with_facts(self, error: StorageError) -> StorageError:
        if isinstance(error, CommitOutcomeUnknownError):
            self._outcome_unknown = True
        elif self._outcome_unknown:  # a later attempt failed, but an earlier one may have been committed
            error = CommitOutcomeUnknownError(code=error.code)
        error.ids = error.ids or self.ids
        return error


def _gave_up(state: tenacity.RetryCallState) -> bool:
    executor: Database = state.args[0]
    if (state.seconds_since_start or 0.0) < executor.retry_seconds:
        return False
    log.warning("%s; gave up", _Attempt(state))
    return True


def _log_retry(state: tenacity.RetryCallState) -> None:
    """One line an attempt: a busy database is nothing unusual, an outcome that is not known is."""
    attempt = _Attempt(state)
    unknown = isinstance(attempt.error, CommitOutcomeUnknownError)
    log.log(logging.WARNING if unknown else logging.INFO, "%s; trying again", attempt)
    executor: Database = state.args[0]
    telemetry.retried(executor.dialect.system, attempt.error)


class _Attempt:
    """An attempt that failed, as a line of the log tells it: ids and the database's code, and nothing else."""

    def __init__(self, state: tenacity.RetryCallState) -> None:
        self.error = cast("StorageError", state.outcome and state.outcome.exception())
        self.number = state.attempt_number
        self.seconds = state.seconds_since_start or 0.0

    def __str__(self) -> str:
        ids = ", ".join(self.error.ids[:3]) + (" …" if len(self.error.ids) > 3 else "")
        return (
            f"Attempt {self.number} failed after {self.seconds:.3f} s: {type(self.error).__name__}, "
            f"code {self.error.code}, {len(self.error.ids)} id(s) {ids or '-'}"
        )


def database_retry(method: F) -> F:
    """Run a whole unit of work again, on a fresh connection, while the database is busy or away.

    It decides by type, and so by the database's code, never by text. It decorates plain and `async def` methods of an
    object with `retry_seconds`. Around a repository method it could not work: PostgreSQL refuses every further
    statement of a failed transaction (`InFailedSqlTransaction`).
    """
    again = tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, StorageError) and error.retryable),
        stop=_gave_up,
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
        before_sleep=_log_retry,
        reraise=True,
    )
    return cast("F", again(method))


class SchemaCheck:
    """What both executors know of their database: its dialect, and whether its schema has been looked at.

    Attributes:
        dialect: What this kind of database can do.
        verified: Whether the schema's revision was found right; it is looked at before the first work.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.verified = False

    def checking(self, work: Work[T]) -> Work[T]:
        """Check the schema's revision before the first work, in the same transaction."""
        if self.verified:
            return work

        def checked(unit: UnitOfWork) -> T:
            revision.verify(unit.connection)
            self.verified = True
            return work(unit)

        return checked


class Database(SchemaCheck):
    """A database for callers that block. Making one opens nothing; the first call connects.

    Args:
        database: A URL (`sqlite:///agent.db`, `postgresql://user@host/name`), or an Engine the application has.
        retry_seconds: For how long a call is tried again while the database is busy or away.
        engine_options: Passed on to SQLAlchemy's `create_engine`, e.g. `pool_size`.

    Attributes:
        engine: The SQLAlchemy engine.
        retry_seconds: As given.

    Raises:
        InvalidInputError: The URL is none, or names another kind of database.
        ImportError: The driver is not installed.
    """

    def __init__(self, database: str | URL | Engine, *, retry_seconds: float = 30.0, **engine_options: Any) -> None:
        self._owns_engine = not isinstance(database, Engine)
        if isinstance(database, Engine):
            self.engine = database
        else:
            self.engine = dialects.create(sqlalchemy.create_engine, dialects.checked_url(database), engine_options)
            dialects.prepare(self.engine)
        super().__init__(dialects.dialect_of(self.engine))
        self.retry_seconds = retry_seconds
        plain = self._owns_engine and not dialects.chooses_transactions(engine_options)
        self._writing = {} if plain else self.dialect.writing

    def read(self, work: Work[T]) -> T:
        """Run work that only reads, on one snapshot of the database."""
        return self._run(Call(self.dialect, self.checking(work), writes=False))

    def write(self, work: Work[T], ids: tuple[str, ...] = ()) -> T:
        """Run work in a transaction that takes its lock up front, and commit it.

        Raises:
            StorageUnavailableError: Nothing was committed.
            CommitOutcomeUnknownError: It may have been; sending the same ids again is safe.
        """
        return self._run(Call(self.dialect, self.checking(work), writes=True, ids=ids))

    def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what work yields, on one snapshot that stays open until it is done; not retried once it has begun."""
        call = Call(self.dialect, self.checking(work), writes=False)
        with call.translated(), self._connected(self.dialect.reading) as connection:
            yield from call.perform(connection)

    def verify(self) -> None:
        """Change nothing, and raise `SchemaRevisionError` unless the tables are those this release works with."""
        self.verified = False
        self.read(no_work)

    def close(self) -> None:
        """Close the connections, unless the engine is the application's."""
        if self._owns_engine:
            self.engine.dispose()

    @staticmethod
    def joined(transaction: Connection | OrmSession) -> JoinedDatabase:
        """The same verbs inside the caller's transaction: a savepoint each, no commit, no retry."""
        return JoinedDatabase(transaction.connection() if isinstance(transaction, OrmSession) else transaction)

    @database_retry
    def _run(self, call: Call[T]) -> T:
        options = self._writing if call.writes else self.dialect.reading
        with call.translated(), self._connected(options) as connection:
            return call.perform(connection)

    @contextmanager
    def _connected(self, options: Mapping[str, Any]) -> Iterator[Connection]:
        """A connection with these execution options; given to the engine, its own `isolation_level` would win."""
        with self.engine.connect() as connection:
            if options:
                connection.execution_options(**options)
            yield connection


class JoinedDatabase:
    """A `Database` inside the caller's transaction; see `Database.joined`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = dialects.dialect_of(connection)

    def read(self, work: Work[T]) -> T:
        """Run work that only reads; what it sees is up to the caller's transaction."""
        return self._run(Call(self.dialect, work, writes=False))

    def write(self, work: Work[T], ids: tuple[str, ...] = ()) -> T:
        """Run work in a savepoint; the caller commits."""
        return self._run(Call(self.dialect, work, writes=True, ids=ids))

    def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what work yields."""
        call = Call(self.dialect, work, writes=False)
        with call.translated():
            yield from call.join(self._connection)

    def close(self) -> None:
        """Do nothing: the connection is the caller's."""

    def _run(self, call: Call[T]) -> T:
        with call.translated():
            return call.join(self._connection)
