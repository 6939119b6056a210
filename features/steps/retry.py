"""Faults of the moment, injected at statements and at COMMIT."""

import contextlib
import dataclasses
import inspect
import io
import time

from behave import then, when
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError

import sessionledger
from sessionledger.domain.models import COUNTS
from sessionledger.infrastructure.database import (
    ResourceRepository,
    SessionMessageRepository,
    SessionRepository,
    TokenUsageRepository,
)
from sessionledger.infrastructure.database.repositories.archives import ArchiveRepository, Selection

REPOSITORIES = (
    SessionRepository,
    SessionMessageRepository,
    TokenUsageRepository,
    ResourceRepository,
    ArchiveRepository,
)
CHANGING = ("session_id", "message_id", "namespace", "created_at", "updated_at", "archived_at", "key")
CHANGING += ("source", "sha256", "session_ids")


def repository_methods():
    return {
        f"{repository.__name__}.{name}"
        for repository in REPOSITORIES
        for name, member in vars(repository).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def repository_methods_running():
    """The methods of repositories that are on the stack."""
    frame, running = inspect.currentframe(), set()
    while frame is not None:
        owner = type(frame.f_locals.get("self"))
        if owner in REPOSITORIES and frame.f_code.co_name in vars(owner):
            running.add(f"{owner.__name__}.{frame.f_code.co_name}")
        frame = frame.f_back
    return running


class Ledger:
    """A session with messages and usage, made anew for each run of a call."""

    def __init__(self, context):
        self.database = context.database
        self.service = context.world.service_of(context.database)
        self.key = sessionledger.new_id()
        self.session_id = self.service.create(key=self.key, title="Parcel", workspace="north-office").session_id
        self.usage_id, self.message_id = sessionledger.new_id(), sessionledger.new_id()
        usage = {"input_tokens": 12, "output_tokens": 4}
        self.sent = {"role": "assistant", "content": "On its way.", "usage": usage, "message_id": self.message_id}
        self.service.append_message(self.session_id, **self.sent)
        self.service.update_token_usage(self.session_id, input_tokens=3, usage_id=self.usage_id)
        file = io.BytesIO()
        self.service.export_session(self.session_id, file)
        self.archive = file.getvalue()

    def append_recorded(self):
        counted = {**dict.fromkeys(COUNTS, 0), "input_tokens": 3}
        return self.service.append_message(self.session_id, "user", "Three", message_id=self.usage_id, usage=counted)

    def deleted(self):
        self.service.delete(self.session_id)

    def imported_and_deleted(self):
        """Its messages are gone; its token usage is where it is imported again."""
        self.service.delete(self.service.import_session(io.BytesIO(self.archive)).session_id)

    def archived(self, read):
        """What an export reads; an export itself is not run again, because its file has a part of it already."""
        mine, session = Selection("default", session_ids=(self.session_id,)), self.service.get(self.session_id)
        return self.database.read(lambda unit: read(ArchiveRepository(unit.connection), mine, session))


def batch():
    usage = {"input_tokens": 7, "cost": "0.5"}
    return [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two", "usage": usage, "model": "small"},
    ]


def nothing(_ledger):
    pass


# What a call needs first, and the call.
READS = {
    "get": (nothing, lambda it: it.service.get(it.session_id)),
    "find": (nothing, lambda it: it.service.find(it.key)),
    "list": (nothing, lambda it: len(it.service.list(workspace="north-office", limit=1))),
    "get_messages": (nothing, lambda it: it.service.get_messages(it.session_id, last=1)),
    "messages.count_for_session": (
        nothing,
        lambda it: it.database.read(lambda unit: unit.messages.count_for_session("default", it.session_id)),
    ),
    "archives.count": (nothing, lambda it: it.archived(lambda archives, mine, _: tuple(archives.count(mine)))),
    "archives.sessions": (nothing, lambda it: it.archived(lambda archives, mine, _: len([*archives.sessions(mine)]))),
    "archives.messages": (
        nothing,
        lambda it: it.archived(lambda archives, _, session: [each.content for each in archives.messages(session)]),
    ),
    "archives.usage_records": (
        nothing,
        lambda it: it.archived(lambda archives, _, session: len([*archives.usage_records(session)])),
    ),
    "archives.turn": (nothing, lambda it: it.archived(lambda archives, *_: archives.turn())),
    "sum_token_usage": (nothing, lambda it: it.service.sum_token_usage(session_id=it.session_id)),
}
WRITES = {
    "create": (nothing, lambda it: it.service.create(title="New", workspace="a new workspace")),
    "create by key": (nothing, lambda it: it.service.create(key=sessionledger.new_id())),
    "create after deletion": (Ledger.deleted, lambda it: it.service.create(key=it.key)),
    "get_or_create": (nothing, lambda it: it.service.get_or_create(sessionledger.new_id(), workspace="another")),
    "get_or_create again": (nothing, lambda it: it.service.get_or_create(it.key)),
    "update": (nothing, lambda it: it.service.update(it.session_id, title="Found")),
    "update at a version": (nothing, lambda it: it.service.update(it.session_id, title="Found", expected_version=1)),
    "delete": (nothing, lambda it: it.service.delete(it.session_id)),
    "append_message": (nothing, lambda it: it.service.append_message(it.session_id, "user", "Thank you")),
    "append_message at a sequence": (
        nothing,
        lambda it: it.service.append_message(it.session_id, "user", "Thank you", expected_sequence=1),
    ),
    "append_message again": (nothing, lambda it: it.service.append_message(it.session_id, **it.sent)),
    "append_messages": (nothing, lambda it: it.service.append_messages(it.session_id, batch())),
    "append_message whose usage is recorded": (nothing, Ledger.append_recorded),
    "import_session": (nothing, lambda it: it.service.import_session(io.BytesIO(it.archive))),
    "import_session as a copy": (nothing, lambda it: it.service.import_session(io.BytesIO(it.archive), as_copy=True)),
    "import_session after deletion": (
        Ledger.imported_and_deleted,
        lambda it: it.service.import_session(io.BytesIO(it.archive)),
    ),
    "import_sessions": (nothing, lambda it: it.service.import_sessions(io.BytesIO(it.archive))),
    "update_token_usage": (nothing, lambda it: it.service.update_token_usage(it.session_id, input_tokens=5)),
    "update_token_usage again": (
        nothing,
        lambda it: it.service.update_token_usage(it.session_id, input_tokens=3, usage_id=it.usage_id),
    ),
}


def plain(result):
    """A result without its ids and times."""
    if dataclasses.is_dataclass(result):
        values = dataclasses.asdict(result).items()
        return {name: value for name, value in values if name not in CHANGING}
    return [plain(each) for each in result] if isinstance(result, list) else result


def counts(context):
    return {table: len(rows) for table, rows in context.world.contents().items()}


def run(context, call, meeting):
    """Run a call on a ledger of its own while faults are met; what it gives, and how many rows it adds."""
    prepare, do = call
    ledger = Ledger(context)
    prepare(ledger)
    before = counts(context)
    with meeting:
        result = plain(do(ledger))
    after = counts(context)
    return result, {table: after[table] - before[table] for table in after}


@contextlib.contextmanager
def at_statement(context, number, fault):
    """Let the so-many-th statement meet a fault, once; it is noted which repository methods were running."""
    seen = 0

    def meet(connection, _cursor, _statement, _parameters, _execution_context, _many):
        nonlocal seen
        seen += 1
        if seen == number:
            context.met |= repository_methods_running()
            fault(connection)

    engine = context.world.engine_of(context.database)
    event.listen(engine, "before_cursor_execute", meet)
    try:
        yield lambda: seen
    finally:
        event.remove(engine, "before_cursor_execute", meet)
    context.faults += seen >= number


@contextlib.contextmanager
def at_commit(context, fault, *, done):
    """Let the first COMMIT, or statement that commits alone, meet a fault, before or after the database has done it."""
    engine, kind = context.world.engine_of(context.database), context.world.kind
    dialect, moment = engine.dialect, "after_cursor_execute" if done else "before_cursor_execute"
    commit, met = dialect.do_commit, []

    def meet_statement(connection, _cursor, statement, *_):
        if not met and kind.commits_alone(connection, statement):
            met.append(connection)
            raise fault(connection.connection)

    def meet(connection):
        if met:
            return commit(connection)
        met.append(connection)
        if done:
            commit(connection)
        raise fault(connection)

    dialect.do_commit = meet
    event.listen(engine, moment, meet_statement)
    try:
        yield
    finally:
        event.remove(engine, moment, meet_statement)
        dialect.do_commit = commit
    context.faults += len(met)


def undisturbed(context, call):
    """What a call gives and adds without a fault, and how many statements it takes."""
    with contextlib.ExitStack() as stack:
        meeting = at_statement(context, 0, None)
        seen = stack.enter_context(meeting)
        started = {}

        @contextlib.contextmanager
        def counted():
            started["at"] = seen()
            yield
            started["statements"] = seen() - started["at"]

        expected = run(context, call, counted())
    return expected, started["statements"]


def begin(context):
    context.database = context.world.database(**context.world.kind.impatient)
    context.met, context.faults, context.differences = set(), 0, []
    context.world.service_of(context.database).list()  # the schema has been looked at
    Ledger(context)  # and the workspace is there


def compare(context, name, place, expected, found):
    if found != expected:
        context.differences.append(f"{name}, {place}: {found} is not {expected}")


def at_every_statement(context, fault):
    begin(context)
    for name, call in (READS | WRITES).items():
        expected, statements = undisturbed(context, call)
        assert statements > 0, name
        for number in range(1, statements + 1):
            # A workspace is new once.
            context.world.kind.load(context.world.url, "DELETE FROM resources WHERE name <> 'north-office'")
            found = run(context, call, at_statement(context, number, fault))
            compare(context, name, f"statement {number} of {statements}", expected, found)
        context.world.kind.load(context.world.url, "DELETE FROM resources WHERE name <> 'north-office'")


@when("each call meets a busy database at each of its statements")
def busy_everywhere(context):
    def fault(_):
        raise context.world.kind.busy()

    at_every_statement(context, fault)


@when("each call meets a cut connection at each of its statements")
def cut_everywhere(context):
    at_every_statement(context, lambda connection: context.world.kind.cut(connection.connection.driver_connection))


@when("each writing call meets a COMMIT that is refused")
def refused_commits(context):
    meet_at_commits(context, lambda _: context.world.kind.busy(), done=False)


@when("each writing call meets a COMMIT whose answer is lost")
def lost_commits(context):
    meet_at_commits(context, lambda _: context.world.kind.lost(), done=True)


def cutting(context):
    """A fault at COMMIT that is real: the server ends the session, and the driver finds out."""

    def cut(connection):
        context.world.kind.cut(connection.driver_connection)
        connection.cursor().execute("SELECT 1")

    return cut


@when("each writing call meets a connection that is cut before COMMIT")
def cut_before_commits(context):
    meet_at_commits(context, cutting(context), done=False)


@when("each writing call meets a connection that is cut after COMMIT")
def cut_after_commits(context):
    meet_at_commits(context, cutting(context), done=True)


def meet_at_commits(context, fault, *, done):
    begin(context)
    for name, call in WRITES.items():
        context.world.kind.load(context.world.url, "DELETE FROM resources WHERE name <> 'north-office'")
        expected, _ = undisturbed(context, call)
        context.world.kind.load(context.world.url, "DELETE FROM resources WHERE name <> 'north-office'")
        faults = context.faults
        compare(context, name, "COMMIT", expected, run(context, call, at_commit(context, fault, done=done)))
        assert context.faults == faults + 1, f"{name} met no fault"


@when("a message is appended without retry and the answer to its COMMIT is lost")
def lost_without_retry(context):
    append_without_retry(context, lambda _: context.world.kind.lost())


@when("a message is appended without retry and its connection is cut after COMMIT")
def cut_without_retry(context):
    append_without_retry(context, cutting(context))


def append_without_retry(context, fault):
    context.database = context.world.database(retry_seconds=0)
    context.faults = 0
    service = context.world.service_of(context.database)
    context.session, context.message_id = service.create(), sessionledger.new_id()

    def append():
        return service.append_message(context.session.session_id, "user", "Hello", message_id=context.message_id)

    with at_commit(context, fault, done=True):
        context.world.attempt(append)
    context.again = append


@when("each call meets a busy database without a retry")
def busy_without_retry(context):
    begin(context)
    context.database = context.world.database(retry_seconds=0, **context.world.kind.impatient)
    context.world.service_of(context.database).list()
    context.refused = {}

    def fault(_):
        raise context.world.kind.busy()

    for name, (prepare, do) in (READS | WRITES).items():
        ledger = Ledger(context)
        prepare(ledger)
        with at_statement(context, 1, fault):
            context.world.attempt(lambda do=do, ledger=ledger: do(ledger))
        context.refused[name] = context.world.refusal(sessionledger.StorageUnavailableError)
        assert context.world.contents() == context.world.before, name


@when("a message is appended by a naive retry that mints its id again")
def naive_retry(context):
    context.database, context.faults = context.world.database(retry_seconds=0), 0
    service = context.world.service_of(context.database)
    context.session = service.create()

    def fault(_):
        error = context.world.kind.busy()
        error.args = ("the answer to COMMIT was lost",)
        return error

    with at_commit(context, fault, done=True):
        for _ in range(2):
            with contextlib.suppress(sessionledger.StorageError):
                service.append_message(context.session.session_id, "user", "Hello")
    assert context.faults == 1


@when("a message is appended, the answer to its COMMIT is lost and the database stays busy")
def lost_then_busy(context):
    context.database, context.faults = context.world.database(retry_seconds=0.3), 0
    service = context.world.service_of(context.database)
    context.session, context.message_id = service.create(), sessionledger.new_id()

    def append():
        return service.append_message(context.session.session_id, "user", "Hello", message_id=context.message_id)

    def fail_once_committed(*_):
        if committed():
            raise context.world.kind.busy()

    def committed():
        return len(context.world.contents()["session_messages"]) == 1

    engine = context.world.engine_of(context.database)
    event.listen(engine, "before_cursor_execute", fail_once_committed)
    try:
        with at_commit(context, lambda _: context.world.kind.lost(), done=True):
            context.world.attempt(append)
    finally:
        event.remove(engine, "before_cursor_execute", fail_once_committed)
    context.again = append


@when("work raises {which} of its own")
def work_raises(context, which):
    database = context.world.database()
    own = {"a RuntimeError": RuntimeError("mine"), "an error of SQLAlchemy's": InvalidRequestError("mine")}
    context.runs, context.own = [], own[which]

    def work(unit):
        context.runs.append(unit)
        raise context.own

    context.world.attempt(lambda: database.write(work))


@when("a message is appended to a database that stays busy, with a deadline of {seconds:f} seconds")
def stays_busy(context, seconds):
    options = context.world.kind.impatient
    context.database, context.deadline = context.world.database(retry_seconds=seconds, **options), seconds
    service = context.world.service_of(context.database)
    context.session, context.message_id = service.create(), sessionledger.new_id()
    context.tries = []

    def fail(*_):
        context.tries.append(time.monotonic())
        raise context.world.kind.busy()

    def append():
        context.began = time.monotonic()  # the deadline counts from here, not from the first statement
        return service.append_message(context.session.session_id, "user", "Hi", message_id=context.message_id)

    engine = context.world.engine_of(context.database)
    event.listen(engine, "before_cursor_execute", fail)
    try:
        context.world.attempt(append)
    finally:
        event.remove(engine, "before_cursor_execute", fail)
    context.ended = time.monotonic()


@then("each gives what it gives without a fault, and stores the same")
def gives_the_same(context):
    assert context.faults >= len(WRITES), context.faults
    assert not context.differences, "\n".join(context.differences)


@then("every method of every repository has met a fault")
def every_method(context):
    missed = repository_methods() - context.met - context.world.kind.not_called
    assert len(context.met) > 15
    assert not missed, f"no call here meets a fault in {sorted(missed)}"


@then("sending the same ids again gives the one stored message")
def same_ids_again(context):
    message = context.again()
    assert message.message_id == context.message_id
    assert context.world.service.get_messages(context.session.session_id) == [message]


@then("each of them is refused with StorageUnavailableError telling its ids")
def each_refused(context):
    assert set(context.refused) == set(READS | WRITES)
    for name, error in context.refused.items():
        assert error.retryable
        assert bool(error.ids) == (name in WRITES), f"{name}: {error.ids}"


@then("it is stored twice")
def stored_twice(context):
    assert [message.content for message in context.world.service.get_messages(context.session.session_id)] == [
        "Hello",
        "Hello",
    ]


@then("the work was run once")
def run_once(context):
    if "runs" in context:
        assert len(context.runs) == 1
    else:
        found = [statement for statement in context.world.statements if "INSERT INTO session_messages" in statement]
        inserts = [statement for statement in found if statement.startswith("INSERT")]
        assert len(inserts) == 1, inserts
        assert len(found) <= 2, found  # the other is an append in one statement, which does not tell why it was refused


@then("the same error comes out")
def same_error(context):
    assert context.world.refusal(type(context.own)) is context.own


@then("it was tried again until the deadline, and not much longer")
def until_the_deadline(context):
    assert len(context.tries) >= 3, context.tries
    took = context.ended - context.began
    assert context.deadline <= took < context.deadline + 3, took
