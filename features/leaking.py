"""Every kind of error, provoked for real, with canaries in all that must not be told."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import create_engine, text

import sessionledger
from canaries import CALL, CONTENT, KEY, MARK, NOTE, PASSWORD, TITLE, Kind, logged
from steps import retry
from steps.archives import edited, sealed

Provoke = Callable[["Lab"], Any]


class Lab:
    """A database of its own with one session, for one kind of error."""

    def __init__(self, context: Any) -> None:
        self.context, self.world = context, context.world
        self.kind, self.url = context.world.kind, context.world.fresh()
        values = {"title": TITLE, "metadata": {"note": NOTE}, "workspace": f"{MARK}workspace"}
        with contextlib.closing(self.database()) as database:
            self.session_id = self.world.service_of(database).create(key=KEY, **values).session_id

    def database(self, url: str | None = None, **options: Any) -> Any:
        return self.world.database(url or self.url, **{"retry_seconds": 0, **options})

    def service(self, **options: Any) -> Any:
        return self.world.service_of(self.database(**options))

    def load(self, script: str) -> None:
        self.kind.load(self.url, script.replace("{content}", CONTENT))

    def append(self, service: Any = None, **values: Any) -> None:
        """Append twice, because some refuse only the second one."""
        service = service or self.service()
        for _ in range(2):
            values = {"metadata": {"note": NOTE}, "tool_call_id": CALL, "usage": {"input_tokens": 1}} | values
            service.append_message(self.session_id, "user", CONTENT, **values)

    def read(self) -> None:
        """All that can be read, and an archive of it."""
        service = self.service()
        service.get(self.session_id)
        service.get_messages(self.session_id)
        service.export_session(self.session_id, io.BytesIO())

    def archive(self) -> bytes:
        file, service = io.BytesIO(), self.service()
        service.append_message(self.session_id, "user", CONTENT, metadata={"note": NOTE})
        service.export_session(self.session_id, file)
        return file.getvalue()


def within(context: Any, provoke: Provoke) -> Callable[[], Any]:
    """Run in a lab whose connections and database are gone afterwards."""

    @contextlib.contextmanager
    def lab() -> Iterator[Lab]:
        world, outer = context.world, context.world.stack
        try:
            with contextlib.ExitStack() as world.stack:
                yield Lab(context)
        finally:
            world.stack = outer

    def run() -> Any:
        with lab() as made:
            return provoke(made)

    return run


# What the database refuses


def refused(script: str, it: Lab) -> None:
    it.world.stack.callback(it.load, it.kind.undo)
    it.load(script)
    it.append()


def stated(statement: str, it: Lab) -> None:
    filled = statement.replace("{content}", CONTENT)
    it.database().write(lambda unit: unit.connection.exec_driver_sql(filled).all())


def sent(make: Callable[[str], object], it: Lab) -> None:
    value = make(CONTENT)
    it.database().write(lambda unit: unit.connection.execute(text("SELECT :value"), {"value": value}).all())


def unreadable(script: str, it: Lab) -> None:
    it.append()
    it.load(script)
    it.read()


def in_state(state: str, it: Lab, retry_seconds: float = 0) -> None:
    with it.kind.in_state(state, it.url) as (url, options):
        options = options | {"retry_seconds": retry_seconds}
        service = it.world.service_of(it.database(url.replace("hunter2", PASSWORD), **options))
        it.append(service, metadata={"note": NOTE * 5000})  # which a full disk has no room for


def busy(it: Lab) -> None:
    """Given up at the deadline, after attempts that are logged."""
    in_state("that is locked", it, retry_seconds=0.15)


def damaged(it: Lab) -> None:
    it.append()
    path = it.kind.path(it.url)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:4096] + (CONTENT.encode() * size)[: size - 4096])
    it.read()


def pool_taken(it: Lab) -> None:
    database = it.database(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with it.world.taken_connection(database):
        it.append(it.world.service_of(database))


def joined(it: Lab) -> None:
    it.load(it.kind.refusals["a unique index over the content"])
    with it.world.callers_transaction(it.database().engine, "connection") as (service, _):
        it.append(service)


def lost_commit(it: Lab) -> None:
    it.context.database, it.context.faults = it.database(), 0
    service = it.world.service_of(it.context.database)
    service.list()
    with retry.at_commit(it.context, retry.cutting(it.context), done=True):
        it.append(service)


def serialization(it: Lab) -> None:
    def work(unit: Any) -> None:
        unit.connection.execute(text("SELECT title FROM sessions")).all()
        it.load("UPDATE sessions SET version = version + 1")
        unit.connection.execute(text("UPDATE sessions SET title = :title"), {"title": CONTENT})

    it.database(isolation_level="REPEATABLE READ").read(work)


def deadlock(it: Lab) -> None:
    """Another transaction holds `resources` and waits for `sessions`, which the work holds."""

    def work(unit: Any) -> None:
        unit.connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")
        unit.connection.exec_driver_sql("LOCK TABLE sessions")
        other.start()
        while not unit.connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").all():
            time.sleep(0.005)
        unit.connection.exec_driver_sql(f"LOCK TABLE resources /* {CONTENT} */")

    other = threading.Thread(target=it.load, args=("LOCK TABLE resources; LOCK TABLE sessions",))
    try:
        it.database().write(work)
    finally:
        other.join()


def other_revision(it: Lab) -> None:
    it.load("UPDATE sessionledger_revision SET version_num = 'a7_001_session_persistence'")
    it.append()


def never_awaited(it: Lab) -> None:
    """A task fails and nobody asks for its outcome, so that asyncio logs it; then the same error is asked for."""
    it.load(it.kind.refusals["a unique index over the content"])
    service = it.service()
    service.append_message(it.session_id, "user", CONTENT)

    async def forget() -> None:
        task = asyncio.create_task(service.awaiting.append_message(it.session_id, "user", CONTENT))
        await asyncio.wait([task])

    with logged() as records:
        it.world.run(forget())
        gc.collect()
    assert [record for record in records if "never retrieved" in record.getMessage()], records
    it.append(service)


def database_kinds(context: Any) -> list[Kind]:
    """What only a database brings about."""
    kind = context.world.kind
    found: list[tuple[str, Provoke]] = [
        *((f"refused by {name}", functools.partial(refused, script)) for name, script in kind.refusals.items()),
        *((f"work fails: {name}", functools.partial(stated, each)) for name, each in kind.refused_statements.items()),
        *((f"work sends {name}", functools.partial(sent, make)) for name, make in kind.refused_values.items()),
        *((f"a row with {name}", functools.partial(unreadable, each)) for name, each in kind.unreadable.items()),
        *((f"a database {state}", functools.partial(in_state, state)) for state in kind.states),
        ("a pool without a free connection", pool_taken),
        ("a busy database, given up", busy),
        ("a caller's transaction", joined),
        ("another revision", other_revision),
    ]
    if "server" in kind.capabilities:
        found += [("a lost COMMIT", lost_commit), ("a lost update", serialization), ("a deadlock", deadlock)]
    if "file" in kind.capabilities:
        found.append(("a damaged file", damaged))
    if "async" in context.capabilities:
        found.append(("a task that nobody awaits", never_awaited))
    return [Kind(name, within(context, provoke)) for name, provoke in found]


def quick_kinds(context: Any) -> list[Kind]:
    """Those that leave the schema as it is."""
    return [kind for kind in database_kinds(context) if kind.name.startswith(("work", "a row", "refused by a trigger"))]


def raw_errors(context: Any) -> Iterator[tuple[str, Exception]]:
    """What an application meets that does the same with SQLAlchemy alone, told to hide parameters."""
    engine = create_engine(context.world.url, hide_parameters=True)
    rows = {"session_id": context.session.session_id, "content": CONTENT, "metadata": NOTE, "call": CALL}
    columns = "session_id, message_id, sequence, role, content, metadata, tool_call_id, created_at"
    values = ":session_id, :message, :sequence, 'user', :content, :metadata, :call, CURRENT_TIMESTAMP"
    insert = text(f"INSERT INTO session_messages ({columns}) VALUES ({values})")
    with contextlib.closing(engine.connect()) as connection:
        for name, script in context.world.kind.refusals.items():
            try:
                connection.exec_driver_sql(script)
                for sequence in (1, 2):
                    connection.execute(insert, rows | {"sequence": sequence, "message": f"{sequence}"})
            except Exception as error:  # noqa: BLE001 - it is what we look at
                yield name, error
            connection.rollback()
    engine.dispose()


# What sessionledger refuses by itself


def message_conflict(it: Lab) -> None:
    service, message_id = it.service(), sessionledger.new_id()
    for content in (CONTENT, f"{CONTENT} else"):
        service.append_message(it.session_id, "user", content, message_id=message_id)


def usage_conflict(it: Lab) -> None:
    service, usage_id = it.service(), sessionledger.new_id()
    for tokens in (1, 2):
        service.update_token_usage(it.session_id, input_tokens=tokens, model=f"{MARK}model", usage_id=usage_id)


def imported(change: Callable[[list[bytes]], list[bytes]], it: Lab) -> None:
    lines = it.archive().splitlines(keepends=True)
    it.service().import_session(io.BytesIO(sealed(change(lines[:-1]))))


def changed_byte(it: Lab) -> None:
    it.service().import_session(io.BytesIO(it.archive().replace(CONTENT.encode(), CONTENT.title().encode(), 1)))


def cut_short(it: Lab) -> None:
    it.service().import_session(io.BytesIO(it.archive()[:-9]))


OWN: dict[str, Provoke] = {
    "a message id with other content": message_conflict,
    "a usage id with other counts": usage_conflict,
    "another sequence": lambda it: it.append(expected_sequence=7),
    "another version": lambda it: it.service().update(it.session_id, title=f"{TITLE} else", expected_version=7),
    "a key that is taken": lambda it: it.service().create(key=KEY, title=f"{TITLE} else"),
    "a session that is not there": lambda it: it.service().append_message(sessionledger.new_id(), "user", CONTENT),
    "a total beyond all bounds": lambda it: it.append(usage={"input_tokens": 2**63 - 1}),
    "an archive with a changed byte": changed_byte,
    "an archive that is cut short": cut_short,
}

# What a line of an archive that is sealed again says in place of what it should.
LINES = {
    "no JSON": lambda lines: [*lines[:2], b"{" + lines[2]],
    "no UTF-8": lambda lines: [*lines[:2], lines[2].replace(MARK.encode(), MARK.encode() + b"\xff", 1)],
    "a key twice": lambda lines: [*lines[:2], lines[2].replace(b"{", f'{{"{CONTENT}":1,"{CONTENT}":2,'.encode(), 1)],
    "a newer format version": lambda lines: [edited(lines[0], format_version=2), *lines[1:]],
    "another format": lambda lines: [edited(lines[0], format=CONTENT), *lines[1:]],
    "a role": lambda lines: [*lines[:2], edited(lines[2], role=f"{CONTENT} {CONTENT}")],
    "an id": lambda lines: [*lines[:2], edited(lines[2], message_id=CONTENT)],
    "a time": lambda lines: [*lines[:2], edited(lines[2], created_at=CONTENT)],
    "a hash": lambda lines: [*lines[:2], edited(lines[2], content_sha256=CONTENT)],
    "a record": lambda lines: [*lines[:2], edited(lines[2], record=CONTENT)],
    "a sequence": lambda lines: [*lines[:2], edited(lines[2], sequence=CONTENT)],
    "a count": lambda lines: [lines[0], edited(lines[1], last_sequence=CONTENT), *lines[2:]],
    "metadata": lambda lines: [lines[0], edited(lines[1], metadata=CONTENT), *lines[2:]],
    "a cost": lambda lines: [lines[0], edited(lines[1], usage={"cost": CONTENT}), *lines[2:]],
}

URLS = {
    "that is none": "{password}",
    "with a password as the port": "postgresql://ann:{password}@db.example:{password}/ledger",
    "of another kind of database": "mysql://ann:{password}@db.example/ledger",
    "of another driver": "postgresql+asyncpg://ann:{password}@db.example/ledger",
    "of an unknown driver": "postgresql+{password}://ann:{password}@db.example/ledger",
    "with a password in the query": "postgresql://db.example/ledger?password={password}",
    "with a key's password in the query": "postgresql://db.example/ledger?sslpassword={password}",
    "with an @ in the password": "postgresql://ann:x@{password}@127.0.0.1:1/ledger",
    "with an @ and a slash in the password": "postgresql://ann:x@127.0.0.1/{password}@127.0.0.1:1/ledger",
    "of SQLite, with a password": "sqlite://ann:{password}@db.example/ledger",
    "of a server that is away": "postgresql://ann:{password}@127.0.0.1:1/ledger",
    "with an option that is none": "postgresql://ann:{password}@127.0.0.1:1/ledger?{password}=1",
}


def own_kinds(context: Any) -> list[Kind]:
    """What needs no fault of a database."""

    def connect(url: str) -> None:
        context.world.connect(url.replace("{password}", PASSWORD), retry_seconds=0)

    return [
        *(Kind(name, within(context, provoke)) for name, provoke in OWN.items()),
        *(
            Kind(f"an archive that has {name} in a line", within(context, functools.partial(imported, change)))
            for name, change in LINES.items()
        ),
        *(Kind(f"a URL {name}", functools.partial(connect, url)) for name, url in URLS.items()),
    ]
