"""Three namespaces with equal keys that throw each other's ids, cursors and archives at one another."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import event

import sessionledger
from harness import Found, Kind, control, fault
from machine import Bench, Machine, as_sent, attempt, message_of, plain, record_of, strip, usage_of
from model import Model, Place, Usage
from sessionledger import SessionLedgerError, SessionPage, StorageError

NAMESPACES = ("acme", "globex", "initech")
KEYS = ("ticket/1", "ticket/2", "ticket/3")
NAMES = (None, "Ann", "support-bot")
WORKSPACES = (None, "north", "south")
USAGES = (Usage(12, 4), Usage(7, 5, 3, 0, 2, Decimal("0.02")))
MOST_SESSIONS = 8
CHECKED_EVERY = 2000
SEED = 4711


class Fuzz:
    """Services of three namespaces on one database, blocking and awaiting, beside a model of what each must answer.

    Attributes:
        operations: How many were asked.
        foreign: How many of them named a session of another namespace; each was asked once more of an id that nobody
            has, and had to send the same statements and to answer the same.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.chance = random.Random(SEED)
        self.model = Model()
        self.services = {
            (name, awaiting): bench.service(name, awaiting=awaiting)
            for name in NAMESPACES
            for awaiting in (False, True)
        }
        self.operations = self.foreign = 0
        self.asked: Counter[str] = Counter()
        self.sent: list[Any] = []
        self._gone: list[str] = []
        self._ids = [sessionledger.new_id() for _ in range(12)]
        self._cursors: list[tuple[str, str, datetime, str]] = []
        self._archives: list[tuple[bytes, str, dict[str, Any]]] = []
        self._archives_of_all: list[tuple[bytes, str, list[dict[str, Any]]]] = []
        self.statements: list[str] = []
        for engine in (bench.blocking.engine, bench.awaiting.sync_engine):
            event.listen(engine, "before_cursor_execute", lambda *told: self.statements.append(told[2]))
            if engine.dialect.name == "sqlite":  # nothing is killed here; forcing each commit takes most of the time
                event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))

    agree = Machine.agree
    appended = Machine.appended

    def run(self, operations: int) -> None:
        """Ask so many operations; hold each answer, and now and then every row, against the model."""
        while self.operations < operations:
            self.bench.now += timedelta(milliseconds=1)
            place = self.place()
            ask = self.chance.choice(self.delete_or_create(place) or ASKED)
            self.asked[ask.__name__] += 1
            ask(self, place, self.services[place.namespace, self.chance.random() < 0.1])
            if self.operations % CHECKED_EVERY == 0:
                self.rows_are_the_models()
        self.rows_are_the_models()

    def delete_or_create(self, place: Place) -> tuple[Callable[..., None], ...]:
        """What must be asked so that each namespace keeps some sessions, and few."""
        mine = sum(each.namespace == place.namespace for each in self.model.sessions)
        return (Fuzz.delete,) if mine > MOST_SESSIONS and place in self.model.sessions else ()

    def place(self) -> Place:
        """Where to look: at a session of the namespace's own; of another one; at one that is gone; at none."""
        namespace = self.chance.choice(NAMESPACES)
        mine, others = [], []
        for place in self.model.sessions:
            (mine if place.namespace == namespace else others).append(place.session_id)
        chosen = self.chance.choices((mine, others, self._gone), (60, 25, 15))[0]
        return Place(namespace, self.chance.choice(chosen) if chosen else sessionledger.new_id())

    def id(self) -> str:
        """A message or usage id that others use as well, or a new one."""
        return self.chance.choice([*self._ids, *(sessionledger.new_id() for _ in self._ids)])

    def ask(self, place: Place, call: Callable[[str], Any]) -> Any:
        """Make a call; if it names another namespace's session, an id that nobody has must answer the same."""
        self.operations += 1
        self.statements.clear()
        got = attempt(call, place.session_id)
        if self.taken_elsewhere(place):
            self.foreign += 1
            sent = list(self.statements)
            self.statements.clear()
            unknown = sessionledger.new_id()
            other = attempt(call, unknown)
            assert told(got, place.session_id) == told(other, unknown), f"{got!r} is not {other!r}"
            assert sent == self.statements, f"{sent} is not {self.statements}"
        return got

    def taken_elsewhere(self, place: Place) -> bool:
        return any(Place(name, place.session_id) in self.model.sessions for name in NAMESPACES if name != place[0])

    # Sessions

    def values(self) -> dict[str, Any]:
        return {
            "actor_name": self.chance.choice(NAMES),
            "title": self.chance.choice(NAMES),
            "workspace": self.chance.choice(WORKSPACES),
            "metadata": {"of": self.chance.choice(NAMESPACES)},
        }

    def create(self, place: Place, service: Any) -> None:
        """By key, by an id that is or was anybody's, by the id that another namespace's key gives, or without any."""
        values, key = self.values(), self.chance.choice(KEYS)
        foreign = sessionledger.session_id_for(self.chance.choice(NAMESPACES), key)
        given = self.chance.choice([{"key": key}, {"session_id": place.session_id}, {"session_id": foreign}, {}, {}])
        self.operations += 1
        got = attempt(service.create, **given, **values)
        if set(given) == {"session_id"} and isinstance(got, SessionLedgerError):
            assert (type(got), got.args) == (
                sessionledger.SessionExistsError,
                sessionledger.SessionExistsError(given["session_id"]).args,
            )
        session_id = given.pop("session_id", getattr(got, "session_id", None))
        self.agree(got, lambda: self.model.create(place.namespace, session_id, self.bench.now, **given, **values))

    def get_or_create(self, place: Place, service: Any) -> None:
        values, key = self.values(), self.chance.choice(KEYS)
        self.operations += 1
        got = attempt(service.get_or_create, key, **values)
        self.agree(got, lambda: self.model.get_or_create(place.namespace, self.bench.now, key=key, **values))

    def get(self, place: Place, service: Any) -> None:
        self.agree(self.ask(place, service.get), lambda: self.model.get(place))

    def find(self, place: Place, service: Any) -> None:
        key = self.chance.choice(KEYS)
        self.operations += 1
        self.agree(attempt(service.find, key), lambda: self.model.find(place.namespace, key))

    def list(self, place: Place, service: Any) -> None:
        """A page: the first, one by offset, or one from a cursor of whichever namespace."""
        order = self.chance.choice(["newest", "oldest", "updated"])
        limit, offset = self.chance.randint(1, 6), 0
        wanted = {"actor_name": self.chance.choice(NAMES), "workspace": self.chance.choice(WORKSPACES)}
        wanted |= {"order": order, "include_archived": self.chance.random() < 0.5}
        cursors = [each for each in self._cursors if each[1] == order]
        cursor, _, at, last = self.chance.choice([(None, order, None, ""), *cursors])
        if cursor is None:
            offset = self.chance.randrange(4)
        self.operations += 1
        got = attempt(service.list, limit=limit, offset=offset, cursor=cursor, **wanted)
        sessions = self.model.listing(place.namespace, **wanted)
        time = "updated_at" if order == "updated" else "created_at"
        if cursor is not None:
            keys = {each["session_id"]: (each[time], each["session_id"]) for each in sessions}
            behind = (lambda key: key > (at, last)) if order == "oldest" else (lambda key: key < (at, last))
            sessions = [each for each in sessions if behind(keys[each["session_id"]])]
        self.agree(got, lambda: sessions[offset : offset + limit])
        if isinstance(got, SessionPage) and got.next_cursor:
            end = got.sessions[-1]
            self._cursors = [*self._cursors[-20:], (got.next_cursor, order, getattr(end, time), end.session_id)]

    def update(self, place: Place, service: Any) -> None:
        names = self.chance.sample(["title", "actor_name", "metadata"], self.chance.randint(0, 3))
        changes = {name: value for name, value in self.values().items() if name in names}
        if self.chance.random() < 0.2:
            changes["archived"] = self.chance.random() < 0.5
        version = self.chance.choice([None, 1, 2])
        got = self.ask(place, lambda session_id: service.update(session_id, expected_version=version, **changes))
        self.agree(got, lambda: self.model.update(place, self.bench.now, version, **changes))

    def delete(self, place: Place, service: Any) -> None:
        got = self.ask(place, service.delete)
        self.agree(got, lambda: self.model.delete(place))
        if not isinstance(got, SessionLedgerError):
            self._gone = [*self._gone[-30:], place.session_id]

    # Messages and token usage

    def draft(self) -> dict[str, Any]:
        usage = self.chance.choice([None, None, *USAGES])
        content = f"for {self.chance.choice(NAMESPACES)}"
        return {"role": "user", "content": content, "message_id": self.id(), "usage": usage}

    def append_message(self, place: Place, service: Any) -> None:
        self.append(place, service, [self.draft()])

    def append_messages(self, place: Place, service: Any) -> None:
        drafts = {draft["message_id"]: draft for draft in (self.draft() for _ in range(3))}
        self.append(place, service, list(drafts.values()))

    def append(self, place: Place, service: Any, drafts: list[dict[str, Any]]) -> None:
        expected = self.chance.choice([None, None, None, 0, 1])

        def call(session_id: str) -> Any:
            if len(drafts) > 1:
                return service.append_messages(session_id, list(map(as_sent, drafts)), expected_sequence=expected)
            return [service.append_message(session_id, **as_sent(drafts[0]), expected_sequence=expected)]

        self.appended(place, drafts, self.ask(place, call), expected)
        self.sent.clear()

    def get_messages(self, place: Place, service: Any) -> None:
        wanted = self.chance.choice([{}, {"last": 2}, {"after": 1}, {"limit": 2}, {"before": 3, "after": 1}])
        got = self.ask(place, lambda session_id: service.get_messages(session_id, **wanted))
        self.agree(got, lambda: self.model.messages(place, **wanted))

    def update_token_usage(self, place: Place, service: Any) -> None:
        usage_id, usage = self.id(), self.chance.choice(USAGES)._replace(cached_input_tokens=0)
        usage = usage._replace(cache_write_tokens=0, reasoning_tokens=0)
        call = {**usage._asdict(), "usage_id": usage_id}
        got = self.ask(place, lambda session_id: service.update_token_usage(session_id, **call))
        self.agree(got, lambda: self.model.use(place, usage_id, usage, self.bench.now))

    def sum_token_usage(self, place: Place, service: Any) -> None:
        if self.chance.random() < 0.3:
            self.operations += 1
            self.agree(service.sum_token_usage(), lambda: self.model.sums(place.namespace))
            return
        got = self.ask(place, lambda session_id: service.sum_token_usage(session_id=session_id))
        self.agree(got, lambda: self.model.sums(place.namespace, place.session_id))

    # Archives

    def export_session(self, place: Place, service: Any) -> None:
        files: list[io.BytesIO] = []

        def call(session_id: str) -> Any:
            files.append(io.BytesIO())
            return service.export_session(session_id, files[-1])

        got = self.ask(place, call)
        if isinstance(got, SessionLedgerError):
            self.agree(got, lambda: self.model.exported(place))
            assert not any(file.getvalue() for file in files), "something was written"
            return
        held = self.model.exported(place)
        assert (got.messages, got.usage_records) == (len(held["session"]["messages"]), len(held["ledger"]))
        self._archives = [*self._archives[-6:], (files[0].getvalue(), got.sha256, held)]

    def import_session(self, place: Place, service: Any) -> None:
        """An archive of whichever namespace."""
        if not self._archives:
            return
        archive, sha256, held = self.chance.choice(self._archives)
        as_copy = self.chance.random() < 0.3
        self.operations += 1
        got = attempt(service.import_session, io.BytesIO(archive), as_copy=as_copy)
        copy_id = got.session_id if as_copy else None
        self.agree(got, lambda: self.model.imported(place.namespace, held, sha256, copy_id))

    def export_sessions(self, place: Place, service: Any) -> None:
        """All that a namespace has, or a part of it; now and then by ids, of whichever namespace."""
        wanted = {"actor_name": self.chance.choice(NAMES), "workspace": self.chance.choice(WORKSPACES)}
        if self.chance.random() < 0.3:
            got = self.ask(place, lambda session_id: service.export_sessions(io.BytesIO(), session_ids=[session_id]))
            self.agree(
                got if isinstance(got, SessionLedgerError) else [got.messages],
                lambda: [len(self.model.exported(place)["session"]["messages"])],
            )
            return
        file = io.BytesIO()
        self.operations += 1
        got = service.export_sessions(file, **wanted)
        found = self.model.listing(place.namespace, include_archived=True, **wanted)
        ids = sorted(each["session_id"] for each in found)
        held = [self.model.exported(Place(place.namespace, session_id)) for session_id in ids]
        assert (got.sessions, got.messages) == (len(held), sum(len(each["session"]["messages"]) for each in held))
        self._archives_of_all = [*self._archives_of_all[-3:], (file.getvalue(), got.sha256, held)]

    def import_sessions(self, place: Place, service: Any) -> None:
        """All that whichever namespace had."""
        if not self._archives_of_all:
            return
        archive, sha256, held = self.chance.choice(self._archives_of_all)
        self.operations += 1
        got = attempt(service.import_sessions, io.BytesIO(archive))
        self.agree(
            got if isinstance(got, SessionLedgerError) else list(got.session_ids),
            lambda: self.model.imported_all(place.namespace, held, sha256),
        )

    # What the database itself holds

    def rows_are_the_models(self) -> None:
        ask = self.bench.ask
        sessions = {Place(row["namespace"], row["session_id"]): row for row in ask("SELECT * FROM sessions")}
        assert sessions.keys() == self.model.sessions.keys(), "other sessions are stored"
        stored: dict[str, Any] = {place.session_id: [] for place in sessions}
        for row in ask("SELECT * FROM session_messages ORDER BY session_id, sequence"):
            stored[row["session_id"]].append(message_of(row))
        ledger: dict[Place, Any] = {}
        for row in ask("SELECT * FROM token_usage"):
            ledger.setdefault(Place(row["namespace"], row["session_id"]), {})[row["usage_id"]] = record_of(row)
        assert ledger == self.model.ledger, "other token usage is stored"
        for place, row in sessions.items():
            session = self.model.sessions[place]
            assert stored[place.session_id] == strip(session["messages"]), "other messages are stored"
            assert usage_of(row) == self.model.totals(place), "other totals are stored"
            shown = (row["title"], row["actor_name"], row["version"], row["last_sequence"], row["metadata"])
            counted = len(session["messages"])
            assert shown[:4] == (session["title"], session["actor_name"], session["version"], counted)
            assert json.loads(row["metadata"]) == json.loads(session["metadata"])
        assert not self.foreign_rows(), "a row refers to a row of another namespace"

    def foreign_rows(self) -> int:
        """How many rows are of another namespace than the row they refer to: no answer tells them apart."""
        return sum(len(self.bench.ask(f"SELECT 1 AS found FROM {rows}")) for rows in FOREIGN)


