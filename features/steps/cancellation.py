"""Cancels: before COMMIT, during it, and while connections are opened."""

import asyncio
import contextlib
import io
import time
from unittest import mock

from behave import given, then, when
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

import sessionledger
from cancelling import TURNS, cancelled_at, held, leaks_noted, outcome, turns
from sessionledger.application.services import AsyncPersistentSessionService
from sessionledger.infrastructure.database import aio, threads
from sessionledger.infrastructure.database.aio import AsyncDatabase

SOON = 3


def asynchronous(step):
    """A step that awaits, on the scenario's event loop."""

    def run(context, *arguments, **named):
        context.world.run(step(context, *arguments, **named))

    return run


def append(context, service=None, **values):
    content = values.pop("content", "Hello")
    service = service or context.service
    return service.append_message(context.session.session_id, "user", content, message_id=context.message_id, **values)


def watch(context, engine):
    """Note which connection of the driver each call is given."""
    event.listen(engine, "checkout", lambda _adapted, record, _: context.used.append(record.driver_connection))


@given("a session on a database with one warm connection")
def warm(context):
    warm_up(context, context.world.database())


@given("an append is a transaction of several statements")
def in_transactions(context):
    """Where the database takes it as one, its engine is told to begin transactions."""
    warm_up(context, context.world.database(**context.world.kind.transactions))


@given("they are on an engine of the application's own")
def on_own_engine(context):
    warm_up(context, context.world.database(context.world.own_engine()))


def warm_up(context, database):
    context.database, context.engine = database, context.world.engine_of(database)
    blocking = context.world.service_of(database)
    context.session, context.message_id, context.used = blocking.create(), sessionledger.new_id(), []
    context.service = blocking.awaiting
    watch(context, context.engine)
    blocking.get_messages(context.session.session_id)
    context.first = context.used[0]
    context.outcomes, context.found = [], []
    context.before = context.world.contents()


@contextlib.contextmanager
def bound(name, seconds):
    """Let a cancel wait for so long, wherever the work runs."""
    with mock.patch.object(aio, name, seconds), mock.patch.object(threads, name, seconds):
        yield


async def cancel_at_each(context, call, after=None):
    for number in range(1, 100):
        ended, begun = await cancelled_at(context.engine, number, call())
        if begun < number:
            break
        context.outcomes.append(ended)
        context.found.append(context.world.contents())
        if after is not None:
            await after()
    assert len(context.outcomes) == number - 1 > 0, context.outcomes
    assert not isinstance(ended, BaseException), ended


@when("an append is cancelled at each of its statements")
@asynchronous
async def append_at_each(context):
    await cancel_at_each(context, lambda: append(context))


@when("a read is cancelled at each of its statements")
@asynchronous
async def read_at_each(context):
    await cancel_at_each(context, lambda: context.service.get_messages(context.session.session_id))


@when("an append is cancelled at each of its statements and the error is kept")
@asynchronous
async def append_at_each_and_keep(context):
    other = context.world.service_of(context.world.database()).awaiting
    context.waited = []

    async def let_in():
        began = time.monotonic()
        async with asyncio.timeout(SOON):
            await other.append_message(context.session.session_id, "user", "And I?")
        context.waited.append(time.monotonic() - began)

    await cancel_at_each(context, lambda: append(context), let_in)


async def cancel_during(context, gate, *, repeat=False):
    """Cancel an append that has come to its COMMIT, and let the COMMIT go on a while later."""
    task = asyncio.create_task(append(context))
    await gate.reached.wait()
    for _ in range(TURNS):
        if repeat or not task.cancelling():
            task.cancel()
        await turns(1)
    context.waits = not task.done()
    gate.opened.set()
    context.outcomes.append(await outcome(task))


@when("an append is cancelled during its COMMIT, {moment} the database has done it")
@asynchronous
async def cancel_during_commit(context, moment):
    with held(context.engine, done=moment == "after") as gate:
        await cancel_during(context, gate)


@when("an append is cancelled at every turn of the loop during its COMMIT")
@asynchronous
async def cancel_again_and_again(context):
    with held(context.engine) as gate:
        await cancel_during(context, gate, repeat=True)


