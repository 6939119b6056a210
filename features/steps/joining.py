"""Joining the caller's transaction."""

import io

from behave import given, then, when
from sqlalchemy import event, text

import sessionledger
from steps.sessions import NOBODY


@given("the caller's transaction, {transaction} of {engine}")
def callers_transaction(context, transaction, engine):
    world = context.world
    engine = world.database().engine if engine == "our engine" else world.own_engine()
    world.before = world.contents()
    through = "connection" if transaction == "a connection" else "session"
    context.engine = engine
    context.joined, context.transaction = world.stack.enter_context(world.callers_transaction(engine, through))


@given("a table of the application's own")
def own_table(context):
    context.world.kind.load(context.world.url, "CREATE TABLE orders (number INTEGER)")


@when("a message is appended in it")
@when("one more message is appended in it")
def append(context):
    context.sent = context.joined.append_message(context.session.session_id, "user", "Hello")


@when("the same message is appended in it again")
def append_again(context):
    session_id, message_id = context.session.session_id, context.sent.message_id
    context.answers = [
        context.sent,
        context.joined.append_message(session_id, "user", "Hello", message_id=message_id),
    ]


@when("a session is created, a message appended, the first session deleted and token usage added in it")
def do_everything(context):
    service = context.joined
    session = service.create(key="ticket/1", workspace="a new workspace")
    assert service.append_message(session.session_id, "user", "Hello").sequence == 1
    assert service.update_token_usage(session.session_id, input_tokens=3).input_tokens == 3
    service.delete(context.session.session_id)
    assert [each.session_id for each in service.list()] == [session.session_id]


@when("{failure} fails in it")
def fails(context, failure):
    service, session_id = context.joined, context.session.session_id
    usage_id = sessionledger.new_id()

    def other_counts():
        service.update_token_usage(session_id, input_tokens=0, usage_id=usage_id)
        service.update_token_usage(session_id, input_tokens=2, usage_id=usage_id)

    mixed = [
        {"role": "user", "content": "Hello", "message_id": context.sent.message_id},
        {"role": "user", "content": "New"},
    ]
    failures = {
        "an append expecting an outdated sequence": (
            lambda: service.append_message(session_id, "user", "Hello", expected_sequence=1),
            sessionledger.SequenceConflictError,
        ),
        "a batch of a stored and a new message": (
            lambda: service.append_messages(session_id, mixed),
            sessionledger.MessageConflictError,
        ),
        "an append to a session that does not exist": (
            lambda: service.append_message(NOBODY, "user", "Hello"),
            sessionledger.SessionNotFoundError,
        ),
        "token usage under a recorded id with other counts": (other_counts, sessionledger.UsageConflictError),
        "a session with an id that is taken": (
            lambda: service.create(session_id=session_id),
            sessionledger.SessionExistsError,
        ),
    }
    call, error = failures[failure]
    context.world.attempt(call, usable=False)
    context.world.refusal(error)


@when("the caller writes a row of its own")
def write_own_row(context):
    context.transaction.execute(text("INSERT INTO orders VALUES (4711)"))


@when("the session is exported and imported in it")
def export_and_import(context):
    file = io.BytesIO()
    context.joined.export_session(context.session.session_id, file)
    file.seek(0)
    imported = context.joined.import_session(file)
    context.imported_messages = context.joined.get_messages(imported.session_id)


@when("an append in it meets a busy database")
def meets_busy(context):
    context.runs = []

    def fail(_connection, _cursor, statement, *_):
        if "session_messages" in statement:
            context.runs.append(statement)
            raise context.world.kind.busy()

    engine = getattr(context.engine, "sync_engine", context.engine)
    event.listen(engine, "before_cursor_execute", fail)
    try:
        context.world.attempt(lambda: append(context), usable=False)
    finally:
        event.remove(engine, "before_cursor_execute", fail)


@when("the service that joined is closed")
def close_joined(context):
    context.joined.close()


@when("the caller commits")
def commit(context):
    context.transaction.commit()


@when("the caller rolls back")
def roll_back(context):
    context.transaction.rollback()


def seen_by_all(context):
    return len(context.world.service.get_messages(context.session.session_id))


@then("the caller's transaction sees {inside:d} messages and everybody else sees {outside:d}")
def seen_in_and_out(context, inside, outside):
    assert len(context.joined.get_messages(context.session.session_id)) == inside
    assert seen_by_all(context) == outside


@then("everybody sees {count:d} messages")
def seen(context, count):
    assert seen_by_all(context) == count
    rows = context.world.contents()["session_messages"]
    assert sorted(row["sequence"] for row in rows) == list(range(1, count + 1)), rows


@then("the application's table is empty")
def own_table_empty(context):
    assert context.world.contents()["orders"] == []