FOREIGN = (
    "sessions JOIN resources ON resource_id = workspace WHERE resources.namespace <> sessions.namespace",
    "token_usage JOIN sessions USING (session_id) WHERE token_usage.namespace <> sessions.namespace",
)
ASKED = (
    *(Fuzz.create, Fuzz.create, Fuzz.get_or_create, Fuzz.get, Fuzz.find, Fuzz.list, Fuzz.update, Fuzz.delete),
    *(Fuzz.append_message, Fuzz.append_message, Fuzz.append_messages, Fuzz.get_messages, Fuzz.update_token_usage),
    *(Fuzz.export_session, Fuzz.import_session, Fuzz.export_sessions, Fuzz.import_sessions, Fuzz.sum_token_usage),
)


def told(answer: Any, session_id: str) -> Any:
    """An answer apart from the id that was asked for."""
    if isinstance(answer, SessionLedgerError):
        facts = json.dumps({name: str(value) for name, value in vars(answer).items()}, sort_keys=True)
        return type(answer), str(answer).replace(session_id, "ID"), facts.replace(session_id, "ID")
    return plain(answer)


@fault(
    "three namespaces with equal keys, and each other's ids, cursors and archives",
    short={"operations": 1000},
    full={"operations": 100_000},
)
def namespaces_apart(kind: Kind, found: Found, *, operations: int) -> None:
    with closing(Bench(kind)) as bench:
        fuzz = Fuzz(bench)
        fuzz.run(operations)
        found |= {"operations": fuzz.operations, "of a foreign session": fuzz.foreign}
        found |= {"foreign rows": fuzz.foreign_rows()}
        found |= {f"refused with {name}": count for name, count in sorted(bench.outcomes.items())}
    assert fuzz.foreign > operations // 20, "few operations named a foreign session"


