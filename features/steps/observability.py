"""Steps about what is logged, and what values tell when they are printed."""

import contextlib
import io
import logging
import re
from concurrent.futures import ThreadPoolExecutor

from behave import given, then, when
from sqlalchemy import Engine, event

import sessionledger
from canaries import CONTENT, KEY, MARK, NOTE, TITLE, logged
from sessionledger.domain.content import canonical
from sessionledger.domain.models import UsageRecord, now
from sessionledger.infrastructure.database import UnitOfWork, dialects, schema
from sessionledger.infrastructure.database.engine import Call
from sessionledger.infrastructure.database.unit_of_work import no_work
from steps import retry
from steps.architecture import public
from steps.database_states import head
from steps.migrations import database_of

OLDER = "a7_001_session_persistence"


def every_method(service):
    """Call each public method once, with canaries; the session, and how often each was called."""
    session = service.create(key=KEY, title=TITLE, metadata={"note": NOTE})
    session_id, file = session.session_id, io.BytesIO()
    service.get(session_id)
    service.find(KEY)
    service.get_or_create(KEY, title=TITLE)
    service.list()
    service.update(session_id, title=f"{TITLE} else")
    service.append_message(session_id, "user", CONTENT)
    service.append_messages(session_id, [{"role": "user", "content": CONTENT}, {"role": "tool", "content": CONTENT}])
    service.get_messages(session_id)
    service.update_token_usage(session_id, input_tokens=5)
    service.sum_token_usage(session_id=session_id)
    service.export_session(session_id, file)
    service.export_sessions(io.BytesIO(), session_ids=[session_id])
    service.import_session(io.BytesIO(file.getvalue()))
    service.import_sessions(io.BytesIO(file.getvalue()))
    service.delete(session_id)
    return session


METHODS = set(public(sessionledger.SessionService)) - {"close"}


# The log


@given("the log is kept from {level:w} on")
def keep_log(context, level):
    context.records = context.world.stack.enter_context(logged(getattr(logging, level)))


def ours(context):
    for record in context.records:
        assert MARK not in record.getMessage().lower()
    return [record for record in context.records if record.name.startswith("sessionledger")]


@given("every public method is called once")
@when("every public method is called once")
def call_every_method(context):
    context.session = every_method(context.world.service)


@then("the log has a line for each export and each import, with its counts and digest, and no other")
def archives_logged(context):
    held = r"1 session\(s\), 3 message\(s\)"
    exported = rf"Exported {held}, \d{{4}} bytes, SHA-256 ([0-9a-f]{{64}})"
    found = [record.getMessage() for record in ours(context)]
    expected = [exported, exported, *[rf"Imported {held}, SHA-256 ([0-9a-f]{{64}})"] * 2]
    assert len(found) == len(expected), found
    told = [re.fullmatch(*each) for each in zip(expected, found, strict=True)]
    assert all(told), found
    assert len({each[1] for each in told}) == 1, found
    assert {record.name for record in ours(context)} == {"sessionledger.application.services.archives"}
    assert {record.levelname for record in ours(context)} == {"INFO"}


@contextlib.contextmanager
def busy_at_first(context, times, engine=None):
    """Let the first statements that go to a database fail, as if it were busy."""
    left = iter(range(times))

    def fail(*_):
        if next(left, None) is not None:
            raise context.world.kind.busy()

    engine = engine or context.world.engine_of(context.database)
    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)


@when("a message is appended and the database is busy {times:d} times")
def append_busy(context, times):
    context.database = context.world.database(**context.world.kind.impatient)
    service = context.world.service_of(context.database)
    service.list()
    context.message_id = sessionledger.new_id()
    with busy_at_first(context, times):
        service.append_message(context.session.session_id, "user", CONTENT, message_id=context.message_id)


@when("a message is appended and the answer to its first COMMIT is lost")
def append_lost(context):
    context.database, context.faults = context.world.database(), 0
    service = context.world.service_of(context.database)
    service.list()
    context.message_id = sessionledger.new_id()
    with retry.at_commit(context, lambda _: context.world.kind.lost(), done=True):
        service.append_message(context.session.session_id, "user", CONTENT, message_id=context.message_id)


ATTEMPT = re.compile(
    r"Attempt (?P<number>\d+) failed after (?P<seconds>\d+\.\d{3}) s: (?P<error>\w+), code (?P<code>\w+), "
    r"(?P<count>\d+) id\(s\) (?P<ids>\S+); (?P<then>.+)"
)


def attempts(context):
    """The lines about attempts, taken apart; there are no other lines."""
    records = ours(context)
    assert records
    assert {record.name for record in records} == {"sessionledger.infrastructure.database.retry"}
    found = [ATTEMPT.fullmatch(record.getMessage()) for record in records]
    assert all(found), [record.getMessage() for record in records]
    for number, match in enumerate(found, 1):
        assert (int(match["number"]), match["count"], match["ids"]) == (number, "1", context.message_id), match[0]
    levels = [record.levelname for record in records]
    return [(level, *match.group("error", "code", "then")) for level, match in zip(levels, found, strict=True)]


def busy_code(context):
    busy = context.world.kind.busy()
    return getattr(busy, "sqlstate", None) or busy.sqlite_errorname


@then("the log has {count:d} lines of an attempt that is tried again, with the code and the message's id")
def retries_logged(context, count):
    line = ("INFO", "StorageUnavailableError", busy_code(context), "trying again")
    assert attempts(context) == [line] * count, attempts(context)


@then("the last of its lines, one an attempt, is a warning that the call was given up")
def given_up(context):
    found, code = attempts(context), busy_code(context)
    assert len(found) == len(context.tries) >= 2, (found, context.tries)
    assert set(found[:-1]) == {("INFO", "StorageUnavailableError", code, "trying again")}, found
    assert found[-1] == ("WARNING", "StorageUnavailableError", code, "gave up"), found[-1]


