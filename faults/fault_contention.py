"""Writers in each other's way: serialization failures, deadlocks, and sessions of the server that are ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from sqlalchemy import event, make_url

import sessionledger
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge

MODES = ("sync", "async")
WRITERS = 8
SERIALIZATION, DEADLOCK = "40001", "40P01"
SEED = 4711
SECONDS = 500
"""Within which there must have been enough of a disturbance: one that no longer comes about is an error, not a hang."""


class Load:
    """Writers that append to one session until they are told to stop, and what came of it.

    Attributes:
        session_id: The session.
        acks: What was acknowledged.
        seen: What callers saw, by type.
        at_driver: What the driver raised, by SQLSTATE; `None` where it gave none.
        ended: How many connections were ended by the disturbance.
        stopped: Set when the writers shall stop.
    """

    def __init__(self, url: str, *, careless: bool = False) -> None:
        self.acks: list[Ack] = []
        self.seen: Counter[str] = Counter()
        self.at_driver: Counter[str | None] = Counter()
        self.ended = 0
        self.stopped = threading.Event()
        self._careless = careless
        self._deadline = time.monotonic() + SECONDS
        with sessionledger.connect(url) as sessions:
            self.session_id = sessions.create().session_id

    def watch(self, engine: Any) -> None:
        """Count what the driver raises."""

        @event.listens_for(engine, "handle_error")
        def count(context: Any) -> None:
            self.at_driver[getattr(context.original_exception, "sqlstate", None)] += 1

    def attempts(self, writer: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """What a writer sends: the same message again until it is acknowledged, then the next."""
        for number in itertools.count():
            message = {"role": "user", "content": content_of(writer, number), "message_id": sessionledger.new_id()}
            acknowledged = len(self.acks)
            while not any(ack[:2] == (writer, number) for ack in self.acks[acknowledged:]):
                if self.stopped.is_set():
                    return
                yield number, message

    @contextlib.contextmanager
    def sent(self, writer: int, number: int) -> Iterator[Callable[[int], None]]:
        """What is to be told the sequence that an append gave; an error of the contract is counted."""
        try:
            yield lambda sequence: self.acks.append(Ack(writer, number, sequence))
        except sessionledger.StorageError as error:
            self.seen[type(error).__name__] += 1
            if self._careless:  # it takes an append that failed for one that did not
                self.acks.append(Ack(writer, number, 0))
        except BaseException:
            self.stopped.set()
            raise

    def write(self, service: Any, writer: int) -> None:
        """Append, for callers that block."""
        for number, message in self.attempts(writer):
            with self.sent(writer, number) as told:
                told(service.append_message(self.session_id, **message).sequence)

    async def write_async(self, service: Any, writer: int) -> None:
        """Append, for callers that await."""
        for number, message in self.attempts(writer):
            with self.sent(writer, number) as told:
                told((await service.append_message(self.session_id, **message)).sequence)

    def short_of(self, enough: Callable[[], bool], wait: float) -> bool:
        """Whether the writers go on and there is not enough of something; if so, that is told after a while."""
        if enough() or self.stopped.wait(wait):
            return False
        assert time.monotonic() < self._deadline, f"not enough in {SECONDS} s"
        return True


def under_load(url: str, mode: str, load: Load, disturb: Callable[[Load], None], **options: Any) -> None:
    """Let writers append, from threads or from tasks, while a thread disturbs them; return when it has done."""
    options = {"pool_size": WRITERS, "max_overflow": 0, **options}

    def disturbing() -> None:
        try:
            disturb(load)
        finally:
            load.stopped.set()

    def block() -> None:
        with sessionledger.connect(url, **options) as sessions, ThreadPoolExecutor(WRITERS + 1) as threads:
            load.watch(sessions._database.engine)
            jobs = [threads.submit(load.write, sessions, writer) for writer in range(WRITERS)]
            for job in (threads.submit(disturbing), *jobs):
                job.result()

    async def run() -> None:
        async with await sessionledger.connect_async(url, **options) as sessions:
            load.watch(sessions._database.sync_engine)
            tasks = [load.write_async(sessions, writer) for writer in range(WRITERS)]
            await asyncio.gather(asyncio.to_thread(disturbing), *tasks)

    block() if mode == "sync" else asyncio.run(run())


def add(found: Found, load: Load, counts: dict[str, int]) -> None:
    """Add what came of a load to what was found."""
    for name, value in (counts | {"acknowledged": len(load.acks), "seen by callers": load.seen.total()}).items():
        found[name] = found.get(name, 0) + value


# Serialization failures and deadlocks


def serializing(url: str) -> str:
    """The URL of a database whose server makes each transaction SERIALIZABLE and looks for deadlocks at once."""
    options = "-c default_transaction_isolation=serializable -c deadlock_timeout=1ms"
    return make_url(url).update_query_dict({"options": options}).render_as_string(hide_password=False)


def cross(url: str, load: Load, induced: int) -> None:
    """Take the locks of an append in the opposite order until there were enough deadlocks, then let the writers be.

    An append, which is one statement, holds its tables and then needs its session's row; the rival holds the row and
    then needs the table of messages for itself. Ours look for a deadlock after a millisecond and the rival after a
    second, so that ours are the victims.
    The writers themselves see to the serialization failures: each row is changed by all of them.
    """
    with psycopg.connect(url, autocommit=True) as rival:
        while load.short_of(lambda: load.at_driver[DEADLOCK] >= induced, wait=0):
            with contextlib.suppress(psycopg.errors.DeadlockDetected), rival.transaction():
                rival.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [load.session_id])
                rival.execute("LOCK TABLE session_messages IN EXCLUSIVE MODE")
    while load.short_of(lambda: load.at_driver[SERIALIZATION] >= induced, wait=0.01):
        pass


def run_crossed(kind: Kind, found: Found, induced: int, **options: Any) -> None:
    """Induce so many of each, half of them on threads and half on tasks."""
    for mode in MODES:
        url = kind.fresh()
        load = Load(url)
        under_load(serializing(url), mode, load, lambda load, url=url: cross(url, load, induced // 2), **options)
        codes = {str(code): count for code, count in load.at_driver.items()}
        add(found, load, codes | judge(kind, url, load.session_id, load.acks))
    assert min(found[SERIALIZATION], found[DEADLOCK]) >= induced, "not enough was induced"
    expect_nothing_wrong(found)


@fault(
    "serialization failures and deadlocks, so many of each",
    short={"induced": 20},
    full={"induced": 500},
    databases=("postgresql",),
)
def contention_of_locks(kind: Kind, found: Found, *, induced: int) -> None:
    run_crossed(kind, found, induced)
    assert found["seen by callers"] == 0, "callers saw them"


@control(
    "serialization failures and deadlocks without a retry",
    short={"induced": 20},
    full={"induced": 500},
    databases=("postgresql",),
)
def contention_of_locks_without_retry(kind: Kind, found: Found, *, induced: int) -> None:
    run_crossed(kind, found, induced, retry_seconds=0)
    assert found["seen by callers"] == found[SERIALIZATION] + found[DEADLOCK], "callers did not see all of them"


# Sessions of the server that are ended

END_ONE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1
    """


