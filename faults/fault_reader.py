"""A reader that follows a session beside its writers: it asks for what comes after the last message it has seen."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import sqlalchemy

import sessionledger
from appending import acks_of, calls, new_session
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge, together
from sessionledger.infrastructure.database import Database

WRITERS = 8
SIZES = (1, 1, 1, 5, 42)
A_ROUND = sum(SIZES)

Reader = Callable[[], Generator[list[int]]]
"""Opens the database, and gives the sequences of what is new each time it is asked."""


def write(ready: Callable[[], Any], *, url: str, session_id: str, writer: int, rounds: int, working: Any) -> list[Ack]:
    """Append one by one and in batches; each id is minted before its append waits for the session's lock."""
    acks = []
    try:
        with sessionledger.connect(url) as sessions:
            ready()
            for numbers in itertools.islice(calls(SIZES), rounds * len(SIZES)):
                batch = [{"role": "user", "content": content_of(writer, number)} for number in numbers]
                stored = sessions.append_messages(session_id, batch)
                acks += acks_of(writer, numbers.start, [message.sequence for message in stored])
    finally:
        with working:
            working.value -= 1
    return acks


def follow(ready: Callable[[], Any], *, reader: Reader, working: Any) -> list[list[int]]:
    """Read what is new, again and again, and a last time when all writers are done; return each piece of news."""
    pieces = []
    with closing(reader()) as news:
        next(news)  # connects; nothing is there yet
        ready()
        last_time = False
        while not last_time:
            last_time = working.value == 0
            if piece := next(news):
                pieces.append(piece)
    return pieces


def by_sequence(url: str, session_id: str) -> Generator[list[int]]:
    """Ask the library for what comes after the last sequence seen."""
    last = 0
    with sessionledger.connect(url) as sessions:
        while True:
            piece = [message.sequence for message in sessions.get_messages(session_id, after=last)]
            last = piece[-1] if piece else last
            yield piece


def by_ulid(url: str, session_id: str) -> Generator[list[int]]:
    """Ask the database for what comes after the last ULID seen."""
    last = ""
    query = sqlalchemy.text(
        "SELECT message_id, sequence FROM session_messages"
        " WHERE session_id = :session_id AND message_id > :last ORDER BY message_id"
    )
    with closing(Database(url)) as database, database.engine.connect() as connection:
        while True:
            rows = connection.execute(query, {"session_id": session_id, "last": last}).all()
            connection.rollback()
            last = rows[-1].message_id if rows else last
            yield [row.sequence for row in rows]


def read_beside_writers(
    kind: Kind, found: Found, reader: Callable[[str, str], Generator[list[int]]], rounds: int
) -> None:
    """Let a reader follow a session to which eight processes append, and count what it saw."""
    url = kind.fresh()
    session_id = new_session(url)
    working = multiprocessing.get_context("fork").Value("i", WRITERS)
    writers = [
        functools.partial(write, url=url, session_id=session_id, writer=writer, rounds=rounds, working=working)
        for writer in range(WRITERS)
    ]
    reading = functools.partial(reader, url, session_id)
    *answers, pieces = together([*writers, functools.partial(follow, reader=reading, working=working)])
    acks = [ack for answer in answers for ack in answer]
    seen = Counter(sequence for piece in pieces for sequence in piece)
    found |= {
        "appended": len(acks),
        "reads_with_news": len(pieces),
        "missed": sum(ack.sequence not in seen for ack in acks),
        "seen_twice": seen.total() - len(seen),
    }
    found |= judge(kind, url, session_id, acks)
    expect_nothing_wrong(found)
    assert len(acks) == WRITERS * rounds * A_ROUND
    assert len(pieces) > rounds, "the reader was not beside its writers"


@fault(
    "a reader that asks after n, beside 8 writers that append 1, 5 or 42 messages at a time",
    short={"rounds": 3},
    full={"rounds": 250},
)
def reader_after(kind: Kind, found: Found, *, rounds: int) -> None:
    read_beside_writers(kind, found, by_sequence, rounds)
    assert not found["missed"], "a message was missed"
    assert not found["seen_twice"], "a message was seen twice"


@control("a reader that asks after the last ULID", short={"rounds": 10}, full={"rounds": 20})
def reader_after_ulid(kind: Kind, found: Found, *, rounds: int) -> None:
    read_beside_writers(kind, found, by_ulid, rounds)
    assert found["missed"], "no message was missed"
