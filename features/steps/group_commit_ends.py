"""Groups whose process, thread, event loop or service ends, or is interrupted; and many callers at once."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from behave import given, then, when
from sqlalchemy import NullPool, event

from forks import in_forks
from sessionledger.application.services import group_commit
from steps.cancellation import SOON
from steps.group_commit import SERVICES, call, commits_counted, ids_of, locked, new, serve, stored
from steps.threads import in_another_loop


def own(context):
    """The raw service on a database whose connections outlive no event loop."""
    serve(context, context.world.database(poolclass=NullPool))
    context.engine.dispose()
    return context.callers.service


async def send_all(context, service, count):
    """Begin so many appends."""
    for number in range(count):
        context.sent.append((context.sessions[0], [new(f"Message {number}")]))
    return [asyncio.create_task(service.append_messages(*sent)) for sent in context.sent]


@when("an event loop ends while appends wait, and another one begins")
def ends_waiting(context):
    service = own(context)

    async def main():
        with locked(context):
            await send_all(context, service, 4)
            await context.callers.until_waiting(3)

    in_another_loop(lambda: found(main()))
    begin_another(context, service)


@when("an event loop ends before the first of them is being committed, and another one begins")
def ends_before(context):
    service = own(context)
    in_another_loop(lambda: found(send_all(context, service, 4)))
    begin_another(context, service)


@when("an event loop ends and is closed without a word to its tasks, and another one begins")
def ends_closed(context):
    service = own(context)

    async def main():
        context.left = await send_all(context, service, 4)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def run():
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    begin_another(context, service)


async def found(awaited):
    await awaited
    return True


def begin_another(context, service):
    async def main():
        async with asyncio.timeout(SOON):
            return await service.append_messages(context.sessions[0], [new("Another")])

    [context.another] = in_another_loop(main)


@then("the service appends on the other one")
def on_the_other(context):
    assert stored(context)[context.sessions[0]][-1] == context.another.message_id


@then("each message of the first one is stored once when it is sent again")
def once_again(context):
    for session_id, sent in context.sent:
        context.world.service.append_messages(session_id, sent)
    expected = [context.another.message_id, *(each for _, sent in context.sent for each in ids_of(sent))]
    assert sorted(stored(context)[context.sessions[0]]) == sorted(expected)


class Held:
    """Holds what this process begins to append, at its first statement, until it is let go."""

    def __init__(self, context):
        self._process, self._go = os.getpid(), threading.Event()
        event.listen(context.engine, "before_cursor_execute", self._hold)
        context.world.stack.callback(event.remove, context.engine, "before_cursor_execute", self._hold)
        self.let_go = self._go.set

    def _hold(self, *_):
        if os.getpid() == self._process:
            self._go.wait(SOON * 10)


@when("the process is forked while appends wait, and threads of the fork append")
def fork(context):
    held = Held(context)
    for _ in range(4):
        call(context)
    service, [session_id] = context.callers.service, context.sessions

    def work(_):
        signal.alarm(SOON * 5)  # one that hangs is ended
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda each: service.append_messages(session_id, [new(each)]), range(24)))
        return [message for messages in found for message in messages]

    [context.forked] = in_forks(1, work)
    held.let_go()
    context.outcomes = context.callers.outcomes()


@then("every caller has its own messages, in the fork and out of it")
def in_both(context):
    assert isinstance(context.forked, list), context.forked
    outcomes = [message for messages in context.outcomes for message in messages]
    assert [ids_of(each) for each in context.outcomes] == [ids_of(sent) for _, sent in context.sent]
    every = sorted([*context.forked, *outcomes], key=lambda message: message.sequence)
    assert context.world.service.get_messages(context.sessions[0]) == every
    assert [message.sequence for message in every] == list(range(1, 29))


@when("the one that commits a group is interrupted")
def interrupt_leader(context):
    begun = []

    def interrupt(_connection, _cursor, statement, *_):
        if "INSERT INTO session_messages" in statement:
            begun.append(None)
            if len(begun) == 2:  # the group
                raise KeyboardInterrupt

    held = Held(context)
    event.listen(context.engine, "before_cursor_execute", interrupt)
    for _ in range(5):
        call(context)
    held.let_go()
    finish_interrupted(context, 1)
    event.remove(context.engine, "before_cursor_execute", interrupt)


def finish_interrupted(context, number):
    context.outcomes, context.cancelled = context.callers.outcomes(), number


@when("the first of those that wait is interrupted")
def interrupt_waiting(context):
    held = Held(context)
    call(context)
    mine = (context.sessions[0], [new("Mine")])
    context.sent.append(mine)

    def interrupt():
        context.callers.until(lambda: context.callers.waiting() == 1)
        call(context)
        call(context)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        told = context.callers.service.append_messages(*mine)  # in the main thread, which signals come to
    except KeyboardInterrupt as error:
        told = error
    thread.join()
    held.let_go()
    finish_interrupted(context, 1)
    context.outcomes.insert(1, told)


@when("the first of those that wait is interrupted as its turn has come")
def interrupt_next(context):
    wait, waited = group_commit._Waiting.wait, []  # noqa: SLF001 - no other moment is sure

    def interrupted(self, *arguments):
        wait(self, *arguments)
        if self.group and not waited:
            waited.append(None)
            raise KeyboardInterrupt

    with mock.patch.object(group_commit._Waiting, "wait", interrupted):  # noqa: SLF001
        held = Held(context)
        for _ in range(5):
            call(context)
        held.let_go()
        finish_interrupted(context, 1)
    assert waited


@then("it is interrupted, and all others have their messages")
def interrupted(context):
    for number, outcome in enumerate(context.outcomes):
        if number == context.cancelled:
            assert type(outcome) is KeyboardInterrupt, repr(outcome)
        else:
            assert ids_of(outcome) == ids_of(context.sent[number][1]), repr(outcome)
    others = [ids_of(outcome)[0] for outcome in context.outcomes if isinstance(outcome, list)]
    mine = ids_of(context.sent[context.cancelled][1])[0]
    found = stored(context)[context.sessions[0]]
    assert sorted(set(found) - {mine}) == sorted(others), found
    assert len(set(found)) == len(found)


@when("a service inside a caller's own transaction is to commit in groups")
def inside(context):
    service = SERVICES[context.world.mode]
    with context.world.callers_transaction(context.world.own_engine(), "connection") as (joined, _):
        database = getattr(joined, "awaiting", joined)._database  # noqa: SLF001 - the joined one
        context.world.attempt(lambda: service(database, group_commit=True))


@when('a service is opened with group_commit "yes"')
def yes(context):
    context.world.attempt(lambda: context.world.connect(group_commit="yes"))


@when("it is closed while appends wait")
def close(context):
    with locked(context):
        for _ in range(5):
            call(context)
        assert context.callers.waiting() == 4
        context.callers.call("close", in_group=False)
    *context.outcomes, closed = context.callers.outcomes()
    assert closed is None, repr(closed)


@given("{count:d} sessions, and a service that commits each append by itself")
def by_itself(context, count):
    context.sessions = [context.world.service.create().session_id for _ in range(count)]
    context.many = context.world.connect()
    context.commits = context.world.stack.enter_context(commits_counted(context.world.kind))


@when("each of {callers:d} callers appends {count:d} messages to one of them")
def many(context, callers, count):
    if "many" not in context:
        context.many = context.world.connect(group_commit=True)
    writers = [
        [("append_message", (context.sessions[caller % len(context.sessions)], "user", [caller, each]), {})
         for each in range(count)]
        for caller in range(callers)
    ]  # fmt: skip
    del context.commits[:]
    context.outcomes = context.world.at_once(context.many, writers)
    context.appends = callers * count


@then("nothing is lost, doubled or out of order")
def nothing_wrong(context):
    told = {session_id: [] for session_id in context.sessions}
    for caller, outcomes in enumerate(context.outcomes):
        assert [message.content for message in outcomes] == [[caller, each] for each in range(len(outcomes))], outcomes
        sequences = [message.sequence for message in outcomes]
        assert sequences == sorted(sequences), sequences
        told[context.sessions[caller % len(context.sessions)]] += outcomes
    assert sum(map(len, told.values())) == context.appends
    for session_id, messages in told.items():
        found = context.world.service.get_messages(session_id)
        assert found == sorted(messages, key=lambda message: message.sequence)
        assert [message.sequence for message in found] == list(range(1, len(messages) + 1))


@then("there have been fewer commits than appends")
def fewer(context):
    assert 0 < len(context.commits) < context.appends, len(context.commits)


@then("there have been as many commits as appends")
def as_many(context):
    assert len(context.commits) == context.appends, len(context.commits)
