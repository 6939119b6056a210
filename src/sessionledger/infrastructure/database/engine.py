"""Begin, commit, retry and translate together, in one place, around a whole unit of work.

All logic is written once, synchronously, as `work(UnitOfWork)`. `Database` runs it for callers that block;
`AsyncDatabase` (in `aio.py`) runs the very same function for callers that await. Work talks to the database and to
nothing else: no clock, no new ids, no sleep, no network, because it may run again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic

import sqlalchemy
from sqlalchemy import URL, Connection, Engine

from sessionledger.domain.errors import CommitOutcomeUnknownError, SessionLedgerError, StorageError
from sessionledger.infrastructure.database import dialects, revision
from sessionledger.infrastructure.database.dialects import CallCancelledError, Dialect
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.retry import database_retry
from sessionledger.infrastructure.database.unit_of_work import T, UnitOfWork, Work, no_work

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as OrmSession  # half as much again as the rest of SQLAlchemy

TRANSLATED = (StorageError, sqlalchemy.exc.SQLAlchemyError, UnicodeError)
"""What an attempt may raise that `Call.failure` looks at."""


def ignore(_: object) -> None:
    """Do nothing with what one is told."""


class Call(Generic[T]):
    """One call of `read`, `write` or `stream`, over all its attempts.

    Attributes:
        work: The unit of work.
        dialect: What the database can do.
        writes: Whether it writes.
        ids: The ids minted for it; they travel in every error.
        alone: Of a read: whether it is one statement. Of a write: whether it begins with one that may commit by itself,
            where the database can.
        committing: Whether COMMIT, or such a statement, has been sent in the present attempt.
        commit_sent: Whether COMMIT has.
        cancelled: Whether nobody waits for it any more: it is not to commit. Set by another thread.
    """

    def __init__(
        self,
        dialect: Dialect,
        work: Work[T],
        *,
        writes: bool = False,
        ids: tuple[str, ...] = (),
        alone: bool = False,
        schema: SchemaCheck | None = None,
    ) -> None:
        self.work = work
        self.writes = writes
        self.ids = ids
        self.alone = alone
        self.cancelled = False
        self.committing = self.commit_sent = False
        self.dialect = dialect
        self._schema = schema
        self._outcome_unknown = False

    def attempt(
        self,
        engine: Engine,
        options: Mapping[str, Any],
        *,
        begun: Callable[[Any], object] = ignore,
    ) -> T:
        """Perform it once, on a connection of the engine's; the one function that all executors run.

        Args:
            engine: The engine.
            options: Execution options of the connection.
            begun: Is told the driver's connection, and then `None`, when the pool may give it to another call.

        Raises:
            SessionLedgerError: Ours in place of the driver's, whose text may quote a message.
        """
        self.committing = self.commit_sent = False
        try:
            held = HeldConnection(engine)
            try:
                begun(held.driver)
                if options:
                    held.use(options)
                return self.perform(held)
            finally:
                begun(None)
                held.close()
        except TRANSLATED as error:
            if (failure := self.failure(error)) is None:
                raise
            raise failure from None

    def perform(self, held: HeldConnection) -> T:
        """Run the work, in a transaction of its own if it needs one."""
        if self._schema is not None:
            self._schema.check(held)
        alone = self._may_commit_alone(held)
        if alone:
            self.committing = True
        elif self.writes or not self.alone:
            self._begin(held)
        unit = UnitOfWork(held, lambda: self._restart(held), replaying=self._outcome_unknown, alone=alone)
        result = self.work(unit)
        if self.writes and not unit.alone:
            self._commit(held)
        return result

    def join(self, connection: Connection) -> T:
        """Run the work inside the caller's transaction: a savepoint, no commit."""
        held = HeldConnection.of(connection)
        if self.dialect.begin_writing and not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]  # sqlite3's
            # A savepoint alone would begin the transaction, and releasing it would commit what the caller may undo.
            held.run(self.dialect.begin_writing)
        savepoint = [connection.begin_nested()]

        def restart() -> None:
            savepoint[0].rollback()
            savepoint[0] = connection.begin_nested()

        try:
            result = self.work(UnitOfWork(held, restart))
        except BaseException:
            if savepoint[0].is_active:
                savepoint[0].rollback()
            raise
        savepoint[0].commit()
        return result

    def _may_commit_alone(self, held: HeldConnection) -> bool:
        """Whether the database takes an append as one statement, and the connection commits what is sent."""
        if not (self.writes and self.alone and self._schema is not None and self._schema.commits_alone):
            return False
        return bool(held.driver.autocommit)

    def _begin(self, held: HeldConnection) -> None:
        self.committing = self.commit_sent = False
        held.begin()
        if self.writes:
            self.dialect.take_write_lock(held, lambda: self.cancelled)
        elif self.dialect.begin_reading:
            held.run(self.dialect.begin_reading)

    def _commit(self, held: HeldConnection) -> None:
        self.committing = self.commit_sent = True
        if self.cancelled:  # looked at after the line above, so that whoever cancels sees one of the two
            self.committing = self.commit_sent = False
            raise CallCancelledError
        try:
            held.commit()
        except BaseException:
            connection = held.connection
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

    def _restart(self, held: HeldConnection) -> None:
        held.rollback()
        self._begin(held)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise our errors in place of the driver's."""
        try:
            yield
        except TRANSLATED as error:
            if (failure := self.failure(error)) is None:
                raise
            raise failure from None

    def failure(self, error: Exception) -> SessionLedgerError | None:
        """Our error for one that an attempt raised; `None` for an exception that is not the database's."""
        failure: SessionLedgerError | None
        if isinstance(error, StorageError):
            failure = error
        elif isinstance(error, UnicodeError):  # a driver's, about a value that is no text; it carries the whole value
            failure = StorageError("A text cannot be sent to the database, or read from it")
        else:
            failure = dialects.translated(error, self.dialect, committing=self.committing)
        return self._with_facts(failure) if isinstance(failure, StorageError) else failure

    def _with_facts(self, error: StorageError) -> StorageError:
        if isinstance(error, CommitOutcomeUnknownError):
            self._outcome_unknown = True
        elif self._outcome_unknown:  # a later attempt failed, but an earlier one may have been committed
            error = CommitOutcomeUnknownError(code=error.code)
        error.ids = error.ids or self.ids
        return error


