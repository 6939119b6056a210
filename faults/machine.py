"""What the state machine stands on: services on a real database, the model, and how the two are compared."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from unittest import mock

from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import event

import sessionledger
from harness import Kind
from model import Model, Place, Refused, Usage, canonical
from sessionledger import Session, SessionLedgerError, SessionMessage, SessionPage, TokenUsage, UsageSum
from sessionledger.application.services import AsyncPersistentSessionService, PersistentSessionService, work
from sessionledger.infrastructure.database import Database
from sessionledger.infrastructure.database.aio import AsyncDatabase
from world import Blocking

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RETRY_SECONDS = 2.0
"""Nothing keeps the database busy here; what does is found sooner."""
GONE, UNKNOWN, ASTRAY = 7, 8, 9
CANCELLED = object()

Draft = dict[str, Any]
"""A message to send: the keys of `NewMessage`, with a `Usage` of the model's."""
Archive = tuple[bytes, str, dict[str, Any]]
"""Its bytes, the digest its receipt tells, and what it holds by the model."""
Where = tuple[int, int]
"""Which of the sessions that are there; but `GONE` is any that ever was, `UNKNOWN` none, `ASTRAY` one looked for in the
other namespace."""
Point = tuple[int, int]
"""Before which statement, or COMMIT, of a call it is cancelled (0: its start), and how many turns of the loop later."""


class Bench:
    """What the examples of a run share: a database, both executors on it, a clock, and what was counted."""

    def __init__(self, kind: Kind, careless: Callable[[Any], Any] | None = None) -> None:
        self.url = kind.fresh()
        self.now = START
        self.examples = self.steps = 0
        self.rules: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._careless = careless or (lambda service: service)
        with ExitStack() as stack:
            self.runner = stack.enter_context(asyncio.Runner())
            self.blocking = stack.enter_context(closing(Database(self.url, retry_seconds=RETRY_SECONDS)))
            self.awaiting = AsyncDatabase(self.url, retry_seconds=RETRY_SECONDS)
            stack.callback(lambda: self.runner.run(self.awaiting.close()))
            self.ask = stack.enter_context(kind.asked(self.url))
            stack.enter_context(mock.patch.object(work, "now", side_effect=lambda: self.now))
            self._stack = stack.pop_all()
        self.at_statement: Callable[[], None] = lambda: None
        for name in ("before_cursor_execute", "commit"):
            event.listen(self.awaiting.sync_engine, name, lambda *_: self.at_statement())

    def close(self) -> None:
        self._stack.close()

    def service(self, namespace: str, *, awaiting: bool) -> Any:
        """A service, as something that blocks."""
        if not awaiting:
            return self._careless(PersistentSessionService(self.blocking, namespace=namespace))
        return self._careless(Blocking(self.awaiting_service(namespace), self.runner))

    def awaiting_service(self, namespace: str) -> AsyncPersistentSessionService:
        return AsyncPersistentSessionService(self.awaiting, namespace=namespace)