@when("an append is cancelled during a COMMIT that fails")
@asynchronous
async def cancel_during_failing_commit(context):
    with held(context.engine, fault=context.world.kind.busy()) as gate:
        await cancel_during(context, gate)


@when("an append is cancelled during a COMMIT that does not end")
@asynchronous
async def cancel_without_end(context):
    with held(context.engine) as gate, bound("COMMIT_SECONDS", 0.2):
        task = asyncio.create_task(append(context))
        await gate.reached.wait()
        await measure_cancel(context, task)
        await given_back(context)


@when("an append is cancelled during a COMMIT that takes long")
@asynchronous
async def cancel_during_long_commit(context):
    with held(context.engine) as gate, bound("COMMIT_SECONDS", 0.2):
        task = asyncio.create_task(append(context))
        await gate.reached.wait()
        await measure_cancel(context, task)
        gate.opened.set()
        await given_back(context)


@when("an append is cancelled before COMMIT and its rollback takes long")
@asynchronous
async def long_rollback(context):
    with held(context.engine, what="do_rollback") as gate, bound("ROLLBACK_SECONDS", 0.2):
        began = time.monotonic()
        ended, _ = await cancelled_at(context.engine, 2, append(context))
        context.took = time.monotonic() - began
        context.outcomes.append(ended)
        gate.opened.set()
        await given_back(context)


async def given_back(context):
    """Wait until what outlives a cancelled call is over."""
    async with asyncio.timeout(15):
        while context.engine.pool.checkedout():  # noqa: ASYNC110 - the pool has no event for it
            await asyncio.sleep(0.01)


async def measure_cancel(context, task):
    began = time.monotonic()
    task.cancel()
    context.outcomes.append(await outcome(task))
    context.took = time.monotonic() - began


@when("an append that waits for another writer's lock is cancelled")
@asynchronous
async def cancel_waiting(context):
    with context.world.kind.in_state("that is locked", context.world.url):
        began = time.monotonic()
        ended, _ = await cancelled_at(context.engine, 1, append(context))
        context.took = time.monotonic() - began
    context.outcomes.append(ended)
    await given_back(context)


@when("{what} on a cold database is cancelled ever later, until it ends first")
@asynchronous
async def cancel_cold(context, what):
    context.pools, seconds, ended = [], 0.0, None
    with leaks_noted() as context.leaks:
        while seconds < SOON and (ended is None or isinstance(ended, asyncio.CancelledError)):
            database = AsyncDatabase(context.world.url)
            service = AsyncPersistentSessionService(database)
            call = append(context, service) if what == "an append" else service.get(context.session.session_id)
            task = asyncio.create_task(call)
            await asyncio.sleep(seconds)
            task.cancel()
            ended = await outcome(task)
            context.pools.append(database.sync_engine.pool.checkedout())
            context.outcomes.append(ended)
            await database.close()
            seconds = seconds * 1.05 + 0.0002
    context.last = context.outcomes.pop()


@when("a read and an export are cancelled as soon as they have a connection, on a busy loop")
@asynchronous
async def cancel_busy(context):
    def keep_busy(*_):
        time.sleep(0.02)  # a driver that has kept the loop busy for some milliseconds gives way where it would not

    context.pools = []
    event.listen(context.engine, "checkout", keep_busy)
    with leaks_noted() as context.leaks:
        session_id = context.session.session_id
        for call in (
            context.service.get_messages(session_id),
            context.service.export_session(session_id, io.BytesIO()),
        ):
            ended, begun = await cancelled_at(context.engine, 1, call, "checkout")
            assert begun == 1
            context.outcomes.append(ended)
            context.found.append(context.world.contents())
            context.pools.append(context.engine.pool.checkedout())
    event.remove(context.engine, "checkout", keep_busy)


@when("an append through SQLAlchemy alone is cancelled during its COMMIT, before the database has done it")
@asynchronous
async def cancel_alone(context):
    async def alone():
        async with AsyncEngine(context.engine).connect() as connection:
            joined = AsyncPersistentSessionService(await AsyncDatabase.joined(connection))
            await append(context, joined)
            await connection.commit()

    with held(context.engine) as gate:
        task = asyncio.create_task(alone())
        await gate.reached.wait()
        task.cancel()
        context.outcomes.append(await outcome(task))
        context.waits = gate.opened.is_set()


