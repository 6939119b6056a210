"""Appends of callers that share a service, committed together."""

import contextlib
import sqlite3
from collections import defaultdict

import psycopg
from behave import given, then, when
from sqlalchemy import event

import locks
import sessionledger
from callers import Callers, commits_counted
from sessionledger.application.services import AsyncPersistentSessionService, PersistentSessionService
from sessionledger.domain.models import MAX_COUNT

AT_LOCK = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""
SERVICES = {"sync": PersistentSessionService, "async": AsyncPersistentSessionService}


@given("a session, and a service that commits in groups")
def one_session(context):
    some_sessions(context, 1)


@given("a session with 1 message, and a service that commits in groups")
def with_one_message(context):
    one_session(context)
    context.stored = new("First", usage={"input_tokens": 5, "output_tokens": 2})
    [context.first] = context.world.service.append_messages(context.sessions[0], [context.stored])
    context.recorded = sessionledger.new_id()
    context.world.service.update_token_usage(context.sessions[0], input_tokens=3, usage_id=context.recorded)


@given("{count:d} sessions, and a service that commits in groups")
def some_sessions(context, count, **options):
    context.sessions = [context.world.service.create().session_id for _ in range(count)]
    serve(context, context.world.database(**options))
    context.commits = context.world.stack.enter_context(commits_counted(context.world.kind))


@given("a session, and a service that commits in groups and does not try again")
def without_retry(context):
    some_sessions(context, 1, retry_seconds=0)


@given("a session, and a service that commits in groups by transactions")
def by_transactions(context):
    some_sessions(context, 1, **context.world.kind.transactions)


def serve(context, database):
    context.database, context.engine, context.sent = database, context.world.engine_of(database), []
    source = getattr(database, "awaiting", database)
    context.callers = Callers(context.world, SERVICES[context.world.mode](source, group_commit=True))
    context.world.service_of(database).list()  # the schema has been looked at


def new(content="Hello", **values):
    return {"role": "user", "content": content, "message_id": sessionledger.new_id(), **values}


def call(context, *messages, session=0, **named):
    """Let the next caller append; without messages, one that is nothing but new."""
    messages = list(messages) or [new(f"Message {len(context.sent)}")]
    session_id = context.sessions[session] if isinstance(session, int) else session
    context.sent.append((session_id, messages))
    context.callers.call("append_messages", session_id, messages, **named)


@contextlib.contextmanager
def locked(context):
    """Another writer's lock: whatever is being committed waits for it."""
    with context.world.kind.in_state("that is locked", context.world.url):
        yield


def ids_of(messages):
    return tuple(each["message_id"] if isinstance(each, dict) else each.message_id for each in messages)


def stored(context):
    """The ids that are stored, by session, in their order."""
    return {each: ids_of(context.world.service.get_messages(each)) for each in context.sessions}


@when("{count:d} callers append while another one's append is being committed")
def singles(context, count):
    with locked(context):
        for _ in range(1 + count):
            call(context)
        assert context.callers.waiting() == count
    context.outcomes = context.callers.outcomes()


@when("{count:d} callers append batches of {size:d} with token usage while another one's append is being committed")
def batches(context, count, size):
    with locked(context):
        call(context)
        for number in range(1, count + 1):
            usage = {"input_tokens": number, "output_tokens": 1}
            call(context, *(new([number, each], usage=usage if each else None) for each in range(size)))
        assert context.callers.waiting() == count
    context.outcomes = context.callers.outcomes()


@when("{count:d} callers append to one or the other while an append to each is being committed")
def to_both(context, count):
    with locked(context):
        for number in range(2 + count):
            call(context, session=number % 2)
        groups = context.callers.there() - context.callers.waiting()
    assert groups == (2 if "server" in context.world.kind.capabilities else 1), groups
    context.outcomes = context.callers.outcomes()


@when("appends to one of them wait for another writer's row")
def wait_for_row(context):
    with psycopg.connect(context.world.url) as other:
        other.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [context.sessions[0]])
        for _ in range(3):
            call(context)
        call(context, session=1)
        context.callers.until(context.callers.calls[-1].done)
        context.meanwhile = [each.done() for each in context.callers.calls]
    context.outcomes = context.callers.outcomes()