class Machine(RuleBasedStateMachine):
    """A ledger of two namespaces that are new in each example, through four services: each blocking and awaiting."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.bench.examples += 1
        self.namespaces = tuple(f"{word} {self.bench.examples}" for word in ("home", "away"))
        self.services = {
            (namespace, awaiting): self.bench.service(namespace, awaiting=awaiting)
            for namespace, awaiting in itertools.product(self.namespaces, (False, True))
        }
        self.model = Model()
        self.places: list[Place] = []
        self.sent: list[tuple[Place, list[Draft]]] = []
        self.used: list[tuple[Place, str, Usage, str | None]] = []
        self.archives: list[Archive] = []

    def ran(self, name: str) -> None:
        """Count a rule, and let the clock go on now and then: messages and sessions of one moment are usual."""
        self.bench.rules[name] += 1
        if self.bench.rules.total() % 5 == 0:
            self.bench.now += timedelta(milliseconds=1)

    def place(self, where: Where) -> Place:
        """Where to look: a session that was made, perhaps in the other namespace; or one that never was."""
        number, kind = where
        there = [place for place in self.places if place in self.model.sessions]
        places = self.places if kind == GONE else there or self.places
        place = places[number % len(places)]
        if kind == UNKNOWN:
            return Place(place.namespace, sessionledger.message_id_for("unknown"))
        if kind == ASTRAY:
            [other] = set(self.namespaces) - {place.namespace}
            return Place(other, place.session_id)
        return place

    def service(self, place: Place, awaiting: bool) -> Any:
        return self.services[place.namespace, awaiting]

    def agree(self, got: Any, expected: Callable[[], Any]) -> None:
        """Hold an answer, or an error, against the model's."""
        wanted = attempt(expected, error=Refused)
        if isinstance(wanted, Refused):
            facts = {name: getattr(got, name, None) for name in wanted.facts}
            assert (type(got).__name__, facts) == (wanted.kind, wanted.facts), f"{wanted!r} expected, got {got!r:.300}"
            self.bench.outcomes[wanted.kind] += 1
        else:
            assert plain(got) == wanted, f"\n{wanted!r:.900} expected, got\n{plain(got)!r:.900}"

    def made(self, place: Place) -> None:
        if place in self.model.sessions and place not in self.places:
            self.places.append(place)

    def appended(self, place: Place, batch: list[Draft], got: Any, expected_sequence: int | None = None) -> None:
        """Hold the answer to an append; the model takes the ids that were minted from it."""
        told = [message.message_id for message in got] if isinstance(got, list) else getattr(got, "message_ids", ())
        given = {draft.get("message_id") for draft in batch}
        minted = (message_id for message_id in told if message_id not in given)
        batch = [
            draft if "message_id" in draft else {**draft, "message_id": next(minted, sessionledger.new_id())}
            for draft in batch
        ]
        self.agree(got, lambda: self.model.append(place, batch, self.bench.now, expected_sequence))
        if isinstance(got, list):
            self.sent.append((place, batch))

    def append(self, place: Place, batch: list[Draft], *, awaiting: bool, expected_sequence: int | None = None) -> None:
        service = self.service(place, awaiting)
        messages = list(map(as_sent, batch))
        got = attempt(service.append_messages, place.session_id, messages, expected_sequence=expected_sequence)
        self.appended(place, batch, got, expected_sequence)

    def expected_sequence(self, place: Place, expected: str | None) -> int | None:
        last = len(self.model.sessions[place]["messages"]) if place in self.model.sessions else 0
        return {None: None, "right": last, "wrong": last + 1}[expected]

    def cancelled(self, call: Callable[[], Awaitable[Any]], point: Point) -> Any:
        """Cancel a call at a point; give its answer if that came first, else `CANCELLED`."""

        async def run() -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.ensure_future(call())
            statements = itertools.count(1)

            def cancel_after(turns: int) -> None:
                if turns:
                    loop.call_soon(cancel_after, turns - 1)
                else:
                    task.cancel()

            self.bench.at_statement = lambda: next(statements) == point[0] and cancel_after(point[1])
            if not point[0]:
                cancel_after(point[1])
            try:
                return await task
            except asyncio.CancelledError:
                return CANCELLED
            except SessionLedgerError as error:
                return error
            finally:
                self.bench.at_statement = lambda: None

        got = self.bench.runner.run(run())
        self.bench.outcomes["cancelled"] += got is CANCELLED
        return got

    def was_stored(self, table: str, name: str, place: Place, id: str) -> None:  # noqa: A002 - of either kind
        """Count a cancelled call that the database had carried out."""
        query = f"SELECT 1 FROM {table} WHERE session_id = '{place.session_id}' AND {name} = '{id}'"
        self.bench.outcomes["cancelled and stored"] += len(self.bench.ask(query))

    @invariant()
    def rows_are_the_models(self) -> None:
        """What the database itself holds: sessions, messages in their order, totals, the ledger."""
        if not self.places:
            return
        ids = ", ".join(f"'{place.session_id}'" for place in self.places)
        ask, there = self.bench.ask, {place.session_id: place for place in self.model.sessions}
        sessions = {row["session_id"]: row for row in ask(f"SELECT * FROM sessions WHERE session_id IN ({ids})")}
        assert sessions.keys() == there.keys(), f"sessions: {sessions.keys() ^ there.keys()}"
        stored: dict[str, list[Any]] = {session_id: [] for session_id in there}
        for row in ask(f"SELECT * FROM session_messages WHERE session_id IN ({ids}) ORDER BY session_id, sequence"):
            assert hashlib.sha256(row["content"].encode()).hexdigest() == row["content_sha256"]
            stored.setdefault(row["session_id"], []).append(message_of(row))
        ledger: dict[Place, dict[str, Any]] = {}
        for row in ask(f"SELECT * FROM token_usage WHERE session_id IN ({ids})"):
            ledger.setdefault(Place(row["namespace"], row["session_id"]), {})[row["usage_id"]] = record_of(row)
        assert ledger == self.model.ledger, f"\n{self.model.ledger} expected, the ledger is\n{ledger}"
        for session_id, place in there.items():
            messages = self.model.sessions[place]["messages"]
            assert [row["sequence"] for row in stored[session_id]] == list(range(1, len(messages) + 1))
            assert stored.pop(session_id) == strip(messages), "other messages are stored"
            assert usage_of(sessions[session_id]) == self.model.totals(place), "the totals are not the ledger's sum"
            assert sessions[session_id]["last_sequence"] == len(messages)
        assert not stored, f"messages without a session: {stored}"

    @invariant()
    def listing_is_the_models(self) -> None:
        self.bench.steps += 1
        for namespace in self.namespaces:
            page = self.services[namespace, False].list(include_archived=True, limit=1000)
            self.agree(page, lambda name=namespace: self.model.listing(name, include_archived=True))