@then("each cancel comes out and nothing is stored")
def each_comes_out(context):
    assert context.outcomes
    assert all(isinstance(ended, asyncio.CancelledError) for ended in context.outcomes), context.outcomes
    assert len(context.found) == len(context.outcomes)
    assert all(found == context.before for found in context.found), context.found


@then("each cancel comes out, with the message stored once or not at all")
def each_comes_out_final(context):
    """A statement that commits by itself is done, or is not, when the cancel gets to the server."""
    assert context.outcomes
    assert all(isinstance(ended, asyncio.CancelledError) for ended in context.outcomes), context.outcomes
    assert len(context.found) == len(context.outcomes)
    for found in context.found:
        stored = [row["message_id"] for row in found["session_messages"]]
        assert stored in ([], [context.message_id]), stored
        assert [row["last_sequence"] for row in found["sessions"]] == [len(stored)]


@then("each cancel comes out, and whatever has not ended stores nothing")
def each_comes_out_cold(context):
    assert len(context.outcomes) > 3, context.outcomes
    assert all(isinstance(ended, asyncio.CancelledError) for ended in context.outcomes)
    assert not isinstance(context.last, BaseException), repr(context.last)
    assert len(context.world.contents()["session_messages"]) <= 1


@then("every call has used the one connection")
def one_connection(context):
    context.world.run(context.service.get_messages(context.session.session_id))
    assert len(context.used) > 1
    assert all(used is context.first for used in context.used), context.used
    assert context.engine.pool.checkedout() == 0


@then("a writer on another connection gets in at once after each")
def gets_in(context):
    assert len(context.waited) == len(context.outcomes)
    assert all(isinstance(ended, asyncio.CancelledError) for ended in context.outcomes), context.outcomes
    assert max(context.waited) < SOON, context.waited


@then("the cancel waits for the COMMIT and comes out")
def waits_and_comes_out(context):
    assert context.waits
    each_is_a_cancel(context)


@then("the cancel comes out before the COMMIT has ended")
def does_not_wait(context):
    assert not context.waits
    each_is_a_cancel(context)


def each_is_a_cancel(context):
    [ended] = context.outcomes
    assert isinstance(ended, asyncio.CancelledError), repr(ended)


@then("the message is stored once, also when it is sent again")
def stored_once(context):
    stored = context.world.contents()["session_messages"]
    assert [row["message_id"] for row in stored] == [context.message_id], stored
    again = context.world.run(append(context))
    assert again.sequence == 1
    assert context.world.contents()["session_messages"] == stored


@then("sending it again stores it once")
def sent_again(context):
    assert context.world.contents()["session_messages"] == []
    context.world.run(append(context))
    stored_once(context)


@then("the cancel comes out at the bound of {seconds:f} seconds")
def at_the_bound(context, seconds):
    each_is_a_cancel(context)
    assert seconds <= context.took < seconds + SOON, context.took


@then("the cancel comes out at once")
def at_once(context):
    each_is_a_cancel(context)
    assert context.took < SOON, context.took


@then("the connection is given up")
def given_up(context):
    context.used.clear()
    context.world.run(context.service.get_messages(context.session.session_id))
    assert context.used
    assert all(used is not context.first for used in context.used), context.used


@then("the pool has all its connections")
def pool_is_whole(context):
    assert context.engine.pool.checkedout() == 0


@then("the next append is one statement")
def one_statement(context):
    context.world.statements.clear()
    context.world.run(append(context))
    [statement] = context.world.statements
    assert "INSERT INTO session_messages" in statement, statement


@then("the next append is as isolated as any")
def as_isolated(context):
    levels = []

    def note(connection, *_):
        levels.append(connection.get_isolation_level())

    context.world.run(append(context))
    event.listen(context.engine, "commit", note)
    context.message_id = sessionledger.new_id()
    context.world.run(append(context))
    [level] = levels
    assert level == context.engine.dialect.default_isolation_level, level


@then("no connection is left to the garbage collector")
def none_left(context):
    assert not context.leaks, context.leaks
    assert context.pools, "nothing was cancelled"
    assert not any(context.pools), context.pools
