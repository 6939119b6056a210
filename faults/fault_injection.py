"""Values that would be SQL if they were ever put into it, in every argument of every method.

Each is refused with an error of the contract, or stored and given back as it is; and the texts that reach the driver
are those of plain calls, and no others.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import sqlalchemy
from sqlalchemy import event

import sessionledger
from harness import Found, Kind, control, fault
from sessionledger import SessionLedgerError, TokenUsage
from sessionledger.infrastructure.database.repositories import resources

SEED = 4711


class Text(str):
    """A string of the caller's own kind."""

    __slots__ = ()


FRAGMENTS = (
    "'; DROP TABLE sessions; --",
    '" OR ""="',
    "' OR '1'='1",
    "1; SELECT pg_sleep(9)",
    "') UNION SELECT session_id FROM sessions --",
    "created_at DESC, (SELECT 1)",
    "metadata->>'x'",
    "$.a' OR 1=1 --",
    "%(namespace)s",
    "%s",
    "?",
    ":session_id",
    "{0.__class__}",
    "%",
    "_",
    "\\",
    "\\'; --",
    "/* */",
    "$$",
    "E'\\x27'",
    "newest; --",
    "NULL",
    "ROWID",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202e",
    "Grüße",
    "ﬀ",
    "\n",
    "\r\n",
    "\ufeff",
    "😀" * 3,
    "",
    " ",
    "../../etc/passwd",
    "a" * 64,
    "a" * 65,
    "é" * 255,
    "é" * 256,
    "x" * 1000,
    "x" * 1001,
    "'" * 100_000,
    "[" * 100_000,
)


class Number(int):
    """A number whose text is SQL."""

    def __str__(self) -> str:
        return "1; DROP TABLE sessions"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return str(self)


OTHERS: tuple[Any, ...] = (
    *(Number(7), Number(8)),
    *(None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**50, 0.5, float("nan"), float("inf"), 1e300),
    *(b"x", bytearray(b"'"), (), ("a",), [], [1], ["'"], {}, {"'": 1}, {1: 2}, {"$gt": ""}, set(), frozenset({1})),
    *(Decimal(1), Decimal("NaN"), datetime(1, 1, 1, tzinfo=UTC), object(), object, len, range(3), Ellipsis),
    *(sqlalchemy.text("1=1"), sqlalchemy.literal_column("1"), sqlalchemy.null(), Text("'; --"), TokenUsage(1, 1)),
)
TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01", "'; --", "2026-03-01T00:00:00+00:00")


def plain(statement: str) -> str:
    """A statement without the number of its LIMIT, which is written out; anything but a number there stays."""
    return re.sub(r"\bLIMIT [0-9]+(?=\s|$)", "LIMIT n", statement)


