"""W1 to W5: single calls of the service against the floor, on a database that holds a lot already."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import real_databases
import sessionledger
from floor import BATCH, FLOORS, MODEL, PAGE, START, TEXT, USAGE, Floor
from interleaved import Goal, Part, Run

SHORT = 10
TASKS = 100
APPEND = {"sqlite": Goal(1.5), "postgresql": Goal(1.3)}
SAME, QUICK_SAME = (0.9, 1.1), (0.5, 1.8)
TWICE, QUICK_TWICE = (1.6, 2.4), (1.2, 4.0)


@dataclass(frozen=True)
class Sizes:
    """How much there is in the database, and how long it is measured.

    Attributes:
        sessions: How many sessions there are to list.
        lengths: How many messages the long sessions have.
        of_actor: How many of them each actor has.
        page: The number of the page that is far behind.
        rounds: How many rounds count.
        quick: Whether this is only to see that everything runs: then the controls are held to wide bounds, in CPU.
    """

    sessions: int
    of_actor: int
    lengths: tuple[int, ...]
    page: int
    rounds: int
    quick: bool = False


FULL = Sizes(sessions=100_000, of_actor=1_000, lengths=(1_000, 10_000, 100_000), page=1_000, rounds=100)
QUICK = Sizes(sessions=2_000, of_actor=100, lengths=(1_000,), page=20, rounds=3, quick=True)


class Calls:
    """A filled database, and the parts that are measured on it.

    Args:
        kind: The kind of database.
        sizes: How much there is in it.
        run: Runs a coroutine on the loop of the whole run.
        closing: Closes what is opened here.
    """

    def __init__(self, kind: str, sizes: Sizes, run: Run, closing: ExitStack) -> None:
        url = real_databases.url_of(kind)
        self.kind, self.sizes, self._run, self._closing = kind, sizes, run, closing
        self.floor: Floor = FLOORS[kind](url)
        closing.callback(self.floor.close)
        self.sessions = closing.enter_context(sessionledger.connect(url))
        self.awaiting = run(sessionledger.connect_async(url))
        closing.callback(lambda: run(self.awaiting.close()))
        # Ours and the floor's are alike; readers read ours.
        self.long = {length: sessionledger.new_id() for length in sizes.lengths}
        self.long_of_floor = {length: sessionledger.new_id() for length in sizes.lengths}
        self.floor.load(self._sessions(), self._messages())
        self.floor.settle()

    def parts(self, workloads: set[str]) -> Iterator[Part]:
        """What is measured of some workloads, and always the controls."""
        yield from self._controls()
        for workload, found in (
            ("W1", self._append_one),
            ("W2", self._append_batch),
            ("W3", self._read_last),
            ("W4", self._append_as_it_grows),
            ("W5", self._list),
        ):
            if workload in workloads:
                yield from found(functools.partial(Part, workload, self.kind))

    def _controls(self) -> Iterator[Part]:
        """The floor against itself; and against a side that is slowed, which the harness must see."""
        part = functools.partial(Part, "control", self.kind)
        floor, session_id, long = self.floor, self._new(), self.long[min(self.sizes.lengths)]
        quick = self.sizes.quick
        same, twice = (QUICK_SAME, QUICK_TWICE) if quick else (SAME, TWICE)
        for name, act in (
            ("append one", lambda: floor.append(session_id)),
            ("read the last 50", lambda: floor.read_last(long)),
        ):
            yield part(f"{name}, floor ÷ floor", act, act, times=10, control=same, by_cpu=quick)
            slowed = functools.partial(_twice, act)
            yield part(f"{name}, the floor done twice ÷ floor", slowed, act, times=10, control=twice, by_cpu=quick)

    def _append_one(self, part: Callable[..., Part]) -> Iterator[Part]:
        sessions, awaiting, floor = self.sessions, self.awaiting, self.floor
        ours, theirs, awaited = self._new(), self._new(), self._new()

        def append() -> object:
            return sessions.append_message(ours, "user", TEXT)

        def append_with_usage() -> object:
            return sessions.append_message(ours, "user", TEXT, usage=USAGE, model=MODEL)

        async def append_awaited() -> object:
            return await awaiting.append_message(awaited, "user", TEXT)

        def same(*_: object) -> None:
            assert floor.newest(ours) == floor.newest(theirs), "other rows"

        def same_usage(*_: object) -> None:
            same()
            assert floor.used(ours) == floor.used(theirs), "other usage"

        goal = APPEND[self.kind]
        yield part("append one", append, lambda: floor.append(theirs), goal, 10, same=same)
        yield part(
            "append one with usage",
            append_with_usage,
            lambda: floor.append_with_usage(theirs),
            times=10,
            same=same_usage,
        )
        yield part("append one, async", append_awaited, append, Goal(1.3), 10, against="ours, sync")
        yield from self._append_by_tasks(part)

    def _append_by_tasks(self, part: Callable[..., Part]) -> Iterator[Part]:
        """Throughputs: a hundred tasks on as many sessions, against one caller and against as many threads.

        On services of their own: else a crowd would leave fifteen connections to one caller at a time, who meets in
        each of them a server's process that has to parse and to plan what the others have prepared.
        """
        ids = [self._new() for _ in range(TASKS)]
        pool = self._closing.enter_context(ThreadPoolExecutor(TASKS))
        url = real_databases.url_of(self.kind)
        sessions = self._closing.enter_context(sessionledger.connect(url))
        awaiting = self._run(sessionledger.connect_async(url))
        self._closing.callback(lambda: self._run(awaiting.close()))

        def append(session_id: str) -> None:
            sessions.append_message(session_id, "user", TEXT)

        def one_caller() -> None:
            for session_id in ids:
                self.sessions.append_message(session_id, "user", TEXT)

        def threads() -> None:
            list(pool.map(append, ids))

        async def tasks() -> None:
            await asyncio.gather(*(awaiting.append_message(session_id, "user", TEXT) for session_id in ids))

        name = f"throughput of appends by {TASKS} tasks, async"
        yield part(name, tasks, one_caller, Goal(1, least=True), 1, against="ours, sync, one caller", rate=True)
        yield part(name, tasks, threads, None, 1, against=f"ours, sync, {TASKS} threads", rate=True)

    def _append_batch(self, part: Callable[..., Part]) -> Iterator[Part]:
        sessions, awaiting, floor = self.sessions, self.awaiting, self.floor
        ours, theirs = self._new(), self._new()

        def append() -> object:
            return sessions.append_messages(ours, BATCH)

        async def append_awaited() -> object:
            return await awaiting.append_messages(ours, BATCH)

        def same(*_: object) -> None:
            assert floor.newest(ours, len(BATCH)) == floor.newest(theirs, len(BATCH)), "other rows"

        name = "append a batch of 100"
        yield part(name, append, lambda: floor.append_batch(theirs), Goal(0.8), 2, same=same)
        yield part(f"{name}, async", append_awaited, append, times=2, against="ours, sync")

    def _read_last(self, part: Callable[..., Part]) -> Iterator[Part]:
        sessions, awaiting, floor = self.sessions, self.awaiting, self.floor
        for length, session_id in self.long.items():
            read = functools.partial(sessions.get_messages, session_id, last=PAGE)
            by_hand = functools.partial(floor.read_last, session_id)
            yield part(f"read the last 50 of {length:,}", read, by_hand, Goal(1.1), same=_same_messages, size=length)

        async def read_awaited() -> object:
            return await awaiting.get_messages(session_id, last=PAGE)

        yield part(f"read the last 50 of {length:,}, async", read_awaited, read, against="ours, sync")

    def _append_as_it_grows(self, part: Callable[..., Part]) -> Iterator[Part]:
        sessions, floor = self.sessions, self.floor
        short = [self._short(), self._short()]

        def renew() -> None:  # else it would be no short session after some rounds
            short[:] = self._short(), self._short()

        def append_short() -> object:
            return sessions.append_message(short[0], "user", TEXT)

        def floor_short() -> object:
            return floor.append(short[1])

        yield part(f"append one to a session of {SHORT}", append_short, floor_short, before=renew, size=SHORT)
        for length, session_id in self.long.items():
            append = functools.partial(sessions.append_message, session_id, "user", TEXT)
            by_hand = functools.partial(floor.append, self.long_of_floor[length])
            yield part(f"append one to a session of {length:,}", append, by_hand, size=length)
        name = f"append one to a session of {length:,}"
        yield part(name, append, append_short, Goal(1.1), against=f"ours, to one of {SHORT}", before=renew)
        yield part(f"{name}, floor", by_hand, floor_short, against=f"floor, to one of {SHORT}", before=renew)

    def _list(self, part: Callable[..., Part]) -> Iterator[Part]:
        sessions, floor, awaiting = self.sessions, self.floor, self.awaiting
        name = f"list 50 of {self.sizes.sessions:,}"
        cursor = None
        for _ in range(self.sizes.page - 1):
            page = sessions.list(limit=PAGE, cursor=cursor)
            cursor = page.next_cursor
        after = (page.sessions[-1].created_at, page.sessions[-1].session_id)

        def first() -> object:
            return sessions.list(limit=PAGE)

        async def first_awaited() -> object:
            return await awaiting.list(limit=PAGE)

        for which, ours, by_hand in (
            ("first page", first, floor.list),
            (f"page {self.sizes.page:,}", lambda: sessions.list(limit=PAGE, cursor=cursor), lambda: floor.list(after)),
            (
                "of an actor",
                lambda: sessions.list(actor_name="actor-7", limit=PAGE),
                lambda: floor.list(actor="actor-7"),
            ),
        ):
            yield part(f"{name}, {which}", ours, by_hand, Goal(1.3), same=_same_sessions)
        yield part(f"{name}, first page, async", first_awaited, first, against="ours, sync")

    def _new(self) -> str:
        return self.sessions.create(actor_name="writer").session_id

    def _short(self) -> str:
        session_id = sessionledger.new_id()
        self.floor.load(*rows_of(self.floor, session_id, SHORT))
        return session_id

    def _sessions(self) -> Iterator[tuple[Any, ...]]:
        for each in (self.long, self.long_of_floor):
            for length, session_id in each.items():
                yield session_row(session_id, length, START)
        actors = self.sizes.sessions // self.sizes.of_actor
        for at in range(self.sizes.sessions):
            made = START + timedelta(seconds=at)
            yield session_row(sessionledger.new_id(), 0, made, actor=f"actor-{at % actors}", metadata=f'{{"at":{at}}}')

    def _messages(self) -> Iterator[tuple[Any, ...]]:
        for each in (self.long, self.long_of_floor):
            for length, session_id in each.items():
                yield from message_rows(self.floor, session_id, length)


def session_row(
    session_id: str, length: int, made: datetime, *, actor: str = "reader", metadata: str = "{}"
) -> tuple[Any, ...]:
    """The row of a session for `Floor.load`."""
    return session_id, "default", actor, metadata, length, made, made, f"A session of {length}"


def message_rows(floor: Floor, session_id: str, length: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a session's messages for `Floor.load`."""
    for sequence in range(1, length + 1):
        row = floor.row(session_id)
        yield *row[:2], sequence, *row[2:]


def rows_of(floor: Floor, session_id: str, length: int) -> tuple[list[tuple[Any, ...]], Iterator[tuple[Any, ...]]]:
    """A whole session for `Floor.load`."""
    return [session_row(session_id, length, START)], message_rows(floor, session_id, length)


def _twice(act: Callable[[], object]) -> None:
    act()
    act()


def _same_messages(ours: Any, floor: list[tuple[Any, ...]]) -> None:
    """Hold that both have read the same messages."""
    read = [
        (each.message_id, each.session_id, each.sequence, each.role, each.content, each.metadata, each.created_at)
        for each in ours
    ]
    assert read == [(*row[:5], row[6], row[7]) for row in floor], "other messages"
    assert len(read) == PAGE, f"{len(read)} messages"


def _same_sessions(ours: Any, floor: list[tuple[Any, ...]]) -> None:
    """Hold that both have read the same sessions."""
    read = [
        (each.session_id, each.actor_name, each.metadata, each.last_sequence, each.created_at, each.updated_at)
        for each in ours
    ]
    assert read == [(row[0], row[2], row[3], row[4], row[7], row[8]) for row in floor], "other sessions"
    assert len(read) == PAGE, f"{len(read)} sessions"
