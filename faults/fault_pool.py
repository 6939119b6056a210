"""A pool that others use up: a typed error in time, after one try, and no connection lost.

In time means: the median within the time-out and a tenth of it, and no call later than that by more than what the
scheduler takes: a tenth of a second, or what bare waits in the same interpreter are late meanwhile, if that is more. A
second try would be later by a whole time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import sqlalchemy

import sessionledger
from harness import Found, Kind, control, fault
from sessionledger.infrastructure.database import dialects

CALLERS = 64
BARE = CALLERS
POOL = 5
SECONDS = 0.25
FLOOR = 0.1
SEED = 4711


class NoFile:
    """A file that nothing is written to."""

    def write(self, _: bytes) -> int:
        raise AssertionError("an export began without a connection")


# One call of each kind: what writes, what reads, what streams.
CALLS: tuple[Callable[[Any, str], Any], ...] = (
    lambda sessions, session_id: sessions.append_message(session_id, "user", "On its way."),
    lambda sessions, session_id: sessions.get_messages(session_id, last=1),
    lambda sessions, session_id: sessions.update_token_usage(session_id, input_tokens=1),
    lambda sessions, session_id: sessions.get(session_id),
    lambda sessions, _: sessions.list(),
    lambda sessions, session_id: sessions.update(session_id, title="Parcel"),
    lambda sessions, session_id: sessions.export_session(session_id, NoFile()),
    lambda sessions, _: sessions.get_or_create("ticket/4711"),
    lambda sessions, _: sessions.export_sessions(NoFile()),
    lambda sessions, _: sessions.sum_token_usage(),
)


class Calls:
    """Calls of many callers on a pool without a free connection, and what came of them.

    Attributes:
        refused: How long each call took that was refused with the error of the contract, in seconds.
        bare: How long each bare wait of the same length took.
        wrong: What else came of a call.
    """

    def __init__(self, session_id: str, count: int) -> None:
        self.session_id = session_id
        self.refused: list[float] = []
        self.bare: list[float] = []
        self.wrong: Counter[str] = Counter()
        self._left = iter(range(count))
        self._lock = threading.Lock()
        self.done = threading.Event()

    def calls(self, caller: int) -> Iterator[Callable[[Any], Any]]:
        """A caller's calls, of all kinds in turn, until so many have been made by all of them."""
        for turn in itertools.count(caller):
            with self._lock:
                if next(self._left, None) is None:
                    self.done.set()
                    return
            yield lambda sessions, turn=turn: CALLS[turn % len(CALLS)](sessions, self.session_id)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Around one call: it has to be refused."""
        began = time.perf_counter()
        try:
            yield
            self.wrong["it was answered"] += 1
        except sessionledger.StorageUnavailableError as error:
            self.refused.append(time.perf_counter() - began)
            self.wrong["it says that trying again helps"] += error.retryable
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is wrong
            self.wrong[repr(error)] += 1

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around one bare wait."""
        began = time.perf_counter()
        yield
        self.bare.append(time.perf_counter() - began)

    def counted(self) -> Found:
        """What is printed; `late` are those refused later than they may be."""
        latest = SECONDS * 1.1 + max(FLOOR, max(self.bare) - SECONDS)
        return {
            "refused": len(self.refused),
            "late": sum(took > latest for took in self.refused),
            "later than a tenth": sum(took > SECONDS * 1.1 for took in self.refused),
            "time-out ms": round(SECONDS * 1000),
            "median ms": round(statistics.median(self.refused) * 1000),
            "slowest ms": round(max(self.refused) * 1000),
            "slowest bare wait ms": round(max(self.bare) * 1000),
            "wrong": dict(+self.wrong),
        }


def offset(caller: int) -> float:
    """Callers arrive one after the other: with all at one moment, each would wait for the others' turn to run."""
    return SECONDS * (caller % CALLERS) / CALLERS


# Callers that block


@contextlib.contextmanager
def held(sessions: Any) -> Iterator[None]:
    """All connections of the pool, in use by somebody else; each of them works."""
    with contextlib.ExitStack() as stack:
        for _ in range(POOL):
            stack.enter_context(sessions._database.engine.connect()).exec_driver_sql("SELECT 1")
        yield


def call(sessions: Any, calls: Calls, caller: int) -> None:
    """Call again and again; the callers beyond `CALLERS` wait barely."""
    time.sleep(offset(caller))
    while caller >= CALLERS and not calls.done.is_set():
        with calls.waiting():
            time.sleep(SECONDS)
    for each in calls.calls(caller):
        with calls.refusing():
            each(sessions)


def refused(sessions: Any, count: int) -> Calls:
    """Make so many calls while others hold the pool."""
    calls = Calls(sessions.create().session_id, count)
    with held(sessions), ThreadPoolExecutor(CALLERS + BARE) as threads:
        list(threads.map(lambda caller: call(sessions, calls, caller), range(CALLERS + BARE)))
    return calls


def come_and_go(sessions: Any, session_id: str, count: int) -> int:
    """Let callers and others take connections and give them back at random moments; how many calls were refused."""
    chance = random.Random(SEED)
    waits = [chance.uniform(0, SECONDS / 2) for _ in range(CALLERS)]

    def one(turn: int) -> int:
        try:
            if turn % 2:
                with sessions._database.engine.connect():
                    time.sleep(waits[turn % CALLERS])
            else:
                sessions.append_message(session_id, "user", "On its way.")
        except (sessionledger.StorageUnavailableError, sqlalchemy.exc.TimeoutError):
            return 1
        return 0

    with ThreadPoolExecutor(CALLERS) as threads:
        return sum(threads.map(one, range(count)))