def cursor(place: Any) -> str:
    """A cursor as it is made, of a place as it never is."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def payloads(count: int) -> Iterator[Any]:
    """So many values, no two the same: the ones above first, then such as chance puts together from them."""
    chance = random.Random(SEED)
    known = [*FRAGMENTS, *OTHERS]
    known += [cursor([order, time, "0" * 26]) for order in ("newest", "'; --") for time in TIMES]
    known += [
        cursor(value) for value in ([], {}, "abc", 1, None, [1, 2, 3], ["newest", None, None], ["newest", [], {}])
    ]
    known += [base64.urlsafe_b64encode(b"[" * 100_000).decode(), base64.urlsafe_b64encode(b"\xff\xfe").decode()]
    ids = ("0" * 26, "Z" * 26, "7" + "Z" * 25, "0" * 25 + "'", "\u017f" * 26, "0" * 26 + "\n")
    yield from itertools.islice((*known, *ids), count)
    for number in range(count - len(known) - len(ids)):
        text = "".join(chance.choices(FRAGMENTS[:33], k=chance.randint(1, 4))) + str(number)
        yield chance.choice(
            [
                text,
                text,
                text,
                Text(text),
                cursor(["newest", text, text]),
                {text: text},
                [text],
                text.encode(errors="replace"),
            ]
        )


# Every argument of every method: what is called with a value in its place, and what of the answer must equal it.

Argument = tuple[str, Callable[[Any, str, Any], Any], str | None]


def arguments() -> Iterator[Argument]:
    """The arguments, each as `method.argument`."""

    def named(method: str, *names: str, stored: tuple[str, ...] = (), **others: Any) -> Iterator[Argument]:
        """Of a method of a session, or of none."""
        for name in names:

            def call(sessions: Any, session_id: str, value: Any, name: str = name) -> Any:
                given = {**others, name: value}
                if method in ABOUT_A_SESSION:
                    given = {"session_id": session_id, **given}
                return getattr(sessions, method)(**given)

            yield f"{method}.{name}", call, name if name in stored else None

    texts = ("actor_name", "title", "workspace", "metadata")
    yield from named("create", *texts, "key", "session_id", stored=(*texts, "key"))
    yield from named("get", "session_id")
    yield from named("find", "key")
    yield from named("get_or_create", "key", stored=("key",))
    yield from named("get_or_create", *texts, key="one more")
    yield from named("list", "actor_name", "workspace", "include_archived", "order", "limit", "cursor", "offset")
    changed = ("title", "actor_name", "metadata")
    yield from named("update", *changed, "archived", "expected_version", "session_id", stored=changed)
    yield from named("delete", "session_id")
    message = {"role": "user", "content": "On its way."}
    stored = ("content", "tool_call_id", "metadata", "format", "role")
    yield from named(
        "append_message", "session_id", "role", "content", "tool_call_id", "metadata", stored=stored, **message
    )
    yield from named("append_message", "usage", "message_id", "expected_sequence", **message)
    yield from named(
        "append_message", "format", "role", stored=stored, role="user", content="On its way.", format="own"
    )
    yield from named("append_message", "model", usage={"input_tokens": 1}, **message)
    yield from named("append_messages", "session_id", messages=[message])
    yield from named("append_messages", "messages", "expected_sequence", messages=[message])
    yield from named("get_messages", "session_id", "after", "before", "limit", "last")
    yield from named("export_session", "session_id", "compression", file=io.BytesIO())
    nobody = {"file": io.BytesIO(), "workspace": "nobody's"}  # else every export would hold all that is stored here
    yield from named("export_sessions", "session_ids", "actor_name", "include_archived", "since", **nobody)
    yield from named("export_sessions", "workspace", file=io.BytesIO(), actor_name="nobody")
    for method in ("import_session", "import_sessions"):
        yield from named(method, "as_copy", "limits", "signature", "trusted_keys", file=io.BytesIO(b""))
    yield from named("sum_token_usage", "session_id", "since", "until")
    counts = (field.name for field in fields(TokenUsage))
    yield from named("update_token_usage", "session_id", *counts, "model", "usage_id")
    yield "import_session.file", imported, None
    yield "append_messages.messages[0]", appended_mapping, None


ABOUT_A_SESSION = {
    *("get", "update", "delete", "append_message", "append_messages", "get_messages", "export_session"),
    "update_token_usage",
}


def imported(sessions: Any, _: str, value: Any) -> Any:
    """Import what is no archive."""
    text = value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
    return sessions.import_session(io.BytesIO(text))


def appended_mapping(sessions: Any, session_id: str, value: Any) -> Any:
    """Append a message with a key that it does not have."""
    name = value if isinstance(value, str) else "other"
    return sessions.append_messages(session_id, [{"role": "user", "content": "x", name: value}])


def sent_again(sessions: Any, session_id: str, value: Any) -> Any:
    return sessions.append_message(session_id, "user", value, message_id=sessionledger.message_id_for("plain"))


class Injection:
    """A service that is called with each value in each argument, and the texts that reached the driver.

    Attributes:
        learned: The texts of plain calls.
        new: The texts that only a payload brought about.
        calls: How many calls were made.
        refused: How many were refused.
        wrong: What else was found.
    """

    def __init__(self, sessions: Any) -> None:
        self.sessions = sessions
        self.session_id = sessions.create().session_id
        self.learned: set[str] = set()
        self.new: set[str] = set()
        self.calls = self.refused = 0
        self.wrong: list[str] = []
        self._texts: set[str] = set()
        event.listen(sessions._database.engine, "before_cursor_execute", lambda *told: self._texts.add(plain(told[2])))

    def learn(self) -> None:
        """Make plain calls with every argument, of a session that is there and of one that is not."""
        for session_id in (self.session_id, sessionledger.new_id()):
            for value in PLAIN:
                for argument in arguments():
                    self.call(argument, session_id, value)
            for content in ("On its way.", "On its way.", "Lost."):
                self.call(("append_message", sent_again, None), session_id, content)
        self.learned |= self._texts
        self.calls = self.refused = 0

    def inject(self, value: Any) -> None:
        """Call with a value in every argument."""
        for argument in arguments():
            self.call(argument, self.session_id, value)
        self.new |= self._texts - self.learned

    def call(self, argument: Argument, session_id: str, value: Any) -> None:
        name, call, stored = argument
        self.calls += 1
        try:
            got = call(self.sessions, session_id, value)
        except (SessionLedgerError, ImportError) as error:
            self.refused += 1
            if isinstance(error, sessionledger.StorageError):
                self.wrong.append(f"{name} of {value!r:.60}: {error!r}")
        except Exception as error:  # noqa: BLE001 - no error of the contract
            self.wrong.append(f"{name} of {value!r:.60}: {error!r:.200}")
        else:
            if stored is not None and value is not None and not self.is_stored(got, stored, value):
                self.wrong.append(f"{name} of {value!r:.60} was not stored as it is")

    def is_stored(self, got: Any, name: str, value: Any) -> bool:
        """Whether the database gives a value back as it is."""
        if isinstance(got, sessionledger.SessionMessage):
            [got] = self.sessions.get_messages(got.session_id, after=got.sequence - 1, limit=1)
        else:
            got = self.sessions.get(got.session_id)
        return getattr(got, name) == value


PLAIN: tuple[Any, ...] = (
    datetime(2026, 3, 1, tzinfo=UTC),
    *("plain", "user", "newest", "oldest", "updated", 1, 0, 2**40, True, False, {"plain": 1}, None, "0" * 26, "0" * 26),
    cursor(["newest", "2026-03-01T00:00:00+00:00", "0" * 26]),
)


@contextmanager
def service(kind: Kind) -> Iterator[Any]:
    """A service on a fresh database; nothing is killed here, and forcing each commit would take most of the time."""
    with sessionledger.connect(kind.fresh(), retry_seconds=0) as sessions:
        engine = sessions._database.engine
        if kind.name == "sqlite":
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
            engine.dispose()
        yield sessions


def inject(sessions: Any, found: Found, count: int) -> Injection:
    """Learn the texts of plain calls, then put so many values into every argument."""
    injected = Injection(sessions)
    injected.learn()
    for value in payloads(count):
        injected.inject(value)
    found |= {"payloads": count, "arguments": len(list(arguments())), "calls": injected.calls}
    found |= {"refused": injected.refused, "texts": len(injected.learned), "new texts": len(injected.new)}
    return injected


@fault("values that would be SQL, in every argument of every method", short={"count": 130}, full={"count": 5000})
def injection(kind: Kind, found: Found, *, count: int) -> None:
    with service(kind) as sessions:
        injected = inject(sessions, found, count)
    assert not injected.wrong, f"{len(injected.wrong)} wrong: {injected.wrong[:10]}"
    assert not injected.new, f"new texts: {sorted(injected.new)[:3]}"


@control("values that would be SQL: a query with a name in its text", short={"count": 5}, full={"count": 50})
def injection_in_the_text(kind: Kind, found: Found, *, count: int) -> None:
    careful = resources._named

    def named(namespace: str, resource_kind: str, name: str) -> Any:
        return careful(namespace, resource_kind, sqlalchemy.literal_column(f"'{name}'"))

    with service(kind) as sessions, mock.patch.object(resources, "_named", named):
        injected = inject(sessions, found, count)
    found["wrong"] = len(injected.wrong)
    assert injected.new, "no new text was seen"