@then("an append to the other one is stored meanwhile")
def stored_meanwhile(context):
    assert context.meanwhile == [False, False, False, True], context.meanwhile


@when("batches of {sizes} messages wait for the commit of another append")
def large(context, sizes):
    with locked(context):
        call(context)
        for size in map(int, sizes.replace(" and", ",").split(",")):
            call(context, *(new(number) for number in range(size)))
        assert context.callers.waiting() == 3
    context.outcomes = context.callers.outcomes()


@then("there have been {count:d} commits")
def commits(context, count):
    assert len(context.commits) == count, context.commits


@then("every caller has its own messages, 1 to n in the order they came")
def own_messages(context):
    expected = defaultdict(tuple)
    for (session_id, sent), outcome in zip(context.sent, context.outcomes, strict=True):
        assert isinstance(outcome, list), repr(outcome)
        assert ids_of(outcome) == ids_of(sent)
        assert [each.content for each in outcome] == [each["content"] for each in sent]
        first = len(expected[session_id]) + 1
        assert [each.sequence for each in outcome] == list(range(first, first + len(sent)))
        expected[session_id] += ids_of(sent)
    assert stored(context) == expected


@then("the totals are the sum of the token usage that was sent")
def totals(context):
    usages = [each["usage"] for _, sent in context.sent for each in sent if each.get("usage")]
    found = context.world.service.get(context.sessions[0]).usage
    assert found.input_tokens == sum(each["input_tokens"] for each in usages) > 0
    assert found.output_tokens == len(usages)
    [ledger] = context.world.service.sum_token_usage(session_id=context.sessions[0])
    assert (ledger.usage, ledger.records) == (found, len(usages))


AMONG = {
    "one whose id is stored with other content": lambda it: it.stored | {"content": "Other"},
    "one that was sent before": lambda it: it.stored,
    "one whose id has other token usage": lambda it: new(message_id=it.recorded, usage={"input_tokens": 4}),
    "one to a session that is not there": lambda _: new(),
    "one that takes a total too far": lambda _: new(usage={"input_tokens": MAX_COUNT}),
}


@when("others and {append} wait for the commit of another append")
def among(context, append):
    with locked(context):
        for _ in range(3):
            call(context)
        elsewhere = {"session": sessionledger.new_id()} if "not there" in append else {}
        call(context, AMONG[append](context), **elsewhere)
        call(context)
    context.outcomes = context.callers.outcomes()
    del context.sent[3]
    context.told = context.outcomes.pop(3)


@then("it is told its first answer")
def first_answer(context):
    assert context.told == [context.first], context.told


@then("it is told {name:w}")
def told(context, name):
    assert type(context.told) is getattr(sessionledger, name), repr(context.told)


@then("the others have their messages, and nothing else is stored")
def others(context):
    assert [ids_of(outcome) for outcome in context.outcomes] == [ids_of(sent) for _, sent in context.sent]
    found = context.world.service.get_messages(context.sessions[0])
    assert sorted([context.first, *(each for outcome in context.outcomes for each in outcome)], key=place) == found
    assert [each.sequence for each in found] == list(range(1, 6))


def place(message):
    return message.sequence


@when("a message and the same message with the same id wait for the commit of another append")
def twice(context):
    same = new("Same")
    with locked(context):
        call(context)
        call(context, same)
        call(context, same)
        assert context.callers.waiting() == 2
    context.outcomes = context.callers.outcomes()


@then("both callers have the same message, and it is stored once")
def stored_once(context):
    first, one, other = context.outcomes
    assert one == other, (one, other)
    assert context.world.service.get_messages(context.sessions[0]) == [*first, *one]


@when("an append expecting sequence 1 comes while others wait for the commit of another append")
def expecting(context):
    with locked(context):
        for _ in range(3):
            call(context)
        call(context, in_group=False, expected_sequence=1)
        call(context)
        assert context.callers.waiting() == 3
    context.outcomes = context.callers.outcomes()


@then("it is stored in a commit of its own as the second message, or refused")
def right(context):
    outcome = context.outcomes.pop(3)
    sent = context.sent.pop(3)
    if isinstance(outcome, list):
        assert [each.sequence for each in outcome] == [2], outcome
        assert len(context.commits) == 3, context.commits
    else:
        assert type(outcome) is sessionledger.SequenceConflictError, repr(outcome)
        sent = (None, [])
    expected = {message_id for _, each in [*context.sent, sent] for message_id in ids_of(each)}
    assert {*stored(context)[context.sessions[0]]} == expected


