"""The same verbs for callers that await; the only file that needs greenlet and an async driver.

The work is the very same function, run in a greenlet of SQLAlchemy's: 2-6 % over a hand-written async twin
(measured), and a cancelled append really is cancelled. A file of SQLite's is served by threads instead (`threads.py`).

**Cancels.** Before COMMIT a cancel ends the statement that runs, the transaction is rolled back, and the connection
goes back to the pool. A COMMIT that has been sent is awaited first, for at most `COMMIT_SECONDS` (see `threads.py`).
The cancel always comes out. A statement that commits by itself is ended as any other: the server has done it, or it
has not.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext

if importlib.util.find_spec("greenlet") is None:  # SQLAlchemy's own error would name an extra of SQLAlchemy's
    raise ImportError("greenlet is not installed; run: pip install 'sessionledger[async]'")

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util import greenlet_spawn

from sessionledger.infrastructure.database import dialects
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.engine import Call, Database, SchemaCheck
from sessionledger.infrastructure.database.retry import database_retry
from sessionledger.infrastructure.database.threads import (
    COMMIT_SECONDS,
    ROLLBACK_SECONDS,
    ThreadedDatabase,
    ended,
)
from sessionledger.infrastructure.database.unit_of_work import T, UnitOfWork, Work, no_work

_OURS = "sessionledger"


class AsyncDatabase(SchemaCheck):
    """A database for callers that await. Arguments, attributes and errors are those of `Database`.

    Attributes:
        sync_engine: The engine that statements run on, whose pool and events they are.
    """

    def __init__(
        self, database: str | URL | AsyncEngine, *, retry_seconds: float = 30.0, **engine_options: Any
    ) -> None:
        self._owns_engine = not isinstance(database, AsyncEngine)
        self._threaded: ThreadedDatabase | None = None
        self._engine: AsyncEngine | None = None
        if isinstance(database, AsyncEngine):
            self._engine = database
        else:
            self._url = dialects.checked_url(database, awaiting=True)
            self._options = engine_options
            if dialects.served_by_threads(self._url, engine_options):
                blocking = dialects.checked_url(self._url)
                self._threaded = ThreadedDatabase(Database(blocking, retry_seconds=retry_seconds, **engine_options))
        self.sync_engine = self._threaded.database.engine if self._threaded else self.engine.sync_engine
        super().__init__(dialects.dialect_of(self.sync_engine))
        self.retry_seconds = retry_seconds
        plain = self._owns_engine and not dialects.chooses_transactions(engine_options)
        self._writing = {} if plain else self.dialect.writing
        self._left: set[asyncio.Task[Any]] = set()  # steps that outlive the cancel of their call
        if self._threaded is None:
            self._connecting = self.engine.execution_options(**{_OURS: True})
            if not event.contains(self.sync_engine, "handle_error", _keep_connection):
                event.listen(self.sync_engine, "handle_error", _keep_connection)

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for an application's own statements; where threads serve the database, made when it is needed."""
        if self._engine is None:
            self._engine = dialects.create(create_async_engine, self._url, self._options)
            dialects.prepare(self._engine.sync_engine)
        return self._engine

    async def read(self, work: Work[T], *, alone: bool = False) -> T:
        """See `Database.read`."""
        return await self._run(Call(self.dialect, work, alone=alone, schema=self))

    async def write(self, work: Work[T], ids: tuple[str, ...] = (), alone: bool = False) -> T:
        """See `Database.write`."""
        return await self._run(Call(self.dialect, work, writes=True, ids=ids, alone=alone, schema=self))

    async def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> AsyncGenerator[T, None]:
        """See `Database.stream`; each step of the iteration is run by the connection."""
        call = Call(self.dialect, work, schema=self)

        def begun(held: HeldConnection) -> Iterator[T]:
            held.use(self.dialect.reading)
            return call.perform(held)

        if self._threaded:
            async with aclosing(self._threaded.stream(call)) as found:
                async for step in found:
                    yield step
                    del step  # as in `_stepped`
            return
        with call.translated():
            connection = await self._connecting.connect()
            try:
                steps = await connection.run_sync(lambda blocking: begun(HeldConnection.of(blocking)))
                async for step in _stepped(connection, steps):
                    yield step
                    del step
            finally:
                await _settled(connection.close(), lambda: False, self._left)

    async def verify(self) -> None:
        """See `Database.verify`."""
        self.verified = False
        await self.read(no_work, alone=True)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._left:
            await asyncio.wait(self._left, timeout=COMMIT_SECONDS)
        if self._threaded:
            await self._threaded.close()
        if self._owns_engine and self._engine is not None:
            await self._engine.dispose()

    @staticmethod
    async def joined(transaction: AsyncConnection | AsyncSession) -> AsyncJoinedDatabase:
        """See `Database.joined`."""
        return AsyncJoinedDatabase(
            await transaction.connection() if isinstance(transaction, AsyncSession) else transaction
        )

    @database_retry
    async def _run(self, call: Call[T]) -> T:
        if self._threaded:
            return await self._threaded.run(call)
        attempt = greenlet_spawn(call.attempt, self._connecting.sync_engine, self.options(call))
        return await _settled(attempt, lambda: not call.commit_sent, self._left)


