"""Clients that commit in groups, killed at a random moment: what was acknowledged stays, once."""

from __future__ import annotations

import functools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import sessionledger
from appending import acks_of, append, count, new_session
from harness import Ack, Client, Found, Kind, control, expect_nothing_wrong, fault, judge
from sessionledger.application.services import PersistentSessionService
from sessionledger.infrastructure.database import Database

THREADS = 32

Store = Callable[[str, int, range], list[int]]
"""Appends a writer's messages to a session, and returns their sequences."""

Program = Callable[[str], AbstractContextManager[Store]]


@contextmanager
def in_groups(url: str) -> Iterator[Store]:
    """The program under test."""
    with sessionledger.connect(url, group_commit=True) as sessions:
        yield functools.partial(append, sessions)


@contextmanager
def answered_before(url: str) -> Iterator[Store]:
    """A careless group commit: the answers of a group are given before its COMMIT."""
    lock, answers = threading.Lock(), 0
    with closing(Database(url)) as database, database.engine.connect() as connection:
        sessions = PersistentSessionService(Database.joined(connection))

        def store(session_id: str, writer: int, numbers: range) -> list[int]:
            nonlocal answers
            with lock:
                sequences = append(sessions, session_id, writer, numbers)
                answers += 1
                if answers % THREADS == 0:
                    connection.commit()
                return sequences

        yield store


def client(program: Program, url: str, session_id: str, sent: list[int]) -> Client:
    """Append in as many threads as there are writers, each from where its answers end."""

    def work(say: Callable[[Any], None]) -> None:
        with program(url) as store:

            def write(writer: int) -> None:
                number = sent[writer]
                while True:
                    say([writer, store(session_id, writer, range(number, number + 1))])
                    number += 1

            for writer in range(THREADS):
                threading.Thread(target=write, args=(writer,), daemon=True).start()
            threading.Event().wait()

    return Client(work)


def live(found: Client, sent: list[int], answers: int) -> list[Ack]:
    """Hear a client, and kill it a random moment after so many answers."""
    acks: list[Ack] = []
    began = time.monotonic()
    killing = None
    for writer, sequences in found.said():
        acks += acks_of(writer, sent[writer], sequences)
        sent[writer] += 1
        if len(acks) >= answers and killing is None:
            # At any moment of the next groups, however long one takes on this machine today.
            moment = random.uniform(0, 2 * THREADS) * (time.monotonic() - began) / answers
            killing = threading.Timer(moment, found.kill)
            killing.start()
    ended = found.wait()
    assert ended == -9, f"a client failed by itself: {ended}"
    return acks


def kill_groups(kind: Kind, found: Found, program: Program, kills: int, answers: int) -> None:
    url = kind.fresh()
    session_id = new_session(url)
    sent, acks = [0] * THREADS, list[Ack]()
    for _ in range(kills):
        acks += live(client(program, url, session_id, sent), sent, math.ceil(answers * random.uniform(0.5, 1.5)))
    found |= {"kills": kills, "acknowledged": len(acks)} | judge(kind, url, session_id, acks)
    # The next client sends again what has no answer, so that only those of the last one are stored beyond the answers.
    found["stored_unanswered"] = count(kind, url, session_id) + found["lost"] - len(acks)


@fault(
    "kill -9 of a client whose 32 threads commit in groups",
    short={"kills": 5, "answers": 150},
    full={"kills": 100, "answers": 500},
)
def killed_group(kind: Kind, found: Found, *, kills: int, answers: int) -> None:
    kill_groups(kind, found, in_groups, kills, answers)
    expect_nothing_wrong(found)
    assert 0 <= found["stored_unanswered"] <= THREADS, "more is stored than was sent"


@control(
    "the answers of a group before its COMMIT",
    short={"kills": 5, "answers": 150},
    full={"kills": 30, "answers": 500},
)
def killed_group_too_early(kind: Kind, found: Found, *, kills: int, answers: int) -> None:
    kill_groups(kind, found, answered_before, kills, answers)
    assert found["lost"], "nothing is lost"
