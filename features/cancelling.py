"""Cancels at a chosen moment: of a statement, of COMMIT or of ROLLBACK; and what is left of a connection after them.

A call's work may run on the caller's event loop or in a thread; whatever stops it here waits in the one or the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

from sqlalchemy import Engine, event
from sqlalchemy.util import await_only

TURNS = 20


async def turns(count: int = TURNS) -> None:
    """Let everything else on the loop have so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


class Loop:
    """The event loop that runs now, for work that runs on it or in a thread."""

    def __init__(self) -> None:
        self._loop, self._thread = asyncio.get_running_loop(), threading.current_thread()

    def runs(self) -> bool:
        """Whether the work runs on the loop itself."""
        return threading.current_thread() is self._thread

    def wait(self, awaited: Coroutine[Any, Any, None]) -> None:
        """Let the work wait for something on the loop."""
        if self.runs():
            await_only(awaited)
        else:
            asyncio.run_coroutine_threadsafe(awaited, self._loop).result()


class Gate:
    """A place in a call where it waits until it is let through; made on the loop of the call."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self._loop = Loop()

    def pass_through(self) -> None:
        async def wait() -> None:
            self.reached.set()
            await self.opened.wait()

        self._loop.wait(wait())


@contextlib.contextmanager
def at(engine: Engine, what: str, does: Callable[[Callable[[Any], None], Any], None]) -> Iterator[None]:
    """Put something around COMMIT or ROLLBACK: `does(do, connection)`."""
    dialect = engine.dialect
    do = getattr(dialect, what)
    with mock.patch.object(dialect, what, lambda connection: does(do, connection)):
        yield


@contextlib.contextmanager
def held(
    engine: Engine, *, done: bool = False, fault: Exception | None = None, what: str = "do_commit"
) -> Iterator[Gate]:
    """Hold COMMIT, before or after the database has done it, or instead of it."""
    gate = Gate()

    def hold(do: Callable[[Any], None], connection: Any) -> None:
        if done:
            do(connection)
        gate.pass_through()
        if fault is not None:
            raise fault
        if not done:
            do(connection)

    with at(engine, what, hold):
        yield gate


@contextlib.contextmanager
def held_at(engine: Engine, number: int) -> Iterator[Gate]:
    """Hold the so-many-th statement before it begins."""
    gate = Gate()
    begun: list[None] = []

    def hold(*_: Any) -> None:
        begun.append(None)
        if len(begun) == number:
            gate.pass_through()

    event.listen(engine, "before_cursor_execute", hold)
    try:
        yield gate
    finally:
        event.remove(engine, "before_cursor_execute", hold)


async def cancelled_at(
    engine: Engine, number: int, call: Coroutine[Any, Any, Any], what: str = "before_cursor_execute"
) -> tuple[Any, int]:
    """Make a call and cancel it when its so-many-th statement begins; give its outcome, and how many have begun."""
    begun: list[None] = []
    loop = Loop()

    async def passed_on() -> None:
        task.cancel()
        await turns()

    def cancel(*_: Any) -> None:
        begun.append(None)
        if len(begun) != number:
            return
        if loop.runs():
            task.cancel()  # which comes out where the work next awaits
        else:
            loop.wait(passed_on())

    task = asyncio.create_task(call)
    event.listen(engine, what, cancel)
    try:
        return await outcome(task), len(begun)
    finally:
        event.remove(engine, what, cancel)


async def outcome(task: asyncio.Future[Any]) -> Any:
    """What a task gives or raises; a cancel of it is an outcome as well."""
    [result] = await asyncio.gather(task, return_exceptions=True)
    return result


@contextlib.contextmanager
def leaks_noted() -> Iterator[list[str]]:
    """Note what SQLAlchemy says of connections that it finds in the garbage."""
    leaks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield leaks
        finally:
            gc.collect()
            leaks += [str(warning.message) for warning in caught if "garbage" in str(warning.message)]
