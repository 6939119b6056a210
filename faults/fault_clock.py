"""Clocks that stand still or go back: the order is the database's and no clock's."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

import sessionledger
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge
from sessionledger.application.services import work

START, EPOCH = datetime(2026, 3, 1, 12, 0, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
YEARS = timedelta(days=25 * 365)

# Where the clock stands when so many messages have been appended.
CLOCKS: dict[str, Callable[[int], datetime]] = {
    "back 1 s": lambda number: START + timedelta(milliseconds=number) - timedelta(seconds=number // 100 % 2),
    "back 25 years": lambda number: START + timedelta(milliseconds=number) - YEARS * (number // 100 % 2),
    "frozen": lambda _: START,
}


def nanoseconds(name: str, number: int) -> int:
    """What a clock shows, to the millisecond: one rounded down would be two of the same one, out of order by chance."""
    return (CLOCKS[name](number) - EPOCH) // timedelta(milliseconds=1) * 1_000_000


@contextmanager
def clock(name: str) -> Iterator[list[int]]:
    """Let the process see another time: what messages are stamped with, and what new ids are made of."""
    appended = [0]
    with (
        mock.patch.object(work, "now", side_effect=lambda: CLOCKS[name](appended[0])),
        mock.patch.object(time, "time_ns", side_effect=lambda: nanoseconds(name, appended[0])),
    ):
        yield appended


def append_under(name: str, url: str, messages: int) -> tuple[str, list[Ack]]:
    """Append messages one by one while the clock does what it does."""
    acks = []
    with sessionledger.connect(url) as sessions, clock(name) as appended:
        session_id = sessions.create().session_id
        for number in range(messages):
            appended[0] = number
            stored = sessions.append_message(session_id, "user", content_of(0, number))
            acks.append(Ack(0, number, stored.sequence))
        read = [message.content for message in sessions.get_messages(session_id)]
        assert read == [content_of(0, number) for number in range(messages)], "read in another order than appended"
    return session_id, acks


@fault("a clock that goes back 1 s, goes back 25 years, or stands", short={"messages": 300}, full={"messages": 10_000})
def clock_goes_back(kind: Kind, found: Found, *, messages: int) -> None:
    for name in CLOCKS:
        url = kind.fresh()
        session_id, acks = append_under(name, url, messages)
        judged = judge(kind, url, session_id, acks)
        found |= {"appended": found.get("appended", 0) + len(acks)}
        found |= {count: found.get(count, 0) + value for count, value in judged.items()}
    expect_nothing_wrong(found)


@control("ordered by ULID", short={"messages": 300}, full={"messages": 10_000})
def clock_goes_back_ulid(kind: Kind, found: Found, *, messages: int) -> None:
    for name in CLOCKS:
        url = kind.fresh()
        session_id, _ = append_under(name, url, messages)
        with kind.asked(url) as ask:
            rows = ask(f"SELECT sequence FROM session_messages WHERE session_id = '{session_id}' ORDER BY message_id")
        sequences = [row["sequence"] for row in rows]
        found[name] = sum(after < before for before, after in itertools.pairwise(sequences))
        assert found[name], f"{name}: nothing is out of order"