def end_some(url: str, load: Load, endings: int) -> None:
    """Let the server end one of the writers' sessions, whatever it is doing, after a time as random as the choice."""
    chance = random.Random(SEED)
    with psycopg.connect(url, autocommit=True) as administrator:
        while load.short_of(lambda: load.ended >= endings, chance.uniform(0, 0.1)):
            row = administrator.execute(END_ONE).fetchone()
            load.ended += row == (True,)


def run_ended(kind: Kind, found: Found, endings: int, *, careless: bool = False, **options: Any) -> None:
    """End so many sessions of the server, half of them under threads and half under tasks."""
    for mode in MODES:
        url = kind.fresh()
        load = Load(url, careless=careless)
        under_load(url, mode, load, lambda load, url=url: end_some(url, load, endings // 2), **options)
        met = {"ended": load.ended, "met by a statement": load.at_driver.total()}
        add(found, load, met | judge(kind, url, load.session_id, load.acks))
    assert found["met by a statement"], "no writer met an ended session"


@fault(
    "sessions of the server ended at random moments (pg_terminate_backend)",
    short={"endings": 20},
    full={"endings": 300},
    databases=("postgresql",),
)
def contention_ended_sessions(kind: Kind, found: Found, *, endings: int) -> None:
    run_ended(kind, found, endings)
    expect_nothing_wrong(found)
    assert found["seen by callers"] == 0, "callers saw them"


@control(
    "sessions of the server ended: a client that takes what failed for done",
    short={"endings": 20},
    full={"endings": 300},
    databases=("postgresql",),
)
def contention_ended_sessions_careless(kind: Kind, found: Found, *, endings: int) -> None:
    run_ended(kind, found, endings, careless=True, retry_seconds=0)
    assert found["lost"], "nothing was lost"
