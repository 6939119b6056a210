"""Engines and surroundings that an application chooses: autocommit, another client encoding."""

import os
from unittest import mock

from behave import then, when
from sqlalchemy import create_engine, event

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
