"""A server that is killed while clients append: they notice nothing, and what was acknowledged stays."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import postgresql
import sessionledger
from appending import acks_of, append, calls, count, new_session
from harness import Ack, Client, Found, Kind, control, expect_nothing_wrong, fault, judge
from sessionledger.infrastructure.database import Database, schema

WRITERS = 4
SECONDS = 120
A_FEW_APPENDS = 0.02
"""Seconds within which a kill falls."""

# What synchronous_commit=off acknowledges is written when the WAL writer next wakes up, so what a kill loses depends on
# the moment (by default every 0.2 s: 150 to 300 messages a kill, measured). Here it sleeps for so long that each kill
# loses nearly all since the last start. To a client that waits for its commits it means nothing.
SETTINGS = postgresql.DURABLE | {"wal_writer_delay": "10s"}
ASYNCHRONOUS = "?options=-c%20synchronous_commit%3Doff"


class Hearing:
    """What the clients say, each heard by a thread of its own."""

    def __init__(self, clients: list[Client]) -> None:
        self.acks: list[Ack] = []
        self.unknown = 0
        self.ended: list[int] = []
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._hear, args=each) for each in enumerate(clients)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, acks: float) -> None:
        """Wait until so many messages were acknowledged."""
        with self._changed:
            heard = self._changed.wait_for(lambda: len(self.acks) >= acks or any(self.ended), SECONDS)
        assert heard, f"only {len(self.acks)} messages were acknowledged in {SECONDS} s"
        assert not any(self.ended), f"clients ended with {self.ended}"

    def wait_for_end(self) -> None:
        """Wait until every client has come to its end."""
        for thread in self._threads:
            thread.join(SECONDS)
        assert self.ended == [0] * len(self._threads), f"clients ended with {self.ended}"

    def _hear(self, writer: int, client: Client) -> None:
        number = 0
        for said in client.said():
            with self._changed:
                if said == "unknown":
                    self.unknown += 1
                    continue
                self.acks += acks_of(writer, number, said)
                number += len(said)
                self._changed.notify()
        with self._changed:
            self.ended.append(client.wait())
            self._changed.notify()


def client(url: str, session_id: str, writer: int, messages: int) -> Client:
    """Append in a process, and send again what the library could not find the outcome of."""

    def work(say: Callable[[Any], None]) -> None:
        with sessionledger.connect(url) as sessions:
            for numbers in calls():
                if numbers.start >= messages:
                    return
                sequences = None
                while sequences is None:
                    try:
                        sequences = append(sessions, session_id, writer, numbers)
                    except sessionledger.CommitOutcomeUnknownError:
                        say("unknown")
                say(sequences)

    return Client(work)


@contextmanager
def durable_server() -> Iterator[postgresql.Server]:
    """A server of our own, to be killed, which forces every commit to the disk."""
    with postgresql.Server(settings=SETTINGS) as server:
        with closing(Database(server.url)) as database:
            schema.upgrade(database)
        yield server


def kill_server(kind: Kind, found: Found, messages: int, kills: int, parameters: str = "") -> None:
    """Kill a server again and again while clients append to one session, and count what became of it."""
    with durable_server() as server:
        session_id = new_session(server.url)
        share = math.ceil(messages / WRITERS)
        clients = [client(server.url + parameters, session_id, writer, share) for writer in range(WRITERS)]
        try:
            heard, killed = Hearing(clients), 0
            for left in range(kills, 0, -1):
                life = (messages - len(heard.acks)) / (left + 1) * random.uniform(0.2, 1.6)
                heard.wait_for(len(heard.acks) + life)
                time.sleep(random.uniform(0, A_FEW_APPENDS))
                assert len(heard.ended) < WRITERS, "every client had ended before the kill"
                server.kill()
                killed += 1
                server.start()
            heard.wait_for_end()
        finally:
            for each in clients:
                each.kill()
        found |= {"acknowledged": len(heard.acks), "kills": killed, "unknown_outcomes": heard.unknown}
        found |= judge(kind, server.url, session_id, heard.acks)
        found |= {"stored": count(kind, server.url, session_id)}


@fault(
    "kill -9 of the server while clients append",
    short={"messages": 400, "kills": 2},
    full={"messages": 30_000, "kills": 42},
    databases=("postgresql",),
)
def killed_server(kind: Kind, found: Found, *, messages: int, kills: int) -> None:
    kill_server(kind, found, messages, kills)
    expect_nothing_wrong(found)
    assert found["stored"] == found["acknowledged"], "messages are stored that nobody sent"


@control(
    "synchronous_commit=off",
    short={"messages": 400, "kills": 2},
    full={"messages": 3_000, "kills": 6},
    databases=("postgresql",),
)
def killed_server_asynchronous(kind: Kind, found: Found, *, messages: int, kills: int) -> None:
    kill_server(kind, found, messages, kills, ASYNCHRONOUS)
    assert found["lost"], "nothing is lost"
