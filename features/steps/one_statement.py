"""An append that a server takes as one statement, and what goes the long way instead."""

import asyncio
import contextlib
import dataclasses
import threading
from decimal import Decimal

import psycopg
from behave import given, then, when

import locks
import sessionledger
from cancelling import outcome
from sessionledger import TokenUsage
from sessionledger.domain.models import MAX_COUNT
from steps.cancellation import append, asynchronous, given_back, measure_cancel

NOBODY = sessionledger.new_id()
OURS = "%INSERT INTO session_messages"
COUNTED = dict.fromkeys(("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"), 0)
USAGE = {"input_tokens": 5, "output_tokens": 2, "cost": Decimal("0.01"), **COUNTED}
FULL = {"input_tokens": MAX_COUNT}
LONG = "x" * (3 * 1024 * 1024)


def message(content="Hello", **values):
    return {"role": "user", "content": content, **values}


def batch(*usages):
    return [message(f"Message {number}", usage=usage) for number, usage in enumerate(usages)]


@given("a session with 2 messages that has used tokens")
def used_session(context):
    service = context.world.service
    context.session = service.create()
    context.stored = service.append_messages(
        context.session.session_id,
        [message("First", usage=USAGE, message_id=sessionledger.new_id()), message("Second")],
    )
    context.recorded = sessionledger.new_id()
    service.update_token_usage(context.session.session_id, **USAGE, usage_id=context.recorded)
    context.database = context.world.database()
    context.world.service_of(context.database).list()  # the schema has been looked at


@given("a server that takes one statement badly")
def one_node_of_many(context):
    context.database = context.world.database()
    database = getattr(context.database, "awaiting", context.database)
    database.dialect = dataclasses.replace(database.dialect, commits_alone=lambda _: False)
    context.world.service_of(context.database).list()


def sent_before(context):
    """The stored messages as they were sent."""
    first, second = context.stored
    return [
        message("First", usage=USAGE, message_id=first.message_id), message("Second", message_id=second.message_id)
    ]  # fmt: skip


ONE = {
    "a message": lambda _: (message(), {}),
    "a message with token usage": lambda _: (message(usage=USAGE), {}),
    "a message expecting sequence 2": lambda _: (message(), {"expected_sequence": 2}),
    "a message expecting sequence 1": lambda _: (message(), {"expected_sequence": 1}),
    "a message for no session": lambda _: (message(), {"session_id": NOBODY}),
    "a message that was sent before": lambda it: (sent_before(it)[0], {}),
    "a message sent before with other content": lambda it: (sent_before(it)[0] | {"content": "Other"}, {}),
    "a message whose token usage was recorded before": lambda it: (message(usage=USAGE, message_id=it.recorded), {}),
    "a message whose id has other token usage": lambda it: (
        message(usage={"input_tokens": 6}, message_id=it.recorded), {}),
    "a message that takes a total too far": lambda _: (message(usage=FULL), {}),
}  # fmt: skip
MANY = {
    "a batch": lambda _: (batch(None, None, None), {}),
    "a batch, some of it with token usage": lambda _: (batch(USAGE, None, {"input_tokens": 7, "output_tokens": 0}), {}),
    "a batch with token usage expecting it": lambda _: (batch(None, USAGE), {"expected_sequence": 2}),
    "a batch expecting sequence 3": lambda _: (batch(USAGE, None), {"expected_sequence": 3}),
    "a batch of more than 4 MiB": lambda _: ([message(LONG), message(LONG, usage=USAGE)], {}),
    "a batch, one of whose usage was recorded before": lambda it: (
        [*batch(USAGE), message(usage=USAGE, message_id=it.recorded)], {}),
    "a batch that was sent before": lambda it: (sent_before(it), {}),
    "a batch of which a part was sent before": lambda it: ([*sent_before(it)[1:], message()], {}),
    "a batch that takes a total too far": lambda _: (batch(USAGE, FULL), {}),
}  # fmt: skip


@when("{what} is sent")
def send(context, what):
    service, session_id = context.world.service_of(context.database), context.session.session_id
    before = service.get(session_id).usage
    if what in ONE:
        values, named = ONE[what](context)
        named = {"session_id": session_id} | values | named
        context.world.attempt(lambda: [service.append_message(**named)])
        context.sent = [values]
    else:
        context.sent, named = MANY[what](context)
        context.world.attempt(lambda: service.append_messages(session_id, context.sent, **named))
    context.statements = list(context.world.statements)
    context.totals = before