def run(url: str, count: int) -> Found:
    """Use the pool up under callers that block."""
    with sessionledger.connect(url, pool_size=POOL, max_overflow=0, pool_timeout=SECONDS) as sessions:
        calls = refused(sessions, count)
        others = come_and_go(sessions, calls.session_id, count // 8)
        leaked = sessions._database.engine.pool.checkedout()
        with held(sessions):  # as many as before can be had
            pass
        sessions.append_message(calls.session_id, "user", "On its way.")
    return calls.counted() | {"refused while others come and go": others, "leaked": leaked}


# Callers that await


@contextlib.asynccontextmanager
async def connected_async(sessions: Any) -> AsyncIterator[None]:
    """A connection of the pool that calls take theirs from, which is a blocking one where threads serve them."""
    engine = sessions._database.sync_engine
    if engine.dialect.is_async:
        async with sessions._database.engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")
            yield
        return
    connection = await asyncio.to_thread(engine.connect)
    try:
        yield
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def held_async(sessions: Any) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(POOL):
            await stack.enter_async_context(connected_async(sessions))
        yield


async def call_async(sessions: Any, calls: Calls, caller: int) -> None:
    await asyncio.sleep(offset(caller))
    while caller >= CALLERS and not calls.done.is_set():
        with calls.waiting():
            await asyncio.sleep(SECONDS)
    for each in calls.calls(caller):
        with calls.refusing():
            await each(sessions)


async def come_and_go_async(sessions: Any, session_id: str, count: int) -> int:
    chance = random.Random(SEED)
    callers = asyncio.Semaphore(CALLERS)

    async def one(turn: int) -> int:
        wait = chance.uniform(0, SECONDS / 2)
        async with callers:
            try:
                if turn % 2:
                    async with connected_async(sessions):
                        await asyncio.sleep(wait)
                else:
                    await sessions.append_message(session_id, "user", "On its way.")
            except (sessionledger.StorageUnavailableError, sqlalchemy.exc.TimeoutError):
                return 1
            return 0

    return sum(await asyncio.gather(*map(one, range(count))))


async def run_async(url: str, count: int) -> Found:
    """Use the pool up under callers that await."""
    options = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": SECONDS}
    async with await sessionledger.connect_async(url, **options) as sessions:
        calls = Calls((await sessions.create()).session_id, count)
        async with held_async(sessions):
            await asyncio.gather(*(call_async(sessions, calls, caller) for caller in range(CALLERS + BARE)))
        others = await come_and_go_async(sessions, calls.session_id, count // 8)
        leaked = sessions._database.sync_engine.pool.checkedout()
        async with held_async(sessions):
            pass
        await sessions.append_message(calls.session_id, "user", "On its way.")
    return calls.counted() | {"refused while others come and go": others, "leaked": leaked}


def expect_refusals(found: Found, count: int) -> None:
    """Hold what is promised of a pool that is used up."""
    assert not found["wrong"], f"wrong: {found['wrong']}"
    assert found["refused"] == count, "not every call was refused"
    assert found["leaked"] == 0, "connections were not given back"
    assert found["median ms"] <= SECONDS * 1100, "half of them were refused too late"
    assert found["late"] == 0, "some were refused too late"


@fault("64 threads on a pool of 5 that others hold", short={"calls": 256}, full={"calls": 10_000}, alone=True)
def pool_used_up(kind: Kind, found: Found, *, calls: int) -> None:
    found |= run(kind.fresh(), calls)
    expect_refusals(found, calls)


@fault(
    "64 tasks on a pool of 5 that others hold",
    short={"calls": 256},
    full={"calls": 10_000},
    alone=True,
    databases=("postgresql",),  # a file is served by threads, each of which waits for one connection at a time
)
def pool_used_up_async(kind: Kind, found: Found, *, calls: int) -> None:
    found |= asyncio.run(run_async(kind.fresh(), calls))
    expect_refusals(found, calls)


@control("a pool that others hold: a client that tries again", short={"calls": 64}, full={"calls": 128}, alone=True)
def pool_used_up_tried_again(kind: Kind, found: Found, *, calls: int) -> None:
    translated = dialects.translated

    def try_again(*arguments: Any, **named: Any) -> Any:
        failure = translated(*arguments, **named)
        failure.retryable = True
        return failure

    options = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": SECONDS, "retry_seconds": 2 * SECONDS}
    with (
        mock.patch.object(dialects, "translated", try_again),
        sessionledger.connect(kind.fresh(), **options) as sessions,
    ):
        found |= refused(sessions, calls).counted()
    assert found["late"], "all were in time"


@control("a pool that others hold: a client that keeps its connection", short={"calls": 64}, full={"calls": 64})
def pool_used_up_leaking(kind: Kind, found: Found, *, calls: int) -> None:
    kept = []

    def keep(sessions: Any, *_: Any) -> int:
        kept.append(sessions._database.engine.connect())
        return 0

    with mock.patch(f"{__name__}.come_and_go", keep), contextlib.suppress(sqlalchemy.exc.TimeoutError):
        run(kind.fresh(), calls)
        raise AssertionError("the connection that was kept is not missed")
    found["kept"] = len(kept)
    kept[0].close()
