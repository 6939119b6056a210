"""An embedded database for callers that await: whole units of work run in threads, on the blocking engine.

An append hops to a thread and back once (27 µs, measured), where a driver that awaits each of its dozen calls by
itself took three times as long as the append. Writers have one thread, so they queue where it costs nothing.

**Cancels.** A call that has not begun never does. One that runs is interrupted, and does not commit.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic

from sessionledger.infrastructure.database.dialects import CallCancelledError
from sessionledger.infrastructure.database.engine import Call, Database, steps
from sessionledger.infrastructure.database.unit_of_work import T

READERS = 4
"""How many threads read at once; most of a read is Python, which runs in one thread at a time."""

ROLLBACK_SECONDS = 0.5
"""How long a cancel waits for the rollback of a call; then the connection goes back to the pool when it is over."""

COMMIT_SECONDS = 5.0
"""How long a cancel waits for the outcome of a COMMIT that has been sent; then the connection is given up."""

INTERRUPT_SECONDS = 0.005
"""How often a cancel interrupts a call that has not ended: between two of its statements there is nothing to stop."""


class ThreadedDatabase:
    """Runs the calls of an `AsyncDatabase` on a `Database` of its own, in threads."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._writers = Threads(1)
        self._readers = Threads(READERS)
        self._left: set[asyncio.Future[Any]] = set()  # what outlives the cancel of its call

    async def run(self, call: Call[T]) -> T:
        """Make one attempt at a call."""
        attempt = _Attempt(self.database, call)
        future = (self._writers if call.writes else self._readers).run(attempt)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            call.cancelled = True  # before the next lines, so that one of the two sides sees the other
            if call.commit_sent:
                await self._wait(future, COMMIT_SECONDS)
            elif attempt.begun:
                await self._wait(future, ROLLBACK_SECONDS, attempt.interrupt)
            raise

    async def stream(self, call: Call[Iterator[T]]) -> AsyncGenerator[T, None]:
        """See `Database.stream`; each step is run by a thread."""
        found, end, turn = steps(self.database.engine, call), object(), Lock()

        def step() -> object:
            with turn:
                return next(found, end)

        def close() -> None:
            with turn:  # a step that was cancelled ends first
                found.close()

        try:
            while (given := await asyncio.shield(self._readers.run(step))) is not end:
                yield given  # type: ignore[misc]  # not `end`, so a T
                del given  # the next one is made without this one in memory
        finally:
            await self._wait(self._readers.run(close), ROLLBACK_SECONDS)

    async def close(self) -> None:
        """Wait for what outlives its call, and let the threads end."""
        if self._left:
            await asyncio.wait(self._left, timeout=COMMIT_SECONDS)
        self._writers.stop()
        self._readers.stop()
        self.database.close()

    async def _wait(
        self, future: asyncio.Future[Any], seconds: float, interrupt: Callable[[], None] | None = None
    ) -> None:
        """Wait for the end of a call whose cancel is passed on; a further cancel does not shorten the wait."""
        self._left.add(future)
        future.add_done_callback(self._left.discard)
        future.add_done_callback(lambda done: done.exception())  # asyncio wants it looked at
        await ended(future, seconds, meanwhile=interrupt)


async def ended(step: asyncio.Future[Any], seconds: float, *, meanwhile: Callable[[], None] | None = None) -> None:
    """Wait for the end of what was cancelled; a further cancel does not shorten the wait.

    Where a cancel is a state and not a message, as with anyio, it is sent again at every turn of the loop.

    Args:
        step: What is to end.
        seconds: For how long at most.
        meanwhile: Is called again and again until then.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not step.done() and (remaining := deadline - loop.time()) > 0:
        if meanwhile is not None:
            meanwhile()
            remaining = min(remaining, INTERRUPT_SECONDS)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([step], timeout=remaining)


class _Attempt(Generic[T]):
    """One attempt at a call, which another thread may interrupt.

    Attributes:
        begun: Whether a thread runs it.
    """

    def __init__(self, database: Database, call: Call[T]) -> None:
        self._database = database
        self._call = call
        self._lock = Lock()
        self._driver: Any = None
        self.begun = False

    def __call__(self) -> T:
        self.begun = True
        if self._call.cancelled:
            raise CallCancelledError
        return self._call.attempt(self._database.engine, {}, begun=self._use)

    def interrupt(self) -> None:
        """Break off the statement that runs."""
        with self._lock:
            if self._driver is not None:
                self._driver.interrupt()

    def _use(self, driver: Any) -> None:
        with self._lock:
            self._driver = driver


class Threads:
    """Threads that run functions for callers that await, from any event loop.

    Args:
        count: How many threads.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._process = 0
        self._jobs: SimpleQueue[Any] = SimpleQueue()
        self._stop: Callable[[], object] = lambda: None

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function in one of the threads; called on an event loop, which gets the outcome."""
        if self._process != os.getpid():  # threads do not survive a fork
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((partial(contextvars.copy_context().run, function), loop, future))
        return future

    def stop(self) -> None:
        """Let the threads end when they have run what waits."""
        self._process = 0  # a later call starts new ones
        self._stop()

    def _start(self) -> None:
        self._process = os.getpid()
        self._jobs = SimpleQueue()
        for _ in range(self._count):
            Thread(target=_serve, args=(self._jobs,), name="sessionledger", daemon=True).start()
        self._stop = weakref.finalize(self, _end, self._jobs, self._count)


def _serve(jobs: SimpleQueue[Any]) -> None:
    """Run what comes, until the end comes."""
    while (job := jobs.get()) is not None:
        function, loop, future = job
        del job
        tell: Any
        outcome: Any
        try:
            tell, outcome = asyncio.Future.set_result, function()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            tell, outcome = asyncio.Future.set_exception, error
        del function
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, tell, future, outcome)
        del loop, future, outcome


def _settle(tell: Callable[[asyncio.Future[Any], Any], None], future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        tell(future, outcome)


def _end(jobs: SimpleQueue[Any], count: int) -> None:
    for _ in range(count):
        jobs.put(None)
