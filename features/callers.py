"""Callers of a service that commits in groups: each in a thread or a task, and what each was told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Engine, event

SECONDS = 30
"""A guard: what takes so long hangs."""


class Callers:
    """Callers that share a service, each of which comes when the one before it commits or waits.

    Args:
        world: The scenario's world.
        service: The service, which commits in groups; as it is, not seen as something that blocks.
    """

    def __init__(self, world: Any, service: Any) -> None:
        self.service = service
        self.calls: list[Any] = []
        self._world = world
        self._start = self._task if world.mode == "async" else _in_thread

    def _task(self, call: Callable[[], Any]) -> Any:
        async def start() -> Any:
            return asyncio.create_task(call())

        return self._world.run(start())

    def call(self, name: str, *arguments: Any, in_group: bool = True, **named: Any) -> None:
        """Let the next caller call; go on when it commits, waits or has its answer."""
        before = self.there() if in_group else 0
        call = self._start(lambda: getattr(self.service, name)(*arguments, **named))
        self.calls.append(call)
        if in_group:
            self.until(lambda: call.done() or self._there() > before)

    async def until_waiting(self, count: int) -> None:
        """Wait until so many appends wait on the event loop that runs."""
        while self._waiting() < count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    def waiting(self) -> int:
        """How many appends wait in the queue."""
        return self._seen(self._waiting)

    def there(self) -> int:
        """How many appends wait, and how many groups are being committed."""
        return self._seen(self._there)

    def _waiting(self) -> int:
        return sum(map(len, self._queue().values()))

    def _there(self) -> int:
        return self._waiting() + len(self._queue())

    def _queue(self) -> dict[Any, list[Any]]:
        return dict(self.service._group_commit._queue._waiting)  # noqa: SLF001 - nothing else tells who waits

    def _seen(self, look: Callable[[], int]) -> int:
        async def awaited() -> int:
            return look()

        found: int = self._world.run(awaited()) if self._world.mode == "async" else look()
        return found

    def until(self, seen: Callable[[], Any]) -> None:
        """Wait until something is seen; on the event loop, which goes on meanwhile."""
        deadline = time.monotonic() + SECONDS

        async def awaited() -> None:
            while not seen():
                assert time.monotonic() < deadline, "it has not come"
                await asyncio.sleep(0.001)

        if self._world.mode == "async":
            self._world.run(awaited())
            return
        while not seen():
            assert time.monotonic() < deadline, "it has not come"
            time.sleep(0.001)

    def outcomes(self) -> list[Any]:
        """What each caller was given, or what was raised."""
        self.until(lambda: all(call.done() for call in self.calls))
        return [_outcome(call) for call in self.calls]


def _in_thread(call: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the scenario judges it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # one that hangs does not hang the run
    return future


def _outcome(call: Any) -> Any:
    if call.cancelled():
        return asyncio.CancelledError()
    return call.exception() or call.result()


@contextlib.contextmanager
def commits_counted(kind: Any) -> Iterator[list[str]]:
    """Count the commits of transactions, and the statements that commit by themselves."""
    commits: list[str] = []

    def committed(_connection: Any) -> None:
        commits.append("COMMIT")

    def begun(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if kind.commits_alone(connection, statement):
            commits.append(statement)

    event.listen(Engine, "commit", committed)
    event.listen(Engine, "before_cursor_execute", begun)
    try:
        yield commits
    finally:
        event.remove(Engine, "commit", committed)
        event.remove(Engine, "before_cursor_execute", begun)
