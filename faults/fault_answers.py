"""The answer to the one COMMIT of every public write is lost: the state and the result are those of a single run."""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from unittest import mock

import proxy
import sessionledger
from harness import Found, Kind, control, fault
from sessionledger import AsyncSessionService, SessionService
from sessionledger.application.services import archives, work

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OTHER_KEY = "ticket/4711", "ticket/4712"
USAGE_ID, MESSAGE_ID = (sessionledger.message_id_for(name) for name in ("a usage id", "a message id"))
SENT = {"role": "assistant", "content": "On its way.", "usage": {"input_tokens": 12}}
BATCH = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two", "usage": {"input_tokens": 7}}]
READS = {
    *("get", "find", "list", "get_messages", "export_session", "export_sessions", "sum_token_usage", "verify", "close"),
}


class Ledger(NamedTuple):
    """What a write is called on: a service, a session with a message, and an archive of it."""

    service: Any
    session_id: str
    archive: bytes

    @property
    def file(self) -> io.BytesIO:
        return io.BytesIO(self.archive)


Write = Callable[[Ledger], Any]

WRITES: dict[str, list[Write]] = {
    "create": [
        lambda it: it.service.create(title="New", workspace="a new workspace", metadata={"turn": 1}),
        lambda it: it.service.create(key=OTHER_KEY),
    ],
    "get_or_create": [
        lambda it: it.service.get_or_create(OTHER_KEY, workspace="another"),
        lambda it: it.service.get_or_create(KEY),
    ],
    "update": [
        lambda it: it.service.update(it.session_id, title="Found", archived=True),
        lambda it: it.service.update(it.session_id, metadata={"turn": 2}, expected_version=1),
    ],
    "delete": [lambda it: it.service.delete(it.session_id)],
    "append_message": [
        lambda it: it.service.append_message(it.session_id, **SENT),
        lambda it: it.service.append_message(it.session_id, "user", "Thank you", expected_sequence=1),
        lambda it: it.service.append_message(it.session_id, message_id=MESSAGE_ID, **SENT),
    ],
    "append_messages": [lambda it: it.service.append_messages(it.session_id, BATCH)],
    "import_session": [
        lambda it: it.service.import_session(it.file),
        lambda it: it.service.import_session(it.file, as_copy=True),
    ],
    "import_sessions": [
        lambda it: it.service.import_sessions(it.file),
        lambda it: it.service.import_sessions(it.file, as_copy=True),
    ],
    "update_token_usage": [
        lambda it: it.service.update_token_usage(it.session_id, input_tokens=5, model="small"),
        lambda it: it.service.update_token_usage(it.session_id, input_tokens=3, usage_id=USAGE_ID),
    ],
}


def public(contract: type) -> set[str]:
    """The public methods of a contract."""
    return {name for name, member in vars(contract).items() if inspect.isfunction(member) and not name.startswith("_")}


def every_write() -> list[tuple[str, Write]]:
    """Each public write with each way to call it; one that nobody has listed is an error."""
    for contract in (SessionService, AsyncSessionService):
        unlisted = public(contract) - READS - set(WRITES)
        assert not unlisted, (
            f"{contract.__name__} has methods that are no known read and are not tried here: {unlisted}"
        )
        assert set(WRITES) <= public(contract), f"{contract.__name__} has no {set(WRITES) - public(contract)}"
    return [(name, call) for name, calls in WRITES.items() for call in calls]


@contextmanager
def repeatable() -> Iterator[None]:
    """Mint the same ids and see the same times in every run, so that states can be compared to the last byte."""
    numbers, instants = itertools.count(1), itertools.count(1)

    def minted() -> str:
        return sessionledger.message_id_for(f"id {next(numbers)}")

    with (
        mock.patch.object(work, "new_id", side_effect=minted),
        mock.patch.object(archives, "new_id", side_effect=minted),
        mock.patch.object(work, "now", side_effect=lambda: START + timedelta(seconds=next(instants))),
    ):
        yield


class Losing(sqlite3.Connection):
    """A connection that is gone when it has committed, as often as it is told."""

    to_lose = 0
    lost = 0

    def commit(self) -> None:
        super().commit()
        if Losing.to_lose:
            Losing.to_lose -= 1
            Losing.lost += 1
            self.close()
            super().commit()  # raises what is raised on a connection that is gone


