"""Clients that are killed while they append: what was acknowledged stays, and a batch is whole or not at all."""

from __future__ import annotations

import functools
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import sessionledger
from appending import acks_of, append, calls, count, id_of, new_session
from harness import Ack, Client, Found, Kind, control, expect_nothing_wrong, fault, judge, together
from sessionledger.application.services import PersistentSessionService
from sessionledger.infrastructure.database import Database

LANES = 3

Program = Callable[[str], AbstractContextManager[Callable[[str, int, range], list[int]]]]
"""Opens a database, and gives what appends a writer's messages to a session and returns their sequences."""


@contextmanager
def through_library(url: str) -> Iterator[Callable[..., list[int]]]:
    """The program under test: an append is a call, and what it returns is the answer."""
    with sessionledger.connect(url) as sessions:
        yield functools.partial(append, sessions)


@contextmanager
def commit_per_row(url: str) -> Iterator[Callable[..., list[int]]]:
    """A careless program: each row of a batch is committed by itself."""
    with sessionledger.connect(url) as sessions:

        def store(session_id: str, writer: int, numbers: range) -> list[int]:
            return [append(sessions, session_id, writer, range(each, each + 1))[0] for each in numbers]

        yield store


@contextmanager
def answer_before_commit(url: str) -> Iterator[Callable[..., list[int]]]:
    """A careless program: its own transaction is committed after every tenth answer."""
    answers = itertools.count(1)
    with closing(Database(url)) as database, database.engine.connect() as connection:
        sessions = PersistentSessionService(Database.joined(connection))

        def store(session_id: str, writer: int, numbers: range) -> list[int]:
            sequences = append(sessions, session_id, writer, numbers)
            if next(answers) % 10 == 0:
                connection.commit()
            return sequences

        yield store
        connection.commit()


@dataclass
class Lane:
    """One client after another, each but the last one killed.

    Attributes:
        writer: Its number; its messages are numbered from 0, whichever client sends them.
        acks: What its clients were told.
        kills: How many of them were killed.
        unanswered: Appends that had been sent and had no answer at the kill.
        partial: Batches among them of which some rows were stored, and some not.
    """

    writer: int
    acks: list[Ack] = field(default_factory=list)
    kills: int = 0
    unanswered: int = 0
    partial: int = 0

    def live(self, client: Client, life: float) -> int:
        """Hear a client, kill it soon after so many more answers, and return how many messages have none."""
        due = len(self.acks) + max(life, 1)
        began = 0.0
        answers = pending = 0
        killed = False
        try:
            for said in client.said():
                began = began or time.monotonic()
                if isinstance(said, int):
                    pending = said
                    continue
                self.acks += acks_of(self.writer, len(self.acks), said)
                answers += 1
                pending = 0
                if len(self.acks) >= due and not killed:
                    # At any moment of the next two appends, however long one takes on this machine today.
                    time.sleep(random.uniform(0, 2) * (time.monotonic() - began) / answers)
                    client.kill()
                    killed = True
        finally:
            client.kill()
            ended = client.wait()
        assert ended == (-9 if killed else 0), f"a client failed by itself: {ended}"
        self.kills += killed
        return pending


def client(program: Program, url: str, session_id: str, writer: int, start: int, end: float) -> Client:
    """Append in a process: how many messages are sent is said before each append, and their sequences after it."""

    def work(say: Callable[[Any], None]) -> None:
        with program(url) as store:
            for numbers in calls(start=start):
                if numbers.start >= end:
                    return
                say(len(numbers))
                say(store(session_id, writer, numbers))

    return Client(work)


def run_lane(
    ready: Callable[[], Any],
    *,
    kind: Kind,
    url: str,
    session_id: str,
    program: Program,
    writer: int,
    messages: int,
    kills: int,
) -> Lane:
    """Let a client append until it is killed, and the next one go on where the answers end; the last one finishes."""
    lane = Lane(writer)
    ready()
    for left in range(kills, 0, -1):
        life = (messages - len(lane.acks)) / (left + 1) * random.uniform(0, 2)
        pending = lane.live(client(program, url, session_id, writer, len(lane.acks), math.inf), life)
        if pending:
            lane.unanswered += 1
            first = len(lane.acks)
            ids = [id_of(writer, number) for number in range(first, first + pending)]
            lane.partial += 0 < count(kind, url, session_id, ids) < pending
    end = max(messages, len(lane.acks) + 1)  # at least what has no answer yet
    lane.live(client(program, url, session_id, writer, len(lane.acks), end), math.inf)
    return lane


def kill_clients(kind: Kind, found: Found, program: Program, messages: int, kills: int, lanes: int = LANES) -> None:
    """Kill clients of some lanes that append to one session, and count what became of it."""
    url = kind.fresh()
    session_id = new_session(url)
    share = {"messages": math.ceil(messages / lanes), "kills": math.ceil(kills / lanes)}
    run = functools.partial(run_lane, kind=kind, url=url, session_id=session_id, program=program, **share)
    done = together([functools.partial(run, writer=writer) for writer in range(lanes)])
    acks = [ack for lane in done for ack in lane.acks]
    found |= {"acknowledged": len(acks)}
    found |= {name: sum(getattr(lane, name) for lane in done) for name in ("kills", "unanswered")}
    found |= {"partial_batches": sum(lane.partial for lane in done)}
    found |= judge(kind, url, session_id, acks)
    assert found["unanswered"], "no kill fell into an append"
    assert found["kills"] >= kills, "too few kills"
    assert len(acks) >= messages, "too few messages"
    found |= {"stored": count(kind, url, session_id)}


@fault(
    "kill -9 of clients that append one by one and in batches of 3",
    short={"messages": 300, "kills": 12},
    full={"messages": 50_000, "kills": 102},
)
def killed_client(kind: Kind, found: Found, *, messages: int, kills: int) -> None:
    kill_clients(kind, found, through_library, messages, kills)
    expect_nothing_wrong(found)
    assert not found["partial_batches"], "a batch was stored in part"
    # The last client of a lane sends again whatever has no answer: in the end all that was sent is stored, once.
    assert found["stored"] == found["acknowledged"], "something else is stored than what was sent"


@control(
    "a commit for each row of a batch",
    short={"messages": 150, "kills": 15},
    full={"messages": 900, "kills": 30},
)
def killed_client_per_row(kind: Kind, found: Found, *, messages: int, kills: int) -> None:
    kill_clients(kind, found, commit_per_row, messages, kills)
    assert found["partial_batches"], "every batch is whole"


@control("an answer before its COMMIT", short={"messages": 150, "kills": 6}, full={"messages": 900, "kills": 30})
def killed_client_too_early(kind: Kind, found: Found, *, messages: int, kills: int) -> None:
    # One lane: the others would wait for its open transaction.
    kill_clients(kind, found, answer_before_commit, messages, kills, lanes=1)
    assert found["lost"], "nothing is lost"