class SchemaCheck:
    """What both executors know of their database: its dialect, and whether its schema has been looked at.

    Attributes:
        dialect: What this kind of database can do.
        verified: Whether the schema's revision was found right; it is looked at before the first work.
        commits_alone: Whether an append is one statement here, as was found then.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.verified = False
        self.commits_alone = False
        self._writing = dialect.writing

    def options(self, call: Call[Any]) -> Mapping[str, Any]:
        """The execution options of the connection for a call."""
        if call.writes:
            return self._writing
        return {} if call.alone else self.dialect.reading

    def check(self, held: HeldConnection) -> None:
        """Look at the schema's revision before the first work."""
        if self.verified:
            return
        revision.verify(held)
        self.commits_alone = self.dialect.commits_alone(held.connection)
        held.connection.rollback()
        self.verified = True


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

    def read(self, work: Work[T], *, alone: bool = False) -> T:
        """Run work that only reads, on one snapshot of the database.

        Args:
            work: The unit of work.
            alone: Whether it is one statement, which needs no transaction to be one snapshot.
        """
        return self._run(Call(self.dialect, work, alone=alone, schema=self))

    def write(self, work: Work[T], ids: tuple[str, ...] = (), alone: bool = False) -> T:
        """Run work in a transaction that takes its lock up front, and commit it.

        Args:
            work: The unit of work.
            ids: The ids minted for it; they travel in every error.
            alone: Whether it looks at `UnitOfWork.alone`, and begins with a statement that may commit by itself.

        Raises:
            StorageUnavailableError: Nothing was committed.
            CommitOutcomeUnknownError: It may have been; sending the same ids again is safe.
        """
        return self._run(Call(self.dialect, work, writes=True, ids=ids, alone=alone, schema=self))

    def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what work yields, on one snapshot that stays open until it is done; not retried once it has begun."""
        yield from steps(self.engine, Call(self.dialect, work, schema=self))

    def verify(self) -> None:
        """Change nothing, and raise `SchemaRevisionError` unless the tables are those this release works with."""
        self.verified = False
        self.read(no_work, alone=True)

    def close(self) -> None:
        """Close the connections, unless the engine is the application's."""
        if self._owns_engine:
            self.engine.dispose()

    @staticmethod
    def joined(transaction: Connection | OrmSession) -> JoinedDatabase:
        """The same verbs inside the caller's transaction: a savepoint each, no commit, no retry."""
        return JoinedDatabase(transaction if isinstance(transaction, Connection) else transaction.connection())

    @database_retry
    def _run(self, call: Call[T]) -> T:
        return call.attempt(self.engine, self.options(call))


def steps(engine: Engine, call: Call[Iterator[T]]) -> Generator[T, None, None]:
    """What the work of a call yields, on one snapshot; see `Database.stream`."""
    with call.translated(), engine.connect() as connection:
        connection.execution_options(**call.dialect.reading)
        yield from call.perform(HeldConnection.of(connection))


class JoinedDatabase:
    """A `Database` inside the caller's transaction; see `Database.joined`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = dialects.dialect_of(connection)

    def read(self, work: Work[T], *, alone: bool = False) -> T:  # noqa: ARG002 - the same verbs
        """Run work that only reads; what it sees is up to the caller's transaction."""
        return self._run(Call(self.dialect, work))

    def write(self, work: Work[T], ids: tuple[str, ...] = (), alone: bool = False) -> T:  # noqa: ARG002 - it never is
        """Run work in a savepoint; the caller commits."""
        return self._run(Call(self.dialect, work, writes=True, ids=ids))

    def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what work yields."""
        call = Call(self.dialect, work)
        with call.translated():
            yield from call.join(self._connection)

    def close(self) -> None:
        """Do nothing: the connection is the caller's."""

    def _run(self, call: Call[T]) -> T:
        with call.translated():
            return call.join(self._connection)
