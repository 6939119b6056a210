"""Databases that cannot be used, and what the errors tell."""

import contextlib
import json
import logging
import stat
import traceback
from unittest import mock

from behave import given, register_type, then, when
from parse import with_pattern
from sqlalchemy import Engine

import sessionledger
from sessionledger.infrastructure.database import Database, revision, schema

FUTURE = "zz_001_future"
OLDER = "a7_001_session_persistence"
NEWER = {
    "that is newer than this release": "DELETE FROM sessionledger_compatible_revisions",
    "that is newer, and records nothing": "DROP TABLE sessionledger_compatible_revisions",
    "that is newer, and says so of other releases": (
        f"UPDATE sessionledger_compatible_revisions SET revision = '{FUTURE}' WHERE revision = '{revision.EXPECTED}'"
    ),
    "that is newer, and says that this release works with it": (
        f"INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('{FUTURE}')"
    ),
}
"""What a newer release's migrations have recorded of older ones."""


def migrated(url, target):
    with contextlib.closing(Database(url)) as database:
        schema.upgrade(database, target)


def current(url):
    with contextlib.closing(Database(url)) as database:
        return schema.current(database)


def head():
    return revision.EXPECTED


@with_pattern(r"(?:that|without|where) .+")
def state(written):
    return written


register_type(State=state)


@given("a database {state:State}")
def a_database(context, state):
    world = context.world
    context.options, context.usable = {}, True
    if state in {"that is empty", "that is older than this release", "that holds other tables of our names"}:
        world.url = world.empty()
        if state == "that is older than this release":
            migrated(world.url, OLDER)
        elif state == "that holds other tables of our names":
            world.kind.load(world.url, "CREATE TABLE sessions (id INTEGER)")
    elif state.startswith("that is newer"):
        world.kind.load(world.url, f"UPDATE sessionledger_revision SET version_num = '{FUTURE}'")
        world.kind.load(world.url, NEWER[state])
    elif state == "that refuses the same content twice":
        world.kind.load(world.url, "CREATE UNIQUE INDEX once ON session_messages (content)")
    else:
        context.usable = False
        world.url, context.options = world.stack.enter_context(world.kind.in_state(state, world.url))
        return
    context.was = world.contents()


@when("the database is connected to and written to")
def connect_and_write(context):
    def write():
        return context.world.connect(**context.options).create(metadata={"long": "x" * 60_000})

    context.world.attempt(write, usable=context.usable)


@when("it is verified")
def verify_missing(context):
    context.world.attempt(lambda: context.world.database().verify(), usable=False)


@given("a stored row that {fault}")
def unreadable(context, fault):
    faults = {
        "holds content that is no JSON": "UPDATE session_messages SET content = '{not JSON' WHERE sequence = 2",
        "holds metadata that is no JSON": "UPDATE sessions SET metadata = 'mail'",
        "holds a message's metadata that is no JSON": "UPDATE session_messages SET metadata = '{' WHERE sequence = 2",
    }
    context.world.kind.load(context.world.url, faults[fault])


@when("the session is read")
def read_session(context):
    service, session_id = context.world.service, context.session.session_id
    context.world.attempt(lambda: (service.get(session_id), service.get_messages(session_id)))


@when("a session is got while the pool's only connection is taken")
def pool_taken(context):
    database = context.world.database(pool_size=1, max_overflow=0, pool_timeout=0.1)
    with context.world.taken_connection(database):
        context.world.attempt(lambda: context.world.service_of(database).get(context.session.session_id))


@given("a ledger in memory")
def in_memory(context):
    context.ledger = context.world.connect("sqlite:///:memory:")


@when("every writer appends {count:d} messages to a session in it")
def append_in_memory(context, count):
    context.session = context.ledger.create()
    append = ("append_message", (context.session.session_id, "user", "Hello"), {})
    outcomes = context.world.at_once(context.ledger, [[append] * count for _ in range(8)])
    context.sent = [outcome for each in outcomes for outcome in each]


@then("the session has all of them, with the sequences 1 to n")
def all_in_memory(context):
    found = context.ledger.get_messages(context.session.session_id)
    assert [message.sequence for message in found] == list(range(1, len(context.sent) + 1))
    assert {message.message_id for message in found} == {message.message_id for message in context.sent}


@then("its file is still not there")
def file_not_there(context):
    assert not context.world.kind.path(context.world.url).exists()


@when("an engine of another kind of database is given")
def another_kind(context):
    engine = mock.create_autospec(Engine, instance=True)  # no driver for one is installed
    engine.dialect = mock.Mock()
    engine.dialect.name = "mysql"
    context.world.attempt(lambda: Database(engine))


