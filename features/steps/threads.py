"""Callers that await an embedded database: the threads that serve them."""

import asyncio
import gc
import io
import threading
import time

from behave import given, then, when
from sqlalchemy import text
from sqlalchemy.pool import AsyncAdaptedQueuePool

import sessionledger
from cancelling import cancelled_at, held, held_at, turns
from forks import in_forks
from sessionledger.application.services import AsyncPersistentSessionService
from sessionledger.infrastructure.database import threads
from sessionledger.infrastructure.database.aio import AsyncDatabase
from steps.architecture import python
from steps.cancellation import SOON, append, asynchronous, cancel_at_each, given_back, measure_cancel

FOR_EVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def append_with(service, context, message_id=None):
    return service.append_message(context.session.session_id, "user", "Hello", message_id=message_id)


@when("an append is cancelled while the one before it is at its COMMIT")
@asynchronous
async def cancel_not_begun(context):
    context.first_id = sessionledger.new_id()
    with held(context.engine) as gate:
        first = asyncio.create_task(append_with(context.service, context, context.first_id))
        await gate.reached.wait()
        task = asyncio.create_task(append(context))
        await turns()
        await measure_cancel(context, task)
        context.waits = not first.done()
        gate.opened.set()
        context.stored_first = await first
    context.after = await context.service.get_messages(context.session.session_id)


@then("the cancel comes out while that COMMIT still waits")
def comes_out_first(context):
    [ended] = context.outcomes
    assert isinstance(ended, asyncio.CancelledError), repr(ended)
    assert context.waits
    assert context.took < threads.ROLLBACK_SECONDS, context.took  # which is for calls that have begun


@then("only the one before it is stored")
def only_the_first(context):
    another = context.world.run(append_with(context.service, context))  # the thread has done with what was cancelled
    stored = sorted(row["message_id"] for row in context.world.contents()["session_messages"])
    assert stored == sorted([context.first_id, another.message_id]), stored
    assert context.after == [context.stored_first]


@when("a write that would run for ever is cancelled")
@asynchronous
async def cancel_for_ever(context):
    def work(unit):
        unit.connection.execute(text("UPDATE sessions SET title = 'Never'"))
        return unit.connection.execute(text(FOR_EVER)).all()

    began = time.monotonic()
    ended, begun = await cancelled_at(context.engine, 3, context.database.awaiting.write(work))
    context.took = time.monotonic() - began
    assert begun == 3, begun
    context.outcomes.append(ended)
    assert context.engine.pool.checkedout() == 0
    assert context.world.contents() == context.before


@then("a writer on another connection gets in")
@asynchronous
async def gets_in(context):
    other = AsyncPersistentSessionService(AsyncDatabase(context.world.url, retry_seconds=0))
    async with asyncio.timeout(SOON):
        assert (await append_with(other, context)).sequence == 1
    await other.close()


@given("{sessions:d} sessions of {messages:d} messages each to import")
def to_import(context, sessions, messages):
    elsewhere = context.world.connect(context.world.fresh())
    for _ in range(sessions):
        batch = [{"role": "user", "content": f"Message {number}"} for number in range(messages)]
        elsewhere.append_messages(elsewhere.create().session_id, batch)
    context.to_import = io.BytesIO()
    elsewhere.export_sessions(context.to_import)


@when("an import is cancelled at each of its statements")
@asynchronous
async def cancel_import(context):
    last = []

    def call():
        last.append(context.service.import_sessions(io.BytesIO(context.to_import.getvalue())))
        return last[-1]

    await cancel_at_each(context, call)
    assert len(context.outcomes) >= 5, context.outcomes
    receipts = context.world.contents()["sessions"]
    assert len(receipts) == 4, receipts
    for row in receipts:
        if row["session_id"] != context.session.session_id:
            await context.service.delete(row["session_id"])


@when("an event loop ends in the middle of an append")
def loop_ends(context):
    service = AsyncPersistentSessionService(context.database.awaiting)

    async def end_early():
        with held_at(context.engine, 2) as gate:
            appending = asyncio.create_task(append_with(service, context, context.message_id))
            await gate.reached.wait()
            gate.opened.set()
            return appending  # which the end of the loop cancels

    in_another_loop(end_early)


