"""Cancels that a caller does not send by itself: time-outs and task groups; and the context of a caller's task."""

import asyncio
import contextvars

from behave import then, when
from sqlalchemy import event

from cancelling import held, held_at, outcome, turns
from steps.cancellation import append, asynchronous

REQUEST = contextvars.ContextVar("request")


@when("an append times out during its COMMIT")
@asynchronous
async def timeout_during_commit(context):
    with held(context.engine) as gate:
        await attempt(context, in_time(context, gate))


async def in_time(context, gate):
    """Append, with a time-out once it has come to the gate."""
    async with asyncio.timeout(None) as limit:
        opening = asyncio.create_task(open_after(gate, limit))
        try:
            return await append(context)
        finally:
            await asyncio.shield(opening)


async def open_after(gate, limit):
    await gate.reached.wait()
    limit.reschedule(0)  # long ago
    await turns()
    gate.opened.set()


@when("an append times out before its COMMIT")
@asynchronous
async def timeout_before_commit(context):
    with held_at(context.engine, 2) as gate:
        await attempt(context, in_time(context, gate))


async def attempt(context, awaitable):
    """As `World.attempt`, on the loop that runs already."""
    ended = await outcome(asyncio.ensure_future(awaitable))

    def give():
        if isinstance(ended, BaseException):
            raise ended
        return ended

    context.world.attempt(give)
    context.world.before = context.before


@when("another task of the group fails while an append is during its COMMIT")
@asynchronous
async def group_fails(context):
    context.raised = []
    with held(context.engine) as gate:

        async def fail():
            await gate.reached.wait()
            raise LookupError("the other task's")

        async def open_later():
            await gate.reached.wait()
            await turns()
            gate.opened.set()

        opening = asyncio.create_task(open_later())
        try:
            async with asyncio.TaskGroup() as group:
                context.appending = group.create_task(append(context))
                group.create_task(fail())
        except ExceptionGroup as raised:
            context.raised = raised.exceptions
        await opening


@when("a message is appended with a context variable set")
@asynchronous
async def with_context(context):
    context.seen = []

    def note(*_):
        context.seen.append(REQUEST.get(None))

    event.listen(context.engine, "before_cursor_execute", note)
    event.listen(context.engine, "commit", note)
    REQUEST.set("request 4711")
    await append(context)


@then("only the other task's error comes out of the group")
def only_the_others(context):
    [error] = context.raised
    assert isinstance(error, LookupError), repr(error)
    assert context.appending.cancelled()


@then("every statement and the COMMIT see its value")
def see_its_value(context):
    assert len(context.seen) >= 3, context.seen
    assert set(context.seen) == {"request 4711"}, context.seen
