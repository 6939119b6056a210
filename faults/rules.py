"""The rules of the state machine: everything that can be asked of a service, in any order."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

import sessionledger
from harness import Client
from machine import ASTRAY, CANCELLED, Archive, Draft, Machine, Point, Where, as_sent, attempt, plain
from model import Place, Usage
from sessionledger import Session, SessionLedgerError, SessionMessage
from world import Blocking

CONTENTS = [
    "Where is my parcel?",
    "",
    "NUL \x00, a lone surrogate \ud800, and Grüße",
    [{"type": "text", "text": "On its way."}],
    {"large": 10**30, "b": -0.0, "a": {"": 1e22}},
    [1, 1.0, True, None],
    None,
    0,
]
USAGES = [
    Usage(12, 4),
    Usage(0, 0),
    Usage(7, 5, 3, 0, 2, Decimal("0.0000000001")),
    Usage(1, 1, None, 4, None, Decimal("1.25")),
    Usage(2**53 + 1, 2**31),
]

contents = st.sampled_from(CONTENTS)
names = st.sampled_from([None, "Ann", "support-bot"])
workspaces = st.sampled_from([None, "north", "south"])
metadata = st.sampled_from([None, {}, {"order": 4711, "open": True}])
keys = st.sampled_from(["ticket/1", "ticket/2", "ticket/3"])
either = st.booleans()
numbers = st.integers(0, 19)
wheres = st.tuples(numbers, st.integers(0, ASTRAY))
points = st.tuples(st.integers(1, 6), st.integers(0, 5)) | st.tuples(st.just(0), st.integers(0, 60))
expectations = st.sampled_from([None, None, "right", "wrong"])
amounts = st.none() | st.integers(1, 6)
drafts = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": contents,
        "usage": st.none() | st.sampled_from(USAGES),
    },
    optional={
        "model": st.just("any-model"),
        "tool_call_id": st.just("call-1"),
        "metadata": st.just({"score": 0.5}),
        "message_id": st.builds(sessionledger.new_id),
    },
)
counts = st.sampled_from([Usage(3, 2, 0, 0, 0), Usage(10, 0, 4, 0, 0, Decimal("0.02")), Usage(2**31, 0, 0, 0, 0)])


class SessionRules(Machine):
    """Sessions."""

    @rule(key=st.none() | keys, away=either, awaiting=either, actor_name=names, workspace=workspaces, metadata=metadata)
    def create(self, key: str | None, *, away: bool, awaiting: bool, **values: Any) -> None:
        self.ran("create")
        named = {"key": key} if key else {}
        self.make("create", self.namespaces[away], awaiting=awaiting, **named, **values)

    @rule(where=wheres, awaiting=either)
    def create_taken(self, where: Where, *, awaiting: bool) -> None:
        """Create a session under an id that is, or was, taken."""
        place = self.place(where)
        if place in self.places or place.session_id in {taken.session_id for taken in self.model.sessions}:
            self.ran("create taken")
            self.make("create", place.namespace, awaiting=awaiting, session_id=place.session_id)

    @rule(key=keys, away=either, awaiting=either, title=names, workspace=workspaces)
    def get_or_create(self, *, away: bool, awaiting: bool, **values: Any) -> None:
        self.ran("get or create")
        self.make("get_or_create", self.namespaces[away], awaiting=awaiting, **values)

    def make(self, method: str, namespace: str, *, awaiting: bool, **values: Any) -> None:
        if values.keys() & {"key", "session_id"}:
            # A create that says the same in the same moment is taken for the same create, sent again.
            self.bench.now += self.bench.now.resolution
        got = attempt(getattr(self.services[namespace, awaiting], method), **values)
        made = got.session_id if isinstance(got, Session) else None
        given = {name: value for name, value in values.items() if name != "session_id"}
        if method == "create":
            self.agree(
                got,
                lambda: self.model.create(namespace, values.get("session_id", made), self.bench.now, **given),
            )
        else:
            self.agree(got, lambda: self.model.get_or_create(namespace, self.bench.now, **given))
        if made:
            place = Place(namespace, made)
            self.bench.rules["create again after deletion"] += place in self.model.deleted
            self.model.deleted.discard(place)
            self.made(place)

    @rule(where=wheres, key=keys, awaiting=either)
    def get_and_find(self, where: Where, key: str, *, awaiting: bool) -> None:
        self.ran("get and find")
        place = self.place(where)
        service = self.service(place, awaiting)
        self.agree(attempt(service.get, place.session_id), lambda: self.model.get(place))
        self.agree(service.find(key), lambda: self.model.find(place.namespace, key))

    @rule(
        where=wheres,
        awaiting=either,
        expected=expectations,
        changes=st.fixed_dictionaries(
            {}, optional={"title": names, "actor_name": names, "metadata": metadata, "archived": either}
        ),
    )
    def update(self, where: Where, expected: str | None, changes: dict[str, Any], *, awaiting: bool) -> None:
        self.ran("update" if expected is None else f"update, {expected} version")
        place = self.place(where)
        version = self.model.sessions.get(place, {"version": 1})["version"]
        wanted = {None: None, "right": version, "wrong": version + 1}[expected]
        got = attempt(self.service(place, awaiting).update, place.session_id, expected_version=wanted, **changes)
        self.agree(got, lambda: self.model.update(place, self.bench.now, wanted, **changes))

    @rule(where=wheres, awaiting=either)
    def delete(self, where: Where, *, awaiting: bool) -> None:
        self.ran("delete")
        place = self.place(where)
        self.agree(attempt(self.service(place, awaiting).delete, place.session_id), lambda: self.model.delete(place))

    @rule(
        away=either,
        awaiting=either,
        chosen=st.fixed_dictionaries(
            {"order": st.sampled_from(["newest", "oldest", "updated"]), "include_archived": either},
            optional={"actor_name": names, "workspace": workspaces},
        ),
        limit=st.integers(1, 4),
        offset=st.integers(0, 3),
    )
    def page(self, chosen: dict[str, Any], limit: int, offset: int, *, away: bool, awaiting: bool) -> None:
        """A page by offset, and all pages by cursor."""
        self.ran("page")
        service = self.services[self.namespaces[away], awaiting]
        sessions = self.model.listing(self.namespaces[away], **chosen)
        page = service.list(**chosen, limit=limit, offset=offset)
        self.agree(page, lambda: sessions[offset : offset + limit])
        cursor: str | None = None
        pages: list[Any] = []
        while True:
            page = service.list(**chosen, limit=limit, cursor=cursor)
            pages += plain(page)
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page) == limit, "a page that is not the last is not full"
        assert pages == sessions, "the pages are not the listing"


class MessageRules(Machine):
    """Messages."""

    @rule(where=wheres, awaiting=either, draft=drafts, expected=expectations)
    def append_one(self, where: Where, draft: Draft, expected: str | None, *, awaiting: bool) -> None:
        self.ran("append" if expected is None else f"append, {expected} sequence")
        place = self.place(where)
        wanted = self.expected_sequence(place, expected)
        append = self.service(place, awaiting).append_message
        got = attempt(append, place.session_id, **as_sent(draft), expected_sequence=wanted)
        self.appended(place, [draft], [got] if isinstance(got, SessionMessage) else got, wanted)

    @rule(where=wheres, awaiting=either, batch=st.lists(drafts, min_size=2, max_size=4), expected=expectations)
    def append_batch(self, where: Where, batch: list[Draft], expected: str | None, *, awaiting: bool) -> None:
        self.ran("batch")
        place = self.place(where)
        self.append(place, batch, awaiting=awaiting, expected_sequence=self.expected_sequence(place, expected))

    @rule(which=numbers, awaiting=either, expected=expectations)
    def resend(self, which: int, expected: str | None, *, awaiting: bool) -> None:
        place, batch = self.sent[which % len(self.sent)]
        self.ran("resend" if len(batch) == 1 else "batch resent")
        self.append(place, batch, awaiting=awaiting, expected_sequence=self.expected_sequence(place, expected))

    @rule(which=numbers, awaiting=either, change=drafts)
    def resend_changed(self, which: int, change: Draft, *, awaiting: bool) -> None:
        self.ran("resend with other content")
        place, batch = self.sent[which % len(self.sent)]
        changed = {**change, "message_id": batch[-1]["message_id"]}
        self.append(place, [*batch[:-1], changed], awaiting=awaiting)

    @rule(which=numbers, awaiting=either, other=drafts, first=either)
    def append_mixed(self, which: int, other: Draft, *, awaiting: bool, first: bool) -> None:
        self.ran("mixed batch")
        place, batch = self.sent[which % len(self.sent)]
        self.append(place, [other, *batch] if first else [*batch, other], awaiting=awaiting)

    @rule(where=wheres, batch=st.lists(drafts, min_size=1, max_size=3), point=points, awaiting=either)
    def append_cancelled(self, where: Where, batch: list[Draft], point: Point, *, awaiting: bool) -> None:
        self.ran("append cancelled and resent")
        place = self.place(where)
        batch = [{**draft, "message_id": sessionledger.new_id()} for draft in batch]
        messages = list(map(as_sent, batch))
        service = self.bench.awaiting_service(place.namespace)
        got = self.cancelled(lambda: service.append_messages(place.session_id, messages), point)
        if got is not CANCELLED:
            self.appended(place, batch, got)
        else:
            self.was_stored("session_messages", "message_id", place, batch[0]["message_id"])
        self.append(place, batch, awaiting=awaiting)

    @rule(where=wheres, values=st.lists(contents, min_size=1, max_size=3), awaiting=either)
    def append_in_fork(self, where: Where, values: list[Any], *, awaiting: bool) -> None:
        self.ran("append in a fork")
        place = self.place(where)
        client = Client(lambda say: append_all(self.bench.url, place, values, say, awaiting=awaiting))
        said = list(client.said())
        assert client.wait() == 0, "the fork failed"
        for content, (message_id, error) in zip(values, said, strict=True):
            if error is not None:
                assert (error, place in self.model.sessions) == ("SessionNotFoundError", False), error
                continue
            batch = [{"role": "user", "content": content, "message_id": message_id}]
            known = {message["message_id"] for message in self.model.messages(place)}
            assert message_id not in known, "a fork minted an id that is known"
            self.model.append(place, batch, self.bench.now)
            self.sent.append((place, batch))

    @rule(where=wheres, awaiting=either, after=st.integers(0, 6), before=amounts, limit=amounts, last=amounts)
    def read(self, where: Where, *, awaiting: bool, **wanted: Any) -> None:
        if wanted["last"]:
            del wanted["after"], wanted["limit"]
        self.ran("read the last" if wanted["last"] else "read after")
        place = self.place(where)
        got = attempt(self.service(place, awaiting).get_messages, place.session_id, **wanted)
        self.agree(got, lambda: self.model.messages(place, **wanted))


def append_all(url: str, place: Place, values: list[Any], say: Callable[[Any], None], *, awaiting: bool) -> None:
    """What a fork does: it opens a service of its own, appends, and says the id or the error of each."""
    if awaiting:
        runner = asyncio.Runner()
        sessions: Any = Blocking(runner.run(sessionledger.connect_async(url, namespace=place.namespace)), runner)
    else:
        sessions = sessionledger.connect(url, namespace=place.namespace)
    for content in values:
        try:
            say([sessions.append_message(place.session_id, "user", content).message_id, None])
        except SessionLedgerError as error:
            say([None, type(error).__name__])
    sessions.close()


class UsageRules(Machine):
    """Token usage."""

    @rule(where=wheres, counts=counts, awaiting=either, named=either, model=st.sampled_from([None, "any-model"]))
    def use(self, where: Where, counts: Usage, model: str | None, *, awaiting: bool, named: bool) -> None:
        self.ran("usage with an id" if named else "usage without an id")
        usage_id = sessionledger.new_id()
        self.used_up(self.place(where), usage_id, counts, model, awaiting=awaiting, named=named)

    @rule(where=wheres, awaiting=either, whole=either)
    def sum_up(self, where: Where, *, awaiting: bool, whole: bool) -> None:
        """What a namespace spent, or one session of it, whatever became of the session."""
        self.ran("sum" if whole else "sum of a session")
        place = self.place(where)
        session_id = None if whole else place.session_id
        sums = self.service(place, awaiting).sum_token_usage(session_id=session_id)
        self.agree(sums, lambda: self.model.sums(place.namespace, session_id))

    @rule(which=numbers, awaiting=either)
    def use_again(self, which: int, *, awaiting: bool) -> None:
        self.ran("usage resent")
        self.used_up(*self.used[which % len(self.used)], awaiting=awaiting)

    @rule(which=numbers, counts=counts, awaiting=either)
    def use_changed(self, which: int, counts: Usage, *, awaiting: bool) -> None:
        self.ran("usage resent with other counts")
        place, usage_id, _, model = self.used[which % len(self.used)]
        self.used_up(place, usage_id, counts, model, awaiting=awaiting)

    @rule(which=numbers, counts=counts, awaiting=either)
    def use_of_message(self, which: int, counts: Usage, *, awaiting: bool) -> None:
        self.ran("usage under a message's id")
        place, batch = self.sent[which % len(self.sent)]
        self.used_up(place, batch[0]["message_id"], counts, None, awaiting=awaiting)

    @rule(which=numbers, draft=drafts, awaiting=either)
    def append_used(self, which: int, draft: Draft, *, awaiting: bool) -> None:
        self.ran("append under a usage's id")
        place, usage_id, counts, model = self.used[which % len(self.used)]
        self.append(place, [{**draft, "message_id": usage_id, "usage": counts, "model": model}], awaiting=awaiting)

    @rule(where=wheres, counts=counts, point=points, awaiting=either)
    def use_cancelled(self, where: Where, counts: Usage, point: Point, *, awaiting: bool) -> None:
        self.ran("usage cancelled and resent")
        place, usage_id = self.place(where), sessionledger.new_id()
        service = self.bench.awaiting_service(place.namespace)
        values = {**counts._asdict(), "usage_id": usage_id}
        got = self.cancelled(lambda: service.update_token_usage(place.session_id, **values), point)
        if got is CANCELLED:
            self.was_stored("token_usage", "usage_id", place, usage_id)
        else:
            self.agree(got, lambda: self.model.use(place, usage_id, counts, self.bench.now))
        self.used_up(place, usage_id, counts, None, awaiting=awaiting)

    def used_up(
        self, place: Place, usage_id: str, counts: Usage, model: str | None, *, awaiting: bool, named: bool = True
    ) -> None:
        values = {**counts._asdict(), "model": model, **({"usage_id": usage_id} if named else {})}
        got = attempt(self.service(place, awaiting).update_token_usage, place.session_id, **values)
        if not named and not isinstance(got, SessionLedgerError):  # the id that was minted is in the ledger alone
            rows = self.bench.ask(f"SELECT usage_id FROM token_usage WHERE session_id = '{place.session_id}'")
            [usage_id] = {row["usage_id"] for row in rows} - self.model.ledger.get(place, {}).keys()
        self.agree(got, lambda: self.model.use(place, usage_id, counts, self.bench.now, model))
        if not isinstance(got, SessionLedgerError):
            self.used.append((place, usage_id, counts, model))


class ArchiveRules(Machine):
    """Archives."""

    @rule(where=wheres, awaiting=either)
    def export(self, where: Where, *, awaiting: bool) -> None:
        self.ran("export")
        self.exported(self.place(where), awaiting=awaiting)

    def exported(self, place: Place, *, awaiting: bool) -> None:
        file = io.BytesIO()
        got = attempt(self.service(place, awaiting).export_session, place.session_id, file)
        if isinstance(got, SessionLedgerError):
            self.agree(got, lambda: self.model.exported(place))
            return
        archive = self.model.exported(place)
        told = (got.sessions, got.messages, got.usage_records, got.size)
        assert told == (1, len(archive["session"]["messages"]), len(archive["ledger"]), len(file.getvalue()))
        self.archives.append((file.getvalue(), got.sha256, archive))

    @rule(which=numbers, away=either, awaiting=either, as_copy=either)
    def import_archive(self, which: int, *, away: bool, awaiting: bool, as_copy: bool) -> None:
        archive, namespace = self.archives[which % len(self.archives)], self.namespaces[away]
        service = self.services[namespace, awaiting]
        got = service.import_session(io.BytesIO(archive[0]), as_copy=as_copy)
        self._imported(namespace, archive, got, as_copy=as_copy)

    @rule(which=numbers, away=either, awaiting=either, point=points)
    def import_cancelled(self, which: int, point: Point, *, away: bool, awaiting: bool) -> None:
        self.ran("import cancelled and sent again")
        archive, namespace = self.archives[which % len(self.archives)], self.namespaces[away]
        service = self.bench.awaiting_service(namespace)
        self.cancelled(lambda: service.import_session(io.BytesIO(archive[0])), point)
        again = self.services[namespace, awaiting].import_session(io.BytesIO(archive[0]))
        self._imported(namespace, archive, again, as_copy=False)

    def _imported(self, namespace: str, archive: Archive, got: Session, *, as_copy: bool) -> None:
        _, sha256, content = archive
        before = len(self.model.sessions)
        session_id = got.session_id if as_copy else None
        self.agree(got, lambda: self.model.imported(namespace, content, sha256, session_id))
        elsewhere = content["session"]["namespace"] != namespace
        again = len(self.model.sessions) == before
        self.ran("import as a copy" if as_copy else f"import{' again' * again}{' elsewhere' * elsewhere}")
        place = Place(namespace, got.session_id)
        self.model.deleted.discard(place)
        self.made(place)


class Ledger(SessionRules, MessageRules, UsageRules, ArchiveRules):
    """All rules."""

    @initialize()
    def start(self) -> None:
        """A session with messages and token usage, and its archive: something for every rule to begin with."""
        self.make("create", self.namespaces[0], awaiting=False, actor_name="Ann")
        [place] = self.places
        self.append(place, [{"role": "user", "content": content} for content in CONTENTS[:3]], awaiting=True)
        self.used_up(place, sessionledger.new_id(), Usage(3, 2, 0, 0, 0), None, awaiting=False)
        self.exported(place, awaiting=True)