def in_another_loop(main):
    """Run it on an event loop of its own, in a thread, beside the scenario's."""
    ended = []
    thread = threading.Thread(target=lambda: ended.append(asyncio.run(main())))
    thread.start()
    thread.join(SOON * 10)
    assert ended, "the event loop did not end"
    return ended[0]


@then("nothing is stored, or the message once")
def at_most_once(context):
    context.world.run(given_back(context))
    stored = [row["message_id"] for row in context.world.contents()["session_messages"]]
    assert stored in ([], [context.message_id]), stored


@then("the message is stored once, also when it is sent again on another event loop")
def once_on_another(context):
    for _ in range(2):
        message = in_another_loop(lambda: append_with(context.service, context, context.message_id))
        assert message.sequence == 1
    assert len(context.world.contents()["session_messages"]) == 1


@when("one event loop after the other appends {count:d} messages")
def two_loops(context, count):
    async def main():
        return await asyncio.gather(*(append_with(context.service, context) for _ in range(count)))

    context.sent = [message for _ in range(2) for message in in_another_loop(main)]


@then("all {count:d} messages are there")
def all_there(context, count):
    found = context.world.run(context.service.get_messages(context.session.session_id))
    assert len(found) == count, found
    assert [each.sequence for each in found] == list(range(1, count + 1))
    assert {each.message_id for each in found} == {each.message_id for each in context.sent}


@when("it is closed and a message appended")
@asynchronous
async def closed_and_used(context):
    await context.service.close()
    async with asyncio.timeout(SOON):
        await append(context)


@when("each of {forks:d} forks appends {count:d} messages with it, and so does the process itself")
def fork(context, forks, count):
    async def main():
        return [await append_with(context.service, context) for _ in range(count)]

    results = in_forks(forks, lambda _: in_another_loop(main))
    wrong = [result for result in results if isinstance(result, BaseException)]
    assert not wrong, wrong
    context.sent = [message for result in results for message in result] + context.world.run(main())


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "sessionledger"]


def until_few(before, most):
    """Wait until so many threads are left, and give how many there are."""
    deadline = time.monotonic() + SOON
    while (left := len(set(ours()) - before)) > most and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


@when("{count:d} databases are used, and {closed:d} of them is closed and {forgotten:d} forgotten")
@asynchronous
async def use_some(context, count, closed, forgotten):
    gc.collect()
    before = set(ours())
    databases = [AsyncDatabase(context.world.url) for _ in range(count)]
    for database in databases:
        service = AsyncPersistentSessionService(database)
        await service.get((await service.create()).session_id)
    context.of_each = len(set(ours()) - before) / count
    context.kept = databases[closed + forgotten :]
    for database in databases[:closed]:
        await database.close()
    del databases, database, service
    gc.collect()
    context.left = await asyncio.to_thread(until_few, before, context.of_each * len(context.kept))
    for database in context.kept:
        await database.close()


@then("the threads of {count:d} database are left")
def threads_left(context, count):
    assert context.of_each == threads.READERS + 1, context.of_each
    assert len(context.kept) == count
    assert context.left == context.of_each * count, context.left


ENDS = """
import asyncio, sessionledger
async def main():
    service = await sessionledger.connect_async({url!r})
    await service.append_message({session_id!r}, "user", "Hello")
    return service
service = asyncio.run(main())
print(1)
"""


@when("Python ends while an AsyncDatabase is open")
def python_ends(context):
    context.ended = python(ENDS.format(url=context.world.url, session_id=context.session.session_id))


@when("a file is opened with a pool for callers that await, and a message appended")
def own_pool(context):
    service = context.world.connect(poolclass=AsyncAdaptedQueuePool)
    context.message = service.append_message(service.create().session_id, "user", "Hello")


@then("it is the first of its session")
def is_first(context):
    assert context.message.sequence == 1
