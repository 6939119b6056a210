"""Cancels at a chosen moment: of a statement, of COMMIT or of ROLLBACK; and what is left of a connection after them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
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


class Gate:
    """A place in a call where it waits until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def pass_through(self) -> None:
        async def wait() -> None:
            self.reached.set()
            await self.opened.wait()

        await_only(wait())


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


async def cancelled_at(
    engine: Engine, number: int, call: Coroutine[Any, Any, Any], what: str = "before_cursor_execute"
) -> tuple[Any, int]:
    """Make a call and cancel it when its so-many-th statement begins; give its outcome, and how many have begun."""
    begun: list[None] = []

    def cancel(*_: Any) -> None:
        begun.append(None)
        if len(begun) == number:
            task.cancel()

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
