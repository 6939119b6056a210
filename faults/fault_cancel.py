"""Cancels at random moments around COMMIT: sending every message again with its id leaves each of them once."""

from __future__ import annotations

import asyncio
import contextvars
import random
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from sqlalchemy import event

import sessionledger
from appending import count, id_of, new_session
from cancelling import leaks_noted
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge
from sessionledger import AsyncSessionService, new_id
from sessionledger.application.services import AsyncPersistentSessionService
from sessionledger.infrastructure.database.aio import AsyncDatabase

WRITERS = 4
WARM = 20
AIMED = 0.75
MOST = 20
"""How many appends may be sent for one cancel around COMMIT: with more, none comes about."""


@dataclass
class Moment:
    """One append, and the moment at which it is cancelled.

    Attributes:
        task: The append.
        wait: How long after it began, or after its COMMIT began, it is cancelled.
        aimed: Whether counted from COMMIT.
        committing: Whether COMMIT is under way.
        around: Whether the cancel came while it was.
        began: When the append began.
        commit_began: When its COMMIT did.
    """

    wait: float
    aimed: bool
    task: asyncio.Task[Ack] | None = None
    committing: bool = False
    around: bool = False
    began: float = field(default_factory=time.monotonic)
    commit_began: float = field(default_factory=time.monotonic)

    def cancel(self) -> None:
        self.around = self.committing
        self.task.cancel()


APPENDED = re.compile(r"WITH\b.*\bINSERT INTO session_messages\b", re.DOTALL)
"""An append that commits by itself: its statement is its COMMIT."""

MOMENT: contextvars.ContextVar[Moment | None] = contextvars.ContextVar("moment", default=None)


class Cancelling:
    """Writers whose appends are cancelled."""

    def __init__(self, service: AsyncSessionService, session_id: str, seed: int) -> None:
        self._service = service
        self._session_id = session_id
        self._random = random.Random(seed)
        self.appends: list[float] = []
        self.commits: list[float] = []
        self.sent = 0
        self.cancelled: list[int] = []
        self.around = 0

    @contextmanager
    def aiming(self, engine: Any) -> Iterator[None]:
        """See every COMMIT, and every append that commits by itself, begin and end; in whatever thread it runs."""
        do_commit, loop = engine.dialect.do_commit, asyncio.get_running_loop()

        def begin() -> Moment:
            moment = MOMENT.get() or Moment(0, aimed=False)
            moment.committing, moment.commit_began = True, time.monotonic()
            if moment.aimed and moment.task is not None:
                loop.call_soon_threadsafe(loop.call_later, moment.wait, moment.cancel)
            return moment

        def end(moment: Moment) -> None:
            moment.committing = False
            self.commits.append(time.monotonic() - moment.commit_began)

        def commit(connection: Any) -> None:
            moment = begin()
            try:
                do_commit(connection)
            finally:
                end(moment)

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if APPENDED.match(statement):
                begin()

        def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if APPENDED.match(statement):
                end(MOMENT.get() or Moment(0, aimed=False))

        with mock.patch.object(engine.dialect, "do_commit", commit), listening(engine, before, after):
            yield

    async def warm_up(self) -> None:
        """Learn how long an append and its COMMIT take, on a session that is not judged."""
        session_id = (await self._service.create()).session_id
        for number in range(WARM):
            began = time.monotonic()
            await append(self._service, session_id, number, new_id())
            self.appends.append(time.monotonic() - began)

    async def write(self, cancels: int) -> None:
        """Append and cancel until so many appends were cancelled while their COMMIT was under way."""
        while self.around < cancels and self.sent < MOST * cancels:
            number = self.sent
            self.sent += 1
            moment = self._next()
            MOMENT.set(moment)
            moment.task = asyncio.create_task(append(self._service, self._session_id, number, id_of(number, 0)))
            if not moment.aimed:
                asyncio.get_running_loop().call_later(moment.wait, moment.cancel)
            try:
                await moment.task
            except asyncio.CancelledError:
                self.cancelled.append(number)
                self.around += moment.around
            else:
                self.appends.append(time.monotonic() - moment.began)

    def _next(self) -> Moment:
        """Most moments are in or just after a COMMIT, the others anywhere in an append."""
        aimed = self._random.random() < AIMED
        known = self.commits if aimed else self.appends
        return Moment(self._random.random() * 1.2 * statistics.median(known[-WARM:]), aimed)


