"""Connections of the pool: who is next, and how they come back."""

import contextlib
import threading
import time
from unittest import mock

from behave import given, then, when
from sqlalchemy import QueuePool, event

import sessionledger
from sessionledger.infrastructure.database import pool as pools

HOLDER = "who had it"
TEXTS = [
    '"',
    "\\",
    '\\"',
    "{}",
    "{,}",
    ",",
    "NULL",
    "null",
    "",
    " ",
    "a\nb",
    "\0",
    "\ud800",
    "é",
    "'",
    "%s",
    "$1",
    "[]",
]


def take(context, **options):
    context.database = context.world.database(pool_size=1, max_overflow=0, **options)
    context.engine = context.database.engine
    context.taken = context.engine.raw_connection()
    context.order = []


@given("a pool of one connection, which somebody has")
def fair_pool(context):
    take(context, pool_timeout=30)


@given("a pool of SQLAlchemy's own of one connection, which somebody has")
def usual_pool(context):
    take(context, pool_timeout=30, poolclass=QueuePool)


def waiting(engine):
    """How many wait for one of the pool's connections."""
    queue = vars(vars(engine.pool)["_pool"])
    return len(queue["_waiting"] if "_waiting" in queue else vars(queue["not_empty"])["_waiters"])


def ask(context, name):
    """Let a thread ask for the connection, note its turn and give it back; return once it waits."""
    before = waiting(context.engine)

    def wait():
        connection = context.engine.raw_connection()
        context.order.append(name)
        connection.close()

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 10
    while waiting(context.engine) == before:
        assert time.monotonic() < deadline, "it does not wait"
    return thread


@when("{count:d} threads ask for it one after the other, and the one who has it gives it back and asks again")
def ask_in_order(context, count):
    for _ in range(20):  # the control's order is only likely
        context.order.clear()
        threads = [ask(context, number) for number in range(count)]
        context.taken.close()
        context.taken = context.engine.raw_connection()
        context.order.append(HOLDER)
        if context.order == [HOLDER]:
            context.taken.close()
        for thread in threads:
            thread.join(10)
        if context.order[0] == HOLDER:
            return


@then("each is served in the order in which they asked")
def in_order(context):
    context.taken.close()
    assert context.order == [0, 1, 2, 3, 4, HOLDER], context.order


@then("the one who has had it is served before those who wait")
def holder_first(context):
    assert context.order[0] == HOLDER, context.order


class Interrupted:
    """A lock whose wait ends with an interrupt, before or after what it waits for."""

    def __init__(self, *, comes):
        self._lock, self._comes = threading.Lock(), comes

    def acquire(self, **named):
        if not named:
            return self._lock.acquire()
        if self._comes:
            self._lock.acquire(**named)
        raise KeyboardInterrupt

    def release(self):
        self._lock.release()


@when("a thread asks for it and {gives_up}, and two more ask")
def gives_up(context, gives_up):
    threads, met = [], []

    def asks():
        try:
            context.engine.raw_connection()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            met.append(type(error).__name__)

    if gives_up == "does not get it in time":
        with mock.patch.object(context.engine.pool, "_timeout", 0.05):
            asks()
    else:
        comes = gives_up.endswith("as it comes")
        with mock.patch.object(pools, "Lock", return_value=Interrupted(comes=comes)):
            first = threading.Thread(target=asks)
            first.start()
            if comes:
                deadline = time.monotonic() + 10
                while not waiting(context.engine):
                    assert time.monotonic() < deadline, "it does not wait"
            else:
                first.join(10)
        threads.append(first)
    threads += [ask(context, number) for number in range(2)]
    context.taken.close()
    for thread in threads:
        thread.join(10)
    context.met = met


@then("the two are served in the order in which they asked")
def two_served(context):
    assert context.met in (["TimeoutError"], ["KeyboardInterrupt"]), context.met
    assert context.order == [0, 1], context.order
    assert context.engine.pool.checkedout() == 0


@given("a session on a database with one connection")
def one_connection(context):
    context.database = context.world.database(pool_size=1, max_overflow=0)
    context.service = context.world.service_of(context.database)
    context.session = context.service.create(title="Parcel")


@when("an application changes the session's title and gives the connection back without an end to its transaction")
def left_open(context):
    changed = "UPDATE sessions SET title = 'Never'"

    def leave(connection):
        cursor = connection.connection.dbapi_connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(changed)
        assert cursor.rowcount == 1
        cursor.close()

    context.world.on_connection(context.database, leave)


@then("the title is as it was")
def title_as_before(context):
    assert context.service.get(context.session.session_id).title == "Parcel"


@then("a message is appended on the same connection")
def append_after(context):
    assert context.service.append_message(context.session.session_id, "user", "Hello").sequence == 1
    assert context.world.engine_of(context.database).pool.checkedout() == 0


@when("an application listens to {name}, and a session is created and read twice")
def listens(context, name):
    engine, context.told = context.world.engine_of(context.database), 0

    def note(*_):
        context.told += 1

    event.listen(engine, name, note)
    created = context.service.create()
    context.service.get(created.session_id)
    context.service.get_messages(created.session_id)
    event.remove(engine, name, note)


@then("it was told {times:d} times")
def told(context, times):
    assert context.told == times, context.told


def at_once(context, count):
    """Let so many callers each have a connection of the pool's at the same time."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(context.world.taken_connection(context.database))


@given("a service that {count:d} callers have used at once")
def crowd(context, count):
    context.database = context.world.database()
    context.opened = []
    event.listen(context.world.engine_of(context.database), "connect", lambda *_: context.opened.append(1))
    at_once(context, count)
    assert len(context.opened) == count, context.opened


@when("{count:d} callers use it at once again")
def crowd_again(context, count):
    context.opened.clear()
    at_once(context, count)


@then("no connection was opened")
def none_opened(context):
    assert context.opened == [], context.opened


@when("{count:d} messages with quotes, backslashes, braces, commas, NULL and nothing in them are appended at once")
def awkward(context, count):
    names = [each for each in TEXTS if each and "\0" not in each and "\ud800" not in each]
    context.sent = [
        {
            "role": "tool" if number % 2 else "user",
            "content": TEXTS[number % len(TEXTS)] * (1 + number // len(TEXTS)),
            "tool_call_id": names[number % len(names)] if number % 2 else None,
            "metadata": {TEXTS[number % len(TEXTS)]: [TEXTS[(number + 1) % len(TEXTS)], None]},
        }
        for number in range(count)
    ]
    context.service.append_messages(context.session.session_id, context.sent)


@then("each comes back as it was, in order")
def all_back(context):
    messages = context.service.get_messages(context.session.session_id)
    assert [each.sequence for each in messages] == list(range(1, len(context.sent) + 1))
    read = [
        {"role": each.role, "content": each.content, "tool_call_id": each.tool_call_id, "metadata": each.metadata}
        for each in messages
    ]
    assert read == context.sent


@then("a check of the ledger finds nothing")
def ledger_checked(context):
    assert sessionledger.verify(context.world.url).found == {}