@then("an append expecting the last sequence is stored, and one expecting another one is refused")
def expecting_last(context):
    last = len(stored(context)[context.sessions[0]])
    context.callers.calls.clear()
    call(context, in_group=False, expected_sequence=last)
    [[message]] = context.callers.outcomes()
    assert message.sequence == last + 1
    call(context, in_group=False, expected_sequence=last)
    assert type(context.callers.outcomes()[1]) is sessionledger.SequenceConflictError


@contextlib.contextmanager
def meeting(context, fault):
    """Let an append that begins meet a fault of the driver's, if there is one for it."""

    def meet(connection, _cursor, statement, *_):
        if "INSERT INTO session_messages" in statement and (error := fault(connection)):
            raise error

    event.listen(context.engine, "before_cursor_execute", meet)
    try:
        yield
    finally:
        event.remove(context.engine, "before_cursor_execute", meet)


def full(_):
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
    return error


FAULTS = {
    "a busy database": lambda it: lambda _: it.world.kind.busy(),
    "a lost server": lambda it: lambda _: it.world.kind.lost(),
    "a full disk": lambda _: full,
}


@when("{error} meets those that wait for the commit of another append")
def faulty(context, error):
    with contextlib.ExitStack() as stack:
        with locked(context):
            for _ in range(6):
                call(context)
            assert context.callers.waiting() == 5
            stack.enter_context(meeting(context, FAULTS[error](context)))
        context.outcomes = context.callers.outcomes()[1:]  # the first may have begun before


@given("a session, and a service that commits in groups on a database that is locked")
def on_locked(context):
    one_session(context)
    context.lock = context.world.stack.enter_context(contextlib.ExitStack())
    url, options = context.lock.enter_context(context.world.kind.in_state("that is locked", context.world.url))
    source = context.world.connect(url, group_commit=True, **options)
    context.callers = Callers(context.world, getattr(source, "awaiting", source))


@when("callers append until they are told that it is")
def until_told(context):
    for _ in range(6):
        call(context)
    context.outcomes = context.callers.outcomes()
    context.lock.close()


@when("the server stores a group, and is gone before it answers")
def lost_and_gone(context):
    some_sessions(context, 1, retry_seconds=0.2)
    answers, asked = [], []

    def answered(_connection, _cursor, statement, *_):
        if "INSERT INTO session_messages" in statement:
            answers.append(None)
            if len(answers) == 2:  # the group's
                raise context.world.kind.lost()

    def gone(_):
        asked.append(None)
        if len(asked) > 2:  # the group, and the group again
            return context.world.kind.busy()
        return None

    event.listen(context.engine, "after_cursor_execute", answered)
    with contextlib.ExitStack() as stack:
        with locked(context):
            for _ in range(6):
                call(context)
            assert context.callers.waiting() == 5
            context.callers.until(lambda: locks.told(context.world.url, AT_LOCK) != [(0,)])
            stack.enter_context(meeting(context, gone))
        context.outcomes = context.callers.outcomes()[1:]
    event.remove(context.engine, "after_cursor_execute", answered)
    assert len(answers) == 2 < len(asked), (answers, asked)


@then("each of them is told {name:w} with its own ids")
def told_each(context, name):
    assert len(context.outcomes) >= 5
    for outcome, (_, sent) in zip(context.outcomes, context.sent[-len(context.outcomes) :], strict=True):
        assert type(outcome) is getattr(sessionledger, name), repr(outcome)
        assert outcome.ids == ids_of(sent), outcome.ids
    assert len({id(outcome) for outcome in context.outcomes}) == len(context.outcomes)


@then("all of them are stored once when they are sent again")
def stored_again(context):
    service = context.world.service
    for session_id, sent in context.sent:
        assert ids_of(service.append_messages(session_id, sent)) == ids_of(sent)
    found = stored(context)[context.sessions[0]]
    assert sorted(found) == sorted(each for _, sent in context.sent for each in ids_of(sent)), found