@contextmanager
def listening(engine: Any, before: Any, after: Any) -> Iterator[None]:
    """Let these hear of every statement, before and after it."""
    listeners = {"before_cursor_execute": before, "after_cursor_execute": after}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


async def append(service: AsyncSessionService, session_id: str, number: int, message_id: str) -> Ack:
    """Append a message; each is of a writer of its own, for they are sent again in another order."""
    message = await service.append_message(session_id, "user", content_of(number, 0), message_id=message_id)
    return Ack(number, 0, message.sequence)


async def cancel_many(url: str, session_id: str, cancels: int, found: Found) -> Cancelling:
    """Let writers append at once, until so many of their COMMITs were cancelled."""
    database = AsyncDatabase(url)
    engine = database.sync_engine
    opened: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    service = AsyncPersistentSessionService(database)
    writers = Cancelling(service, session_id, seed=4711)
    with leaks_noted() as leaks, writers.aiming(engine):
        await writers.warm_up()
        await asyncio.gather(*(writers.write(cancels) for _ in range(WRITERS)))
        with suppress(TimeoutError):
            async with asyncio.timeout(15):  # SQLite may still wait for a lock
                while engine.pool.checkedout():  # noqa: ASYNC110 - the pool has no event for it
                    await asyncio.sleep(0.01)
        checked_out = engine.pool.checkedout()
        await database.close()
    found |= {"cancelled": len(writers.cancelled), "around_commit": writers.around}
    found |= {"connections": len(opened), "leaked": checked_out + len(leaks)}
    assert found["leaked"] == 0, f"{checked_out} connections did not go back; {leaks}"
    assert writers.around >= cancels, "too few cancels were around COMMIT: this proves nothing"
    return writers


async def send(url: str, session_id: str, ids: dict[int, str]) -> list[Ack]:
    """Append messages under these ids; give what was told."""
    async with await sessionledger.connect_async(url) as service:
        return [await append(service, session_id, number, message_id) for number, message_id in ids.items()]


def cancel(kind: Kind, found: Found, cancels: int) -> tuple[str, str, Cancelling]:
    """Cancel appends, and count how many of the cancelled ones were stored."""
    url = kind.fresh()
    session_id = new_session(url)
    writers = asyncio.run(cancel_many(url, session_id, cancels, found))
    found["of_them_stored"] = count(kind, url, session_id, [id_of(number, 0) for number in writers.cancelled])
    return url, session_id, writers


@fault("cancel around COMMIT", short={"cancels": 40}, full={"cancels": 2_000})
def cancel_around_commit(kind: Kind, found: Found, *, cancels: int) -> None:
    url, session_id, writers = cancel(kind, found, cancels)
    acks = asyncio.run(send(url, session_id, {number: id_of(number, 0) for number in range(writers.sent)}))
    found |= judge(kind, url, session_id, acks)
    expect_nothing_wrong(found)
    assert count(kind, url, session_id) == writers.sent, "not every message is stored"


@control("cancelled messages sent again under new ids", short={"cancels": 40}, full={"cancels": 2_000})
def cancel_around_commit_naive(kind: Kind, found: Found, *, cancels: int) -> None:
    url, session_id, writers = cancel(kind, found, cancels)
    acks = asyncio.run(send(url, session_id, {number: new_id() for number in writers.cancelled}))
    found |= judge(kind, url, session_id, acks)
    assert found["doubled"] == found["of_them_stored"] > 0, "sending under new ids has not doubled what was stored"