STATEMENTS = {
    "get and list": r"SELECT.*\sFROM sessions",
    "messages": r"SELECT.*\sFROM session_messages",
    "workspaces": r"SELECT.*\sFROM resources",
    "token usage": r"SELECT.*\sFROM token_usage",
    "change": "UPDATE sessions",
    "delete": "DELETE FROM",
}
BY_NAMESPACE = re.compile(r"\b(?:sessions|resources|token_usage)\.namespace = ")


def without_namespace(which: str) -> Callable[..., tuple[str, Any]]:
    """What sends statements of a kind without their condition on the namespace."""

    def rewritten(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        if re.match(which, statement, re.DOTALL):
            statement = BY_NAMESPACE.sub("'' <> ", statement)  # true of each namespace
        return statement, parameters

    return rewritten


@control(
    "three namespaces: a query without its namespace, each kind in turn",
    short={"operations": 400},
    full={"operations": 2000},
)
def namespaces_apart_careless(kind: Kind, found: Found, *, operations: int) -> None:
    for name, which in STATEMENTS.items():
        with closing(Bench(kind)) as bench:
            for engine in (bench.blocking.engine, bench.awaiting.sync_engine):
                event.listen(engine, "before_cursor_execute", without_namespace(which), retval=True)
            fuzz = Fuzz(bench)
            try:
                fuzz.run(operations)
            # Of an answer, of a row that no model knows, or of an export that sees its counts to be another's.
            except (AssertionError, KeyError, StorageError):
                found[f"{name}: found after"] = fuzz.operations
            else:
                raise AssertionError(f"nothing is found wrong without a namespace in: {name}")
