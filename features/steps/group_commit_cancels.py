"""Cancels of appends that are committed together."""

import asyncio
import contextlib
from unittest import mock

from behave import then, when

from cancelling import Gate, at
from sessionledger.application.services import group_commit
from steps.cancellation import SOON, asynchronous
from steps.group_commit import ids_of, new, stored


@contextlib.contextmanager
def gated(context, count):
    """Gates at the first COMMITs, one for each."""
    gates = [Gate() for _ in range(count)]
    ahead = list(gates)

    def hold(do, connection):
        if ahead:
            ahead.pop(0).pass_through()
        do(connection)

    with at(context.engine, "do_commit", hold):
        yield gates


async def come(context, count, first=0):
    """Let so many append, one after the other; the steps below are on the loop already."""
    tasks = []
    for number in range(first, first + count):
        context.sent.append((context.sessions[0], [new(f"Message {number}")]))
        tasks.append(asyncio.create_task(context.callers.service.append_messages(*context.sent[-1])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def cancel(context, task, gate, *, early):
    """Cancel it, see whether it comes out while the COMMIT is held, and let that go."""
    task.cancel()
    await asyncio.wait([task], timeout=SOON if early else 0.05)
    context.early = task.done()
    gate.opened.set()


async def cancelled(context, tasks, number, gates, *, held, early):
    context.cancelled = number
    for gate in gates[:held]:
        await gate.reached.wait()
        gate.opened.set()
    await gates[held].reached.wait()
    await cancel(context, tasks[number], gates[held], early=early)
    for gate in gates[held:]:
        gate.opened.set()
    context.outcomes = await asyncio.gather(*tasks, return_exceptions=True)


@when("one that waits for the COMMIT of another append is cancelled")
@asynchronous
async def cancel_waiting(context):
    with gated(context, 1) as gates:
        await cancelled(context, await come(context, 4), 2, gates, held=0, early=True)


@when("one in a group is cancelled at the group's COMMIT")
@asynchronous
async def cancel_in_group(context):
    with gated(context, 2) as gates:
        await cancelled(context, await come(context, 4), 2, gates, held=1, early=False)


@when("one in a group is cancelled at a COMMIT that takes longer than a cancel waits")
@asynchronous
async def cancel_bounded(context):
    with gated(context, 2) as gates, mock.patch.object(group_commit, "COMMIT_SECONDS", 0.05):
        await cancelled(context, await come(context, 4), 2, gates, held=1, early=True)


@when("the one that came first is cancelled at its COMMIT")
@asynchronous
async def cancel_first(context):
    with gated(context, 1) as gates:
        await cancelled(context, await come(context, 4), 0, gates, held=0, early=False)


@then("it has come out before that COMMIT")
def early(context):
    assert context.early


@then("it has come out after that COMMIT")
def late(context):
    assert not context.early


def stored_but(context, missing):
    for number, outcome in enumerate(context.outcomes):
        if number == context.cancelled:
            assert isinstance(outcome, (asyncio.CancelledError, KeyboardInterrupt)), repr(outcome)
        else:
            assert ids_of(outcome) == ids_of(context.sent[number][1])
    expected = [ids_of(sent)[0] for number, (_, sent) in enumerate(context.sent) if number not in missing]
    assert list(stored(context)[context.sessions[0]]) == expected


@then("it is not stored, and all others are")
def not_stored(context):
    stored_but(context, {context.cancelled})


@then("it is stored, and so are all others")
def all_stored(context):
    stored_but(context, set())