class AsyncJoinedDatabase:
    """An `AsyncDatabase` inside the caller's transaction; see `Database.joined`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.dialect = dialects.dialect_of(connection)

    async def read(self, work: Work[T], *, alone: bool = False) -> T:  # noqa: ARG002 - the same verbs
        """See `JoinedDatabase.read`."""
        return await self._run(Call(self.dialect, work))

    async def write(self, work: Work[T], ids: tuple[str, ...] = (), alone: bool = False) -> T:  # noqa: ARG002 - the same verbs
        """See `JoinedDatabase.write`."""
        return await self._run(Call(self.dialect, work, writes=True, ids=ids))

    async def stream(self, work: Callable[[UnitOfWork], Iterator[T]]) -> AsyncGenerator[T, None]:
        """See `JoinedDatabase.stream`."""
        call = Call(self.dialect, work)
        with call.translated():
            steps = await self._connection.run_sync(call.join)
            async for step in _stepped(self._connection, steps):
                yield step
                del step

    async def close(self) -> None:
        """Do nothing: the connection is the caller's."""

    async def _run(self, call: Call[T]) -> T:
        with call.translated():
            return await self._connection.run_sync(call.join)


async def _stepped(connection: AsyncConnection, steps: Iterator[T]) -> AsyncGenerator[T, None]:
    end = object()
    while (step := await connection.run_sync(lambda _: next(steps, end))) is not end:
        yield step  # type: ignore[misc]  # not `end`, so a T
        del step  # the next one is made without this one in memory


async def _settled(step: Coroutine[Any, Any, T], breakable: Callable[[], bool], left: set[asyncio.Task[Any]]) -> T:
    """Await a step in a task of its own; a cancel is passed on when the step is over and its connection given back.

    A step that takes too long is left to end by itself.
    """
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if breakable():
            task.cancel()
            await ended(task, ROLLBACK_SECONDS)
        else:
            await ended(task, COMMIT_SECONDS)
            task.cancel()  # SQLAlchemy drops the connection of a COMMIT that was broken off
        left.add(task)
        task.add_done_callback(left.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # asyncio wants it looked at
        raise


def _keep_connection(context: ExceptionContext) -> None:
    """Keep a connection of ours whose statement was cancelled, unless the driver has closed it.

    SQLAlchemy drops it, as it still does where COMMIT or ROLLBACK was broken off. A dropped SQLite connection holds the
    lock for writing for as long as anything, such as the traceback of the cancel, holds a cursor of it: another append
    waited 10 s for it.
    """
    connection = context.connection
    if (
        isinstance(context.original_exception, asyncio.CancelledError)
        and context.statement is not None
        and connection is not None
        and connection.get_execution_options().get(_OURS)
    ):
        lost = context.dialect.loaded_dbapi.OperationalError("")
        context.is_disconnect = context.dialect.is_disconnect(lost, connection.connection.dbapi_connection, None)
