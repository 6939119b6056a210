"""Many writers of one session at once: none of them sees an error."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg

import sessionledger
from appending import acks_of, append, new_session
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge, together

INSERT = (
    "INSERT INTO session_messages (message_id, session_id, sequence, role, content, created_at)"
    " VALUES ('{}', '{}', {}, 'user', '{}', CURRENT_TIMESTAMP)"
)


@dataclass
class Told:
    """What writers were told: acknowledgements, and how often which error."""

    acks: list[Ack] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Told) -> Told:
        return Told(self.acks + other.acks, self.errors + other.errors)


def append_singly(sessions: sessionledger.SessionService, session_id: str, writer: int, messages: int) -> Told:
    """Append messages one by one."""
    told = Told()
    for number in range(messages):
        try:
            told.acks += acks_of(writer, number, append(sessions, session_id, writer, range(number, number + 1)))
        except sessionledger.SessionLedgerError as error:
            told.errors[type(error).__name__] += 1
    return told


def add_up(kind: Kind, found: Found, url: str, session_id: str, answers: list[Told]) -> None:
    """Add up what the writers were told, and hold it against the database."""
    told = sum(answers, Told())
    found |= {"acknowledged": len(told.acks), "errors": told.errors.total(), **told.errors}
    found |= judge(kind, url, session_id, told.acks)


# Many processes on one file


def process_of_file(ready: Callable[[], Any], *, url: str, session_id: str, writer: int, messages: int) -> Told:
    with sessionledger.connect(url) as sessions:
        ready()
        return append_singly(sessions, session_id, writer, messages)


def deferred(ready: Callable[[], Any], *, url: str, session_id: str, writer: int, messages: int) -> Told:
    """A transaction that reads where the session ends and then writes; its BEGIN takes no lock."""
    told = Told()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10, isolation_level=None)) as connection:
        ready()
        for number in range(messages):
            try:
                connection.execute("BEGIN")
                query = f"SELECT last_sequence + 1 FROM sessions WHERE session_id = '{session_id}'"
                [sequence] = connection.execute(query).fetchone()
                connection.execute(f"UPDATE sessions SET last_sequence = {sequence} WHERE session_id = '{session_id}'")
                content = json.dumps(content_of(writer, number))
                connection.execute(INSERT.format(sessionledger.new_id(), session_id, sequence, content))
                connection.execute("COMMIT")
                told.acks.append(Ack(writer, number, sequence))
            except sqlite3.OperationalError as error:
                told.errors[error.sqlite_errorname] += 1
                connection.rollback()
    return told


def processes_at_once(kind: Kind, found: Found, work: Callable[..., Told], processes: int, messages: int) -> None:
    """Let processes append to one session, and count."""
    url = kind.fresh()
    session_id = new_session(url)
    works = [
        functools.partial(work, url=url, session_id=session_id, writer=writer, messages=messages)
        for writer in range(processes)
    ]
    add_up(kind, found, url, session_id, together(works))


def expect_all(found: Found, messages: int) -> None:
    """Hold that no caller saw an error, and that all went well."""
    assert not found["errors"], "a caller saw an error"
    assert found["acknowledged"] == messages
    expect_nothing_wrong(found)


@fault(
    "8 processes append to one session of one file",
    short={"processes": 8, "messages": 60},
    full={"processes": 8, "messages": 2_500},
    databases=("sqlite",),
)
def processes_on_one_file(kind: Kind, found: Found, *, processes: int, messages: int) -> None:
    processes_at_once(kind, found, process_of_file, processes, messages)
    expect_all(found, processes * messages)


@control(
    "a deferred BEGIN that reads and then writes",
    short={"processes": 8, "messages": 60},
    full={"processes": 8, "messages": 2_500},
    databases=("sqlite",),
)
def processes_on_one_file_deferred(kind: Kind, found: Found, *, processes: int, messages: int) -> None:
    processes_at_once(kind, found, deferred, processes, messages)
    assert found["errors"], "no caller saw an error"


# Many writers on one session of a server: processes, each with threads that share a service

THREADS = 4


def in_threads(write: Callable[[int], Told], process: int) -> Told:
    """Let each thread of a process write under a number of its own."""
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(write, range(process * THREADS, (process + 1) * THREADS)), Told())


def process_of_server(ready: Callable[[], Any], *, url: str, session_id: str, writer: int, messages: int) -> Told:
    with sessionledger.connect(url) as sessions:
        ready()
        return in_threads(lambda number: append_singly(sessions, session_id, number, messages), writer)


def highest_plus_one(ready: Callable[[], Any], *, url: str, session_id: str, writer: int, messages: int) -> Told:
    """Number messages by the highest sequence there is, plus one."""
    following = f"SELECT coalesce(max(sequence), 0) + 1 FROM session_messages WHERE session_id = '{session_id}'"

    def write(thread: int) -> Told:
        told = Told()
        with psycopg.connect(url, autocommit=True) as connection:
            for number in range(messages):
                [sequence] = connection.execute(following).fetchone()
                content = json.dumps(content_of(thread, number))
                try:
                    connection.execute(INSERT.format(sessionledger.new_id(), session_id, sequence, content))
                    told.acks.append(Ack(thread, number, sequence))
                except psycopg.errors.UniqueViolation as error:
                    told.errors[type(error).__name__] += 1
        return told

    ready()
    return in_threads(write, writer)


@fault(
    "32 writers append to one session, four threads in each of 8 processes",
    short={"processes": 8, "messages": 10},
    full={"processes": 8, "messages": 200},
    databases=("postgresql",),
)
def writers_on_one_session(kind: Kind, found: Found, *, processes: int, messages: int) -> None:
    processes_at_once(kind, found, process_of_server, processes, messages)
    expect_all(found, processes * THREADS * messages)


@control(
    "MAX()+1",
    short={"processes": 8, "messages": 10},
    full={"processes": 8, "messages": 200},
    databases=("postgresql",),
)
def writers_on_one_session_max(kind: Kind, found: Found, *, processes: int, messages: int) -> None:
    processes_at_once(kind, found, highest_plus_one, processes, messages)
    assert found["errors"], "no sequence was given twice"