class Loss(NamedTuple):
    """A way to lose the next answer to COMMIT.

    Attributes:
        url: The database, behind what loses.
        options: To connect with.
        arm: Lose the next answer.
        count: How many have been lost.
    """

    url: str
    options: dict[str, Any]
    arm: Callable[[], None]
    count: Callable[[], int]


@contextmanager
def losing(kind: Kind, url: str) -> Iterator[Loss]:
    """On PostgreSQL through the proxy, for real; SQLite has no wire, there its driver loses the answer."""
    if kind.name == "postgresql":
        with proxy.before(url) as through:
            yield Loss(through.url, {}, lambda: through.cut_next(proxy.AFTER), lambda: through.seen[proxy.AFTER])
        return
    Losing.to_lose = Losing.lost = 0
    yield Loss(url, {"connect_args": {"factory": Losing}}, lambda: setattr(Losing, "to_lose", 1), lambda: Losing.lost)


class Run(NamedTuple):
    """What became of one run: its result, every row of every table, and how many answers were lost."""

    result: Any
    state: dict[str, list[Any]]
    lost: int


def run(kind: Kind, call: Write, *, awaiting: bool, lose: bool) -> Run:
    """Call a write on a fresh ledger, and lose its answer or not."""
    url = kind.fresh()
    with repeatable(), losing(kind, url) as loss:
        with sessionledger.connect(url) as sessions:
            session_id = sessions.create(key=KEY, title="Parcel", workspace="north-office").session_id
            sessions.append_message(session_id, "user", "Where is it?", usage={"input_tokens": 4})
            file = io.BytesIO()
            sessions.export_session(session_id, file)
        before = loss.count()
        arm = loss.arm if lose else lambda: None
        result = (_awaited if awaiting else _blocking)(loss, arm, call, session_id, file.getvalue())
        lost = loss.count() - before
    with kind.asked(url) as ask:
        names = sorted(row["name"] for row in ask(kind.tables))
        state = {name: sorted(ask(f'SELECT * FROM "{name}"'), key=repr) for name in names}
    kind.remove(url)
    return Run(result, state, lost)


def _blocking(loss: Loss, arm: Callable[[], None], call: Write, session_id: str, archive: bytes) -> Any:
    with sessionledger.connect(loss.url, **loss.options) as service:
        arm()
        return call(Ledger(service, session_id, archive))


def _awaited(loss: Loss, arm: Callable[[], None], call: Write, session_id: str, archive: bytes) -> Any:
    async def run_it() -> Any:
        async with await sessionledger.connect_async(loss.url, **loss.options) as service:
            arm()
            return await call(Ledger(service, session_id, archive))

    return asyncio.run(run_it())


def compare(kind: Kind, found: Found, writes: list[tuple[str, Write]]) -> list[str]:
    """Compare a run whose answer is lost with a single one, for each write; name those that differ."""
    different = []
    found |= {"writes": len({name for name, _ in writes}), "answers_lost": 0, "equal": 0}
    for name, call in writes:
        expected = run(kind, call, awaiting=False, lose=False)
        for awaiting in (False, True):
            again = run(kind, call, awaiting=awaiting, lose=True)
            assert (expected.lost, again.lost) == (0, 1), f"{name} lost {again.lost} answers, not one"
            found["answers_lost"] += 1
            if again[:2] == expected[:2]:
                found["equal"] += 1
            else:
                different.append(f"{name} ({'async' if awaiting else 'sync'})")
    return different


@fault("a lost answer to the COMMIT of every public write", short={}, full={})
def answers_lost(kind: Kind, found: Found) -> None:
    different = compare(kind, found, every_write())
    assert not different, f"not as after a single run: {different}"


def count_up(ledger: Ledger) -> Any:
    """A write without a key, sent again by the retry for writes that have one."""
    statement = "UPDATE sessions SET input_tokens = input_tokens + 1"
    return ledger.service._database.write(lambda unit: unit.connection.exec_driver_sql(statement).rowcount)


@control("a write without a key", short={}, full={})
def answers_lost_keyless(kind: Kind, found: Found) -> None:
    different = compare(kind, found, [("count_up", count_up)])
    assert len(different) == found["answers_lost"] > 0, "the write without a key counted only once"