@then("the log has one line, a warning of CommitOutcomeUnknownError with the message's id")
def unknown_logged(context):
    assert attempts(context) == [("WARNING", "CommitOutcomeUnknownError", "None", "trying again")], attempts(context)


@then("the log has one line, with the revision it had, the newest and the seconds it took")
def upgrade_logged(context):
    (record,) = ours(context)
    assert (record.name, record.levelname) == ("sessionledger.infrastructure.database.schema", "INFO")
    expected = rf"The schema went from revision {OLDER} to {head()} in \d+\.\d{{3}} s"
    assert re.fullmatch(expected, record.getMessage()), record.getMessage()


@when("it is upgraded while another upgrade runs")
def upgrade_waiting(context):
    """The other one is a transaction that holds the lock until the log says that it is waited for."""
    database = database_of(context)
    beside = dialects.dialect_of(database.engine).beside
    with ThreadPoolExecutor(1) as pool, context.world.kind.asked(context.world.url) as ask:
        ask(beside.take_lock)
        upgrade = pool.submit(schema.upgrade, database)
        while not ours(context):
            assert not upgrade.done(), upgrade.result()
        ask(beside.give_lock)
        upgrade.result()


@then("the log says once that it waited, and then what the upgrade did")
def waiting_logged(context):
    waited, went = (record.getMessage() for record in ours(context))
    assert waited == "Another upgrade is running; waiting up to 300 s for it", waited
    assert went.startswith(f"The schema went from revision {OLDER} to {head()}"), went


# Instrumentation of SQLAlchemy's


@given("SQLAlchemy is watched, with something hung on the context of each statement")
def watch_sqlalchemy(context):
    """As instrumentation does that begins a span before a statement, and ends it afterwards."""
    context.begun, context.ended_well, context.ended_badly = [], [], []

    def begin(_connection, _cursor, statement, _parameters, execution, _many):
        assert execution.dialect.paramstyle
        execution.span = statement
        context.begun.append(statement)

    def end(_connection, _cursor, _statement, _parameters, execution, _many):
        context.ended_well.append(execution.span)

    def fail(raised):
        context.ended_badly.append(raised.execution_context.span)
        assert raised.original_exception is not None

    for name, listener in {
        "before_cursor_execute": begin,
        "after_cursor_execute": end,
        "handle_error": fail,
    }.items():
        event.listen(Engine, name, listener)
        context.world.stack.callback(event.remove, Engine, name, listener)


@when("a message is appended that the database refuses")
def append_refused(context):
    once = """CREATE UNIQUE INDEX once ON session_messages (content) WHERE content = '"Once"'"""
    context.world.kind.load(context.world.url, once)
    service = context.world.service
    session_id = service.create().session_id
    service.append_message(session_id, "user", "Once")
    context.world.attempt(lambda: service.append_message(session_id, "user", "Once"))
    context.world.refusal(sessionledger.StorageError)


@then("each statement was seen to end with what was hung on it, and the refused one with its error")
def statements_seen(context):
    assert any(statement.startswith("SELECT") for statement in context.ended_well)
    assert any("INSERT INTO session_messages" in statement for statement in context.ended_well)
    assert context.ended_badly
    assert all("INSERT INTO session_messages" in statement for statement in context.ended_badly), context.ended_badly
    assert sorted(context.begun) == sorted(context.ended_well + context.ended_badly)


# Values that are printed


@then("the repr of every value, service, database and engine tells no content")
def reprs_tell_nothing(context):
    service, database = context.world.service, context.world.database()
    session = service.create(key=KEY, title=TITLE, metadata={"note": NOTE}, actor_name=f"{MARK}actor")
    draft = {"content": CONTENT, "metadata": {"note": NOTE}, "tool_call_id": f"{MARK}call"}
    message = service.append_message(session.session_id, "user", **draft)
    file = io.BytesIO()
    printed = {
        "a session": session,
        "a message": message,
        "a message of parts": sessionledger.NewMessage(role="user", content=[{"type": "text", "text": CONTENT}]),
        "a new message": sessionledger.NewMessage(role=CONTENT, message_id=CONTENT, **draft),
        "a page": service.list(),
        "messages": service.get_messages(session.session_id),
        "a receipt": service.export_session(session.session_id, file),
        "an object": canonical("content", {CONTENT: CONTENT}),
        "a record": UsageRecord(sessionledger.new_id(), sessionledger.TokenUsage(), now()),
        "a service": getattr(service, "awaiting", service),
        "a database": getattr(database, "awaiting", database),
        "an engine": context.world.engine_of(database),
        "a call": Call(database.dialect, no_work, writes=True, ids=(message.message_id,)),
        "a unit of work": database.read(lambda unit: unit),
    }
    assert isinstance(printed["a unit of work"], UnitOfWork)
    told = {name: f"{value!r} {value}" for name, value in printed.items()}
    assert not [f"{name}: {text}" for name, text in told.items() if MARK in text.lower()]
    assert session.session_id in told["a session"]
    assert message.message_id in told["a message"]
    assert f"<{len(CONTENT)} characters>" in told["a message"]
    assert "<list of 1>" in told["a message of parts"]


@then("values that are equal have equal reprs, and are told apart by their fields")
def values_compare(context):
    one, other = (sessionledger.NewMessage(role="user", content=text) for text in (CONTENT, CONTENT[::-1]))
    assert one == sessionledger.NewMessage(role="user", content=CONTENT) != other
    assert repr(one) == repr(other)
    assert one.content == CONTENT