def attempt(
    call: Callable[..., Any], *arguments: Any, error: type[Exception] = SessionLedgerError, **named: Any
) -> Any:
    """What a call gives, or the error that it raises on purpose."""
    try:
        return call(*arguments, **named)
    except error as refused:
        return refused


def as_sent(draft: Draft) -> Draft:
    usage = draft.get("usage")
    return {**draft, "usage": usage and {name: count for name, count in usage._asdict().items() if count is not None}}


def plain(answer: Any) -> Any:
    """An answer in the model's form."""
    if isinstance(answer, (list, SessionPage)):
        return [plain(each) for each in answer]
    if isinstance(answer, TokenUsage):
        return Usage(*(getattr(answer, name) for name in Usage._fields))
    if isinstance(answer, Session):
        shown = {name: getattr(answer, name) for name in Session.__slots__}
        source = answer.source and (answer.source.session_id, answer.source.sha256)
        return {**shown, "metadata": canonical(answer.metadata), "usage": plain(answer.usage), "source": source}
    if isinstance(answer, UsageSum):
        return (answer.actor_name, answer.model, answer.imported, plain(answer.usage), answer.records, answer.sessions)
    if isinstance(answer, SessionMessage):
        shown = {name: getattr(answer, name) for name in SessionMessage.__slots__}
        del shown["session_id"], shown["content_sha256"]
        return {**shown, "content": canonical(answer.content), "metadata": canonical(answer.metadata)}
    return answer


def message_of(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("message_id", "sequence", "role", "format", "tool_call_id")}
    return {
        **shown,
        "content": canonical(json.loads(row["content"])),
        "metadata": canonical(json.loads(row["metadata"])),
    }


def strip(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the times, which each database writes in its own way; answers are compared with them."""
    return [{name: value for name, value in message.items() if name != "created_at"} for message in messages]


def usage_of(row: dict[str, Any]) -> Usage:
    cost = None if row["cost"] is None else Decimal(row["cost"]).scaleb(-10)
    return Usage(*(row[name] for name in Usage._fields[:5]), cost=cost)


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("model", "message_id", "actor_name")}
    return {**shown, "usage": usage_of(row), "imported": bool(row["imported"])}