@when("the database is verified")
@when("the scenario's database is verified")
def verify(context):
    context.world.attempt(lambda: context.world.database().verify())


@when('the URL "{url}" is connected to')
@when('the URL "" is connected to')
def connect_to(context, url=""):
    context.world.attempt(lambda: context.world.connect(url=url or " "))


@when('the message "{content}" is appended twice')
def append_twice(context, content):
    context.log = Log()
    logging.getLogger().addHandler(context.log)
    context.world.stack.callback(logging.getLogger().removeHandler, context.log)
    context.world.service.append_message(context.session.session_id, "user", content)
    context.message_id = sessionledger.new_id()
    session_id = context.session.session_id
    context.world.attempt(
        lambda: context.world.service.append_message(session_id, "user", content, message_id=context.message_id)
    )


@when('the content "{content}" is stored twice past the library')
def store_twice(context, content):
    columns = "message_id, session_id, sequence, role, content, created_at"
    for sequence in (1, 2):
        values = f"'{sequence}', '{context.session.session_id}', {sequence}, 'user', '{content}', '2026-01-01'"
        statement = f"INSERT INTO session_messages ({columns}) VALUES ({values})"
        context.world.attempt(lambda statement=statement: context.world.kind.load(context.world.url, statement))


class Log(logging.Handler):
    """Keeps what our own loggers say."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        if record.name.startswith("sessionledger"):
            self.lines.append(self.format(record))


@given("an engine of the application's own")
def own_engine(context):
    context.engine = context.world.own_engine()


@when("a service on it appends {count:d} messages and is closed")
def use_own_engine(context, count):
    service = context.world.service_of(context.world.database(context.engine))
    context.session = service.create()
    for number in range(count):
        service.append_message(context.session.session_id, "user", f"Message {number}")
    service.close()


@when("a message is appended twice under one id, and then another, with the engine's options {options}")
def append_autocommitting(context, options):
    service = context.world.service_of(context.world.database(**json.loads(options)))
    context.appended = [sessionledger.new_id(), sessionledger.new_id()]
    for message_id in (context.appended[0], *context.appended):
        service.append_message(context.session.session_id, "user", "Hello", message_id=message_id)


@then("both are there, with the sequences 1 and 2")
def both_numbered(context):
    found = context.world.service.get_messages(context.session.session_id)
    assert [(message.message_id, message.sequence) for message in found] == list(
        zip(context.appended, (1, 2), strict=True)
    ), found


@then("the engine still works")
def engine_works(context):
    service = context.world.service_of(context.world.database(context.engine))
    assert service.get(context.session.session_id).last_sequence == 3


@then("the messages are there")
def messages_are_there(context):
    found = context.world.service.get_messages(context.session.session_id)
    assert [message.content for message in found] == ["Message 0", "Message 1", "Message 2"]


@then('the error says "{words}"')
def error_says(context, words):
    assert words in str(context.error), context.error


def whole_text(error):
    """All that anybody may see of an error: its text, its facts, and what it was raised from."""
    seen = [repr(vars(error)), *traceback.format_exception_only(error)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(seen) + (whole_text(cause) if cause else "")


@then("the error tells no password")
def tells_no_password(context):
    assert "hunter2" not in whole_text(context.error), whole_text(context.error)


@then('the error tells no "{secret}"')
def tells_no(context, secret):
    assert secret not in whole_text(context.error), whole_text(context.error)


@then('the driver\'s error tells "{secret}"')
def driver_tells(context, secret):
    assert secret in str(context.world.refusal(Exception))


@then('the log tells no "{secret}"')
def log_tells_no(context, secret):
    assert not [line for line in context.log.lines if secret in line]


@then("the error tells the ids of the call")
def tells_ids(context):
    assert context.error.ids == (context.message_id,), context.error.ids


@then("the database is as it was")
def as_it_was(context):
    assert context.world.contents() == context.was


@then("it is at the newest revision")
def at_the_newest(context):
    assert isinstance(context.world.result, sessionledger.Session)
    assert current(context.world.url) == head()


@then("its file can be read and written by its owner only")
def owners_only(context):
    assert context.world.result.last_sequence == 0
    mode = stat.S_IMODE(context.world.kind.path(context.world.url).stat().st_mode)
    assert mode == 0o600, oct(mode)


@then("it is refused with SchemaRevisionError, found {found} and expected the newest revision")
def revision_refused(context, found):
    context.error = context.world.refusal(sessionledger.SchemaRevisionError)
    assert context.error.found == (None if found == "nothing" else found), context.error.found
    assert context.error.expected == head()


@then("it is accepted")
def accepted(context):
    assert context.world.succeeded
    assert context.world.result is None
    assert current(context.world.url) == head()
