"""Imports that are killed, and imports of one archive at once: all of it is there or nothing, and once."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sessionledger
from archives import SEED, Item, archive, invented
from harness import Client, Found, Kind, control, fault, together
from sessionledger.domain.archive import ArchiveProgress, ArchiveReader, MessageRecord, SessionRecord
from tables import Rows, contents

COUNTS = (
    "SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM session_messages) AS messages,"
    " (SELECT count(*) FROM token_usage) AS usage_records"
)
"""One statement, so of one state."""

Say = Callable[[Any], None]
Importing = Callable[[str, bytes, Say], None]
"""Imports an archive into a database, and says when it begins to verify, to write, and when it is done."""


def conversations(sessions: int, messages: int) -> list[list[Item]]:
    return [invented(messages, seed) for seed in range(sessions)]


def counts(kind: Kind, url: str) -> tuple[int, ...]:
    """How many rows there are."""
    with kind.asked(url) as ask:
        return tuple(ask(COUNTS)[0].values())


def expected_counts(data: bytes) -> tuple[int, ...]:
    header = ArchiveReader(io.BytesIO(data)).header
    return header.sessions, header.messages, header.usage_records


# Killed


def through_library(url: str, data: bytes, say: Say) -> None:
    """The program under test."""
    steps = set()

    def follow(progress: ArchiveProgress) -> None:
        if progress.step not in steps:
            steps.add(progress.step)
            say(progress.step)

    with sessionledger.connect(url) as sessions:
        say("checksum")
        sessions.import_sessions(io.BytesIO(data), follow=follow)
        say("done")


def row_by_row(url: str, data: bytes, say: Say) -> None:
    """A careless program: it commits every row by itself."""
    with sessionledger.connect(url) as sessions:
        say("checksum")
        records = ArchiveReader(io.BytesIO(data)).records()
        say("import")
        for record in records:
            if isinstance(record, SessionRecord):
                session = sessions.get_or_create(record.session.session_id)
            elif isinstance(record, MessageRecord):
                sessions.append_message(session.session_id, record.role, "On its way.", message_id=record.message_id)
        say("done")


@dataclass
class Beside:
    """A reader beside an import: which counts it has seen, and how often it has looked."""

    seen: set[tuple[int, ...]] = field(default_factory=set)
    readings: int = 0


@contextmanager
def reader_beside(kind: Kind, url: str) -> Iterator[Beside]:
    """Look at the tables again and again."""
    beside, stopped = Beside(), threading.Event()

    def look() -> None:
        with kind.asked(url) as ask:
            while not stopped.wait(0.001):
                beside.seen.add(tuple(ask(COUNTS)[0].values()))
                beside.readings += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield beside
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class Durations:
    """How long an import takes that nobody kills, in seconds: to verify, and to write."""

    verifying: float
    writing: float


def durations(importing: Importing, url: str, data: bytes) -> Durations:
    times = {}
    client = Client(functools.partial(importing, url, data))
    for said in client.said():
        times.setdefault(said, time.monotonic())
    assert client.wait() == 0, "the unhindered import failed"
    return Durations(times["import"] - times["checksum"], times["done"] - times["import"])


def killed(client: Client, wait_for: str, seconds: float) -> str:
    """Kill an import so long after it has begun a step; say what it had said last."""
    said: list[str] = []
    lines = client.said()
    for each in lines:
        said.append(each)
        if each == wait_for:
            break
    time.sleep(seconds)
    client.kill()
    said += lines
    ended = client.wait()
    assert ended == -9 or (ended == 0 and said[-1] == "done"), f"the import failed by itself: {ended}"
    return {"import": "while writing", "done": "after the end"}.get(said[-1], "while verifying")


class Kills:
    """Kills imports of one archive, each into a new database."""

    def __init__(self, kind: Kind, found: Found, importing: Importing, data: bytes) -> None:
        self._kind, self._found, self._importing, self._data = kind, found, importing, data
        self._whole = expected_counts(data)
        self._chance = random.Random(SEED)
        url = kind.fresh()
        self._durations = durations(importing, url, data)
        self._rows = contents(kind, url)
        names = ("kills", "while verifying", "while writing", "after the end", "stored")
        found |= dict.fromkeys([*names, "readings", "half visible", "half stored", "other after a second import"], 0)

    def kill(self) -> None:
        """Kill one, and look at what there is: beside it, after it, and after a second import."""
        url = self._kind.fresh()
        if writing := self._chance.random() < 0.7:
            seconds = self._chance.uniform(0, self._durations.writing)
        else:
            seconds = self._chance.uniform(0, self._durations.verifying)
        client = Client(functools.partial(self._importing, url, self._data))  # a fork: before there are threads
        with reader_beside(self._kind, url) as beside:
            moment = killed(client, "import" if writing else "checksum", seconds)
        after = counts(self._kind, url)
        found = self._found
        found["kills"] += 1
        found[moment] += 1
        found["readings"] += beside.readings
        found["stored"] += after == self._whole
        found["half visible"] += not beside.seen <= {(0, 0, 0), self._whole}
        found["half stored"] += after not in {(0, 0, 0), self._whole}
        found["other after a second import"] += self._imported_again(url) != self._rows
        self._kind.drop(url)

    def _imported_again(self, url: str) -> Rows:
        self._importing(url, self._data, lambda _: None)
        return contents(self._kind, url)


def kill_imports(kind: Kind, found: Found, importing: Importing, kills: int, sessions: int, messages: int) -> None:
    """Kill so many imports of an archive of this size."""
    killing = Kills(kind, found, importing, archive(conversations(sessions, messages), "killed"))
    for _ in range(kills):
        killing.kill()


@fault(
    "kill -9 of imports of 10 sessions with 200 messages each",
    short={"kills": 5, "sessions": 10, "messages": 60},
    full={"kills": 100, "sessions": 10, "messages": 200},
)
def killed_import(kind: Kind, found: Found, *, kills: int, sessions: int, messages: int) -> None:
    kill_imports(kind, found, through_library, kills, sessions, messages)
    assert found["while writing"], "no kill fell into the writing"
    wrong = [name for name in ("half visible", "half stored", "other after a second import") if found[name]]
    assert not wrong, f"wrong: {wrong}"


@control(
    "a commit for each row",
    short={"kills": 3, "sessions": 3, "messages": 20},
    full={"kills": 20, "sessions": 10, "messages": 20},
)
def killed_import_row_by_row(kind: Kind, found: Found, *, kills: int, sessions: int, messages: int) -> None:
    kill_imports(kind, found, row_by_row, kills, sessions, messages)
    del found["other after a second import"]  # it keeps no usage and other contents, so there is nothing to compare
    assert found["half visible"], "nobody saw a half import"
    assert found["half stored"], "no half import was left"


# At once

AT_ONCE = 8


def import_one(sessions: Any, data: bytes, single: bool, as_copy: bool) -> Any:
    """The call: of a blocking service its answer, of an awaiting one what is to be awaited."""
    importing = sessions.import_session if single else sessions.import_sessions
    return importing(io.BytesIO(data), as_copy=as_copy)


def process(ready: Callable[[], Any], *, url: str, data: bytes, single: bool, as_copy: bool) -> Any:
    with sessionledger.connect(url) as sessions:
        ready()
        return import_one(sessions, data, single, as_copy)


async def tasks(url: str, data: bytes, single: bool, as_copy: bool) -> list[Any]:
    """As many tasks, on two services in turn."""
    async with await sessionledger.connect_async(url) as first, await sessionledger.connect_async(url) as second:
        services = itertools.cycle((first, second))
        return await asyncio.gather(
            *(import_one(sessions, data, single, as_copy) for sessions in itertools.islice(services, AT_ONCE))
        )


def answers(url: str, data: bytes, *, processes: bool, single: bool, as_copy: bool) -> list[Any]:
    if processes:
        work = functools.partial(process, url=url, data=data, single=single, as_copy=as_copy)
        return together([work] * AT_ONCE)
    return asyncio.run(tasks(url, data, single, as_copy))


def at_once(kind: Kind, found: Found, rounds: int, messages: int, *, as_copy: bool) -> None:
    """Import a new archive at once, round after round, of one session or three, by processes or tasks."""
    url = kind.fresh()
    expected = (0, 0, 0)
    found |= {"rounds": 0, "by processes": 0, "imports": 0, "rounds with other answers": 0, "rounds with other rows": 0}
    for number in range(rounds):
        single, processes = number % 2 == 0, number // 2 % 2 == 0
        data = archive(conversations(1 if single else 3, messages), f"at once {number}")
        told = answers(url, data, processes=processes, single=single, as_copy=as_copy)
        expected = tuple(map(sum, zip(expected, expected_counts(data), strict=True)))
        found["rounds"] += 1
        found["by processes"] += processes
        found["imports"] += len(told)
        found["rounds with other answers"] += any(answer != told[0] for answer in told)
        found["rounds with other rows"] += counts(kind, url) != expected
    report = sessionledger.verify(url)
    found |= {"findings of verify": sum(report.found.values())}


@fault(
    "8 imports of one archive at once, by processes or tasks",
    short={"rounds": 4, "messages": 40},
    full={"rounds": 50, "messages": 200},
)
def imports_at_once(kind: Kind, found: Found, *, rounds: int, messages: int) -> None:
    at_once(kind, found, rounds, messages, as_copy=False)
    assert not found["rounds with other answers"], "two imports had other answers"
    assert not found["rounds with other rows"], "there is more than one copy, or less"
    assert not found["findings of verify"], "verify finds something"


@control("each with new ids", short={"rounds": 4, "messages": 4}, full={"rounds": 10, "messages": 40})
def imports_at_once_new_ids(kind: Kind, found: Found, *, rounds: int, messages: int) -> None:
    at_once(kind, found, rounds, messages, as_copy=True)
    assert found["rounds with other answers"] == rounds, "the answers are equal"
    assert found["rounds with other rows"] == rounds, "there is one copy"
