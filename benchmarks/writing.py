"""What the writers of W6 do, in processes of their own; `writers.py` starts them and counts what they leave behind."""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

import sessionledger
from floor import FLOORS, TEXT, PostgreSQLFloor

Append = Callable[[str, str], int]
"""Appends a text to a session, and returns its sequence."""


@dataclass(frozen=True)
class Writer:
    """One writer: its number, and the session it writes to."""

    number: int
    session_id: str


@dataclass
class Written:
    """What a writer did.

    Attributes:
        writer: Who it was.
        waits: How long each append took, in seconds.
        sequences: By number of the append: the sequence that was acknowledged, or 0.
        in_time: How many were acknowledged before the time was up.
        errors: How many appends failed, by the error's type.
    """

    writer: Writer
    waits: array[float] = field(default_factory=lambda: array("d"))
    sequences: array[int] = field(default_factory=lambda: array("q"))
    in_time: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, began: float, until: float, sequence: int) -> None:
        """Note an append that ends now."""
        ended = time.perf_counter()
        self.waits.append(ended - began)
        self.sequences.append(sequence)
        self.in_time += bool(sequence) and ended <= until

    def text(self) -> str:
        """The next message's text: the mark of the append, and about a kilobyte."""
        return f"{mark(self.writer, len(self.sequences))} {TEXT}"


MARK = 14
"""How long a mark is."""


def mark(writer: Writer, number: int) -> str:
    """What tells an append from every other one of its run."""
    return f"{writer.number:05}-{number:08}"


def blocking(side: str, kind: str, url: str, options: dict[str, Any], closing: ExitStack) -> Callable[[], Append]:
    """Gives each thread its append: ours share a service, the floor's have a connection each."""
    if side == "floor":

        def connect() -> Append:
            floor = FLOORS[kind](url)
            closing.callback(floor.close)
            return floor.append

        return connect
    sessions = closing.enter_context(sessionledger.connect(url, **options))

    def append(session_id: str, text: str) -> int:
        return sessions.append_message(session_id, "user", text).sequence

    return lambda: append


def write(append: Append, writer: Writer, ready: Callable[[], object], seconds: float) -> Written:
    """Append until the time is up, and do not wait between two appends."""
    written = Written(writer)
    append(writer.session_id, "the first one warms up")
    ready()
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        try:
            sequence = append(writer.session_id, written.text())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            written.errors[type(error).__name__] += 1
            sequence = 0
        written.add(began, until, sequence)
    return written


async def write_awaiting(
    append: Callable[[str, str], Awaitable[int]], writer: Writer, ready: Callable[[], Awaitable[object]], seconds: float
) -> Written:
    """As `write`, in a task."""
    written = Written(writer)
    await append(writer.session_id, "the first one warms up")
    await ready()
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        try:
            sequence = await append(writer.session_id, written.text())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            written.errors[type(error).__name__] += 1
            sequence = 0
        written.add(began, until, sequence)
    return written


def by_threads(
    side: str, kind: str, url: str, options: dict[str, Any], writers: Sequence[Writer], seconds: float
) -> list[Written]:
    """Threads of one process."""
    barrier = threading.Barrier(len(writers), timeout=60)
    with ExitStack() as closing, ThreadPoolExecutor(len(writers)) as pool:
        connect = blocking(side, kind, url, options, closing)
        works = [pool.submit(write, connect(), writer, barrier.wait, seconds) for writer in writers]
        return [work.result() for work in works]


def by_tasks(
    side: str, kind: str, url: str, options: dict[str, Any], writers: Sequence[Writer], seconds: float
) -> list[Written]:
    """Tasks of one process; the floor's are threads where its driver has no tasks."""
    if side == "floor" and kind == "sqlite":
        return by_threads(side, kind, url, options, writers, seconds)
    return asyncio.run(_tasks(side, url, options, writers, seconds))


async def _tasks(
    side: str, url: str, options: dict[str, Any], writers: Sequence[Writer], seconds: float
) -> list[Written]:
    everybody, arrived = asyncio.Event(), 0

    async def ready() -> None:
        nonlocal arrived
        arrived += 1
        if arrived == len(writers):
            everybody.set()
        await everybody.wait()

    if side == "floor":
        connections = [await psycopg.AsyncConnection.connect(url, autocommit=True) for _ in writers]
        appends = [partial(_append_by_hand, connection) for connection in connections]
        closing = [connection.close for connection in connections]
    else:
        sessions = await sessionledger.connect_async(url, **options)
        appends = [partial(_append, sessions)] * len(writers)
        closing = [sessions.close]
    try:
        works = [
            write_awaiting(append, writer, ready, seconds) for append, writer in zip(appends, writers, strict=True)
        ]
        return await asyncio.gather(*works)
    finally:
        for close in closing:
            await close()


async def _append(sessions: Any, session_id: str, text: str) -> int:
    return (await sessions.append_message(session_id, "user", text)).sequence


async def _append_by_hand(connection: Any, session_id: str, text: str) -> int:
    cursor = await connection.execute(PostgreSQLFloor.APPEND, PostgreSQLFloor.values(session_id, text), prepare=True)
    return (await cursor.fetchone())[0]


def process(
    how: str,
    side: str,
    kind: str,
    url: str,
    options: dict[str, Any],
    writers: Sequence[Writer],
    ready: Callable[[], object],
    seconds: float,
    answer: Any,
) -> None:
    """What a process of W6 does: one writer's work, or that of many threads or tasks; it sends what they did."""
    try:
        if how == "processes":
            with ExitStack() as closing:
                append = blocking(side, kind, url, options, closing)()
                found = [write(append, writers[0], ready, seconds)]
        else:
            found = (by_threads if how == "threads" else by_tasks)(side, kind, url, options, writers, seconds)
        answer.send(found)
    except Exception as error:  # noqa: BLE001 - whoever started us has to know
        answer.send(error)
    finally:
        answer.close()