def stored_behind(context):
    """The messages are there behind the others, and the totals are those of the ledger."""
    given_back = context.world.result
    service, session_id = context.world.service, context.session.session_id
    assert [each.content for each in given_back] == [each["content"] for each in context.sent]
    assert service.get_messages(session_id) == [*context.stored, *given_back]
    assert [each.sequence for each in given_back] == list(range(3, 3 + len(context.sent)))
    session = service.get(session_id)
    assert session.last_sequence == 2 + len(context.sent)
    new = [each for each in context.sent if each.get("usage") and each.get("message_id") != context.recorded]
    more = [TokenUsage.of(each["usage"]) for each in new]
    assert session.usage.input_tokens == context.totals.input_tokens + sum(each.input_tokens for each in more)
    assert session.usage.cost == context.totals.cost + sum(each.cost or 0 for each in more)
    [total] = service.sum_token_usage(session_id=session_id)
    assert total.usage == session.usage
    assert total.records == 2 + len(new), total
    rows = context.world.contents()["token_usage"]
    assert {row["message_id"] for row in rows if row["message_id"]} >= {
        stored.message_id
        for stored, each in zip(given_back, context.sent, strict=True)
        if each in new
    }  # fmt: skip


@then("it is stored behind the others, with its token usage, by one statement")
def by_one_statement(context):
    [statement] = context.statements
    assert "INSERT INTO session_messages" in statement
    assert ("INSERT INTO token_usage" in statement) == any(each["usage"] for each in context.sent if "usage" in each)
    stored_behind(context)


@then("it is stored behind the others, with its token usage, in a transaction")
def in_a_transaction(context):
    assert "BEGIN" in context.statements[:2], [each[:80] for each in context.statements]
    assert len(context.statements) > 2
    stored_behind(context)


@then("it gives the stored messages, and nothing has changed")
def gives_stored(context):
    assert context.world.result == context.stored[: len(context.sent)]
    assert context.world.contents() == context.world.before


@contextlib.contextmanager
def row_held(context):
    """Another writer that holds the session's row and stores nothing."""
    with psycopg.connect(context.world.url) as other:
        other.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [context.session.session_id])
        yield other
        other.rollback()


@when("a message is sent and its connection is ended while it waits for another writer")
def lost_while_running(context):
    send_and_lose(context)


@when("a message is sent without retry and its connection is ended while it waits for another writer")
def lost_without_retry(context):
    send_and_lose(context, retry_seconds=0)


def send_and_lose(context, **options):
    service, url = context.world.service_of(context.world.database(**options)), context.world.url
    service.list()
    context.message_id = sessionledger.new_id()
    with row_held(context) as other:

        def lose():
            locks.terminate(url, locks.waiting(url, OURS))
            other.rollback()

        losing = threading.Thread(target=lose)
        losing.start()
        context.world.attempt(
            lambda: service.append_message(context.session.session_id, "user", "Hi", message_id=context.message_id)
        )
        losing.join()


@when("{count:d} connections of a pool are ended by the server, and messages are sent without retry")
def end_pool(context, count):
    world = context.world
    database = world.database(retry_seconds=0)
    service, taken = world.service_of(database), contextlib.ExitStack()
    service.list()
    with taken:
        for _ in range(count):
            taken.enter_context(world.taken_connection(database))
    ended = locks.told(
        world.url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    assert len(ended) >= count, ended
    context.outcomes = []
    for number in range(count):
        world.attempt(lambda at=number: service.append_message(context.session.session_id, "user", f"Message {at}"))
        context.outcomes.append(world.result if world.succeeded else world.refusal(sessionledger.StorageError))


@then("the first of them is refused with CommitOutcomeUnknownError, and each one after it is stored")
def one_refused(context):
    first, *others = context.outcomes
    assert isinstance(first, sessionledger.CommitOutcomeUnknownError), first
    assert [message.sequence for message in others] == [3, 4, 5], others


@then("it is stored once, with the id that it was sent with")
def stored_once(context):
    found = context.world.service.get_messages(context.session.session_id)
    assert context.world.result == found[-1]
    assert [each.message_id for each in found] == [*(each.message_id for each in context.stored), context.message_id]


@when("an append is cancelled while it waits for another writer's row")
@asynchronous
async def cancel_at_row(context):
    with row_held(context):
        task = asyncio.create_task(append(context))
        await asyncio.to_thread(locks.waiting, context.world.url, OURS)
        await measure_cancel(context, task)
    await given_back(context)


@when("an append is cancelled while it waits for another append, which waits for another writer's row")
@asynchronous
async def cancel_at_append(context):
    other = context.world.service_of(context.world.database()).awaiting
    with row_held(context):
        first = asyncio.create_task(other.append_message(context.session.session_id, "user", "And I?"))
        beside = await asyncio.to_thread(locks.waiting, context.world.url, OURS)
        task = asyncio.create_task(append(context))
        await asyncio.to_thread(locks.waiting, context.world.url, OURS, beside=beside)
        await measure_cancel(context, task)
        assert not first.done()
    context.other = await outcome(first)
    await given_back(context)


@then("nothing of it is stored when the other writer is done")
def nothing_stored(context):
    assert context.world.contents() == context.before
    context.world.run(append(context))


@then("only the other append is stored when the other writer is done")
def only_the_other(context):
    stored = context.world.contents()["session_messages"]
    assert [row["message_id"] for row in stored] == [context.other.message_id], stored
