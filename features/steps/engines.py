"""Engines and surroundings that an application chooses: autocommit, another client encoding."""

import os
from unittest import mock

from behave import then, when
from sqlalchemy import create_engine, event, text

import sessionledger
from sessionledger.infrastructure.database import Database, schema
from steps.migrations import database_of

TEXT = "Gdzie jest moja paczka? żółć 📦"


class HalfWayError(Exception):
    """A step of an upgrade that does not go on."""


@when("an upgrade on an engine that autocommits fails in the middle of {name}")
def fails_half_way(context, name):
    url = database_of(context).engine.url
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    context.world.stack.callback(engine.dispose)
    added = 0

    def fail(_connection, _cursor, statement, *_):
        nonlocal added
        added += statement.startswith("ALTER TABLE sessions ADD")
        if added == 2:
            raise HalfWayError

    event.listen(engine, "before_cursor_execute", fail)
    try:
        schema.upgrade(Database(engine), name)
    except HalfWayError:
        return
    raise AssertionError("the upgrade did not fail")


@when("a batch with token usage, on an application's engine that autocommits, fails at each of its statements")
def fails_on_autocommitting(context):
    world = context.world
    database = world.database(world.own_engine(isolation_level="AUTOCOMMIT"), retry_seconds=0)
    service, before = world.service_of(database), world.contents()
    service.list()  # the schema has been looked at
    batch = [{"role": "user", "content": "Hello", "usage": {"input_tokens": 5}} for _ in range(3)]
    context.found, number, begun = [], 0, 1
    while begun >= number:
        number, begun = number + 1, 0

        def fail(*_, at=number):
            nonlocal begun
            begun += 1
            if begun == at:
                raise world.kind.busy()

        event.listen(world.engine_of(database), "before_cursor_execute", fail)
        world.attempt(lambda: service.append_messages(context.session.session_id, batch))
        event.remove(world.engine_of(database), "before_cursor_execute", fail)
        if begun >= number:
            world.refusal(sessionledger.StorageUnavailableError)
            context.found.append(world.contents() == before)
    context.appended = world.result


@then("it was refused each time, with nothing stored")
def refused_each_time(context):
    assert len(context.found) >= 3, context.found
    assert all(context.found), context.found
    assert [message.sequence for message in context.appended] == [1, 2, 3]


@when("an application changes a session on our engine and raises before the end of its transaction")
def application_raises(context):
    def work(session):
        changed = session.execute(text("UPDATE sessions SET title = 'Mine'"))
        assert changed.rowcount == 1
        raise HalfWayError

    context.world.attempt(lambda: context.world.orm(context.world.database(), work))
    context.world.refusal(HalfWayError)


@when("a message of many alphabets is appended where PGCLIENTENCODING is {encoding}")
def append_elsewhere(context, encoding):
    with mock.patch.dict(os.environ, PGCLIENTENCODING=encoding):
        service = context.world.connect()
        session_id = service.create(title=TEXT).session_id
        service.append_message(session_id, "user", TEXT)
        context.read = (service.get(session_id).title, service.get_messages(session_id)[0].content)


@then("it comes back as it was")
def came_back(context):
    assert context.read == (TEXT, TEXT), context.read
    assert sessionledger.verify(context.world.url).found == {}
