"""Archives at bad moments: beside other writers, over rows of before, replayed, in little memory, cancelled."""

import asyncio
import io
import itertools
import logging
import tracemalloc
from contextlib import contextmanager
from unittest import mock

import psycopg
from behave import given, then, when

import sessionledger
from canaries import MARK
from cancelling import outcome
from damages import DEEP, stored
from forged_archives import (
    archive,
    canonical,
    chained,
    header,
    line,
    message,
    records_of,
    sealed,
    session,
    sha256,
    ulid,
)
from sessionledger.domain.archive import ArchiveReader
from sessionledger.infrastructure.database.repositories.archives import ArchiveRepository
from steps.archives import export
from steps.cancellation import asynchronous, given_back
from steps.many_sessions import imported

# A transaction of the caller's


@when("it is exported in a {level} transaction while another connection {does}")
def export_in_transaction(context, level, does):
    world, session_id = context.world, context.session.session_id
    writer = world.stack.enter_context(sessionledger.connect(world.url))
    other, done = writer.create(title="Other"), []
    writer.append_message(other.session_id, "user", "Not for long")

    def follow(_):
        done.append(does)
        if does == "adds sessions":
            writer.create(title="New")
        elif does == "adds token usage":
            writer.update_token_usage(session_id, input_tokens=1)
        elif does == "appends messages" or (does == "appends one message" and len(done) == 2):
            writer.append_message(session_id, "user", "Behind your back")
        elif does == "deletes a session" and len(done) == 2:
            writer.delete(other.session_id)

    context.file = io.BytesIO()
    context.messages_before = sum(each.last_sequence for each in world.service.list(limit=1000))
    with world.callers_transaction(world.own_engine(), "connection") as (joined, transaction):
        transaction.execution_options(isolation_level=level)
        world.attempt(lambda: joined.export_sessions(context.file, follow=follow), usable=False)
        transaction.rollback()
    assert len(done) >= 2, done


@then("the archive is what its header says, with the messages that were there")
def as_its_header_says(context):
    receipt, data = context.world.result, context.file.getvalue()
    kinds = [each["record"] for each in records_of(data)]
    counts = (receipt.sessions, receipt.messages, receipt.usage_records)
    assert counts == tuple(map(kinds.count, ("session", "message", "usage"))), counts
    assert receipt.messages == context.messages_before
    assert context.world.service.import_sessions(io.BytesIO(data), as_copy=True).messages == receipt.messages


# Rows of before

LONGEST = 15
NO_HASH = "content_sha256 = NULL"
TWICE = f'{{"{MARK}note":1,"{MARK}note":2}}'
IN_JSON = "UPDATE session_messages SET format = 'json', content = '{}', " + NO_HASH
ROWS = {
    "a role that the format text does not know": "UPDATE session_messages SET role = 'critic'",
    "content with spaces, without a hash": IN_JSON.format('[1, {"a" : 2}]\n'),
    "content with its keys in another order, without a hash": IN_JSON.format('{"b":1,"a":2}'),
    "content with escapes, without a hash": IN_JSON.format(r'"Zo\u00EB\/"').replace("json", "text"),
    "content with spaces, under its hash": f"{stored('[1, 2]')}, format = 'json'",
    "metadata with line feeds": """UPDATE session_messages SET metadata = '{"b":\n1,\n"a":2}'""",
    "a session's metadata with line feeds": """UPDATE sessions SET metadata = '{"b":\n1,\n"a":2}'""",
    "content that is no JSON, without a hash": IN_JSON.format(f"{{{MARK}"),
    "content that is no JSON, under its hash": f"{stored(f'{{{MARK}')}, format = 'json'",
    "a key twice, without a hash": IN_JSON.format(TWICE),
    "a key twice, under its hash": f"{stored(TWICE)}, format = 'json'",
    "content nested too deeply, without a hash": IN_JSON.format(DEEP.replace("x", MARK)),
    "content that is too long, without a hash": IN_JSON.format(f'"{MARK}{"x" * 7 * 1024 * 1024}"'),
    "content that is no string": f"{stored(f'[{chr(34)}{MARK}{chr(34)}]')}",
    "metadata that is no JSON": f"UPDATE session_messages SET metadata = '{MARK}'",
    "another content than its hash says": f"""UPDATE session_messages SET content = '"{MARK}"'""",
}


@given("a row of it was written past the library: {row}")
def written_past(context, row):
    where = "" if row.startswith("a session's") else " WHERE sequence = 2"
    context.world.kind.load(context.world.url, f"{ROWS[row]}{where}")


@when("it is read and exported")
def read_and_exported(context):
    context.session = context.world.service.get(context.session.session_id)
    context.messages = context.world.service.get_messages(context.session.session_id)
    export(context)


@then("the imported messages have the values of the exported ones")
def values_equal(context):
    names = ("sequence", "role", "content", "format", "metadata")
    exported, found = (
        [[getattr(each, name) for name in names] for each in messages]
        for messages in (context.messages, context.imported_messages)
    )
    assert len(found) == 2
    assert found == exported, f"{found} is not {exported}"
    assert context.imported.metadata == context.exported.metadata
    for each in context.imported_messages:
        assert each.content_sha256 == sha256(canonical(each.content))


@when("it is tried to export it")
def try_to_export(context):
    rows = context.world.contents()["session_messages"]
    (context.message_id,) = [row["message_id"] for row in rows if row["sequence"] == 2]
    context.world.attempt(lambda: export(context))


@then("the error names the message and the rule: {rule}")
def names_message(context, rule):
    assert f"Message {context.message_id} of session {context.session.session_id}" in str(context.error), context.error
    assert rule in str(context.error), context.error


# An import that finds something there


@given("an archive of a session with 5,000 messages and one with a single message")
def large_and_small(context):
    large = session(1, [message(number, f"Message {number}") for number in range(1, 5001)])
    context.archive = archive([*large, *session(2, [message(1, "Small", of=2)])])


@when("it is imported again after the small one was deleted, beside a ticking task")
def import_beside_task(context):
    receipt = imported(context)
    service = context.world.service
    service.delete(receipt.session_ids[1])
    seen = context.seen = []
    context.world.run(
        ticking(seen, lambda follow: service.awaiting.import_sessions(io.BytesIO(context.archive), follow=follow))
    )
    assert service.get(receipt.session_ids[1]).last_sequence == 1


@when("it is imported again after the small one was deleted, and each of its steps waits for a tick of the loop")
def import_waiting(context):
    receipt = imported(context)
    service = context.world.service
    service.delete(receipt.session_ids[1])
    seen, ticks = [], itertools.count()
    context.seen = seen

    async def tick():
        return next(ticks)

    async def wait_for_ticks():
        loop = asyncio.get_running_loop()

        def follow(progress):
            if progress.step == "import":  # on the loop's own thread this would never be answered
                seen.append(asyncio.run_coroutine_threadsafe(tick(), loop).result(LONGEST))

        await service.awaiting.import_sessions(io.BytesIO(context.archive), follow=follow)

    context.world.run(wait_for_ticks())
    assert service.get(receipt.session_ids[1]).last_sequence == 1


async def ticking(seen, call):
    """Make a call beside a task that ticks, and note its ticks at every report of the step `import`."""
    ticks = itertools.count()
    last = [0]

    async def tick():
        while True:
            last[0] = next(ticks)
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    await call(lambda progress: seen.append(last[0]) if progress.step == "import" else None)
    task.cancel()


@when("the same is done without the pauses")
def without_pauses(context):
    with mock.patch.object(ArchiveRepository, "turn", autospec=True):
        import_beside_task(context)


@then("the task has ticked at least {count:d} times between the steps of the import")
def ticked(context, count):
    assert len(context.seen) >= 10, context.seen
    assert len(set(context.seen)) >= count, context.seen


@then("the task has ticked less than {count:d} times between the steps of the import")
def ticked_less(context, count):
    assert len(context.seen) >= 10, context.seen
    assert len(set(context.seen)) < count, context.seen


@when("all of it is imported again, counting how often its records are read")
def import_counting(context):
    context.world.statements.clear()
    with mock.patch.object(ArchiveReader, "records", autospec=True, side_effect=ArchiveReader.records) as context.reads:
        context.receipts.append(imported(context))


@then("they were not read, and no message was sent")
def not_read(context):
    assert context.reads.call_count == 0
    assert context.world.statements, "nothing was asked"
    sent = [each for each in context.world.statements if not each.startswith(("SELECT", "BEGIN"))]
    assert not sent, sent
    assert not [each for each in context.world.statements if "session_messages" in each], context.world.statements


# Memory


@given("{count:d} sessions, each with 60 KB of metadata of empty objects")
def empty_objects(context, count):
    for number in range(count):
        context.world.service.create(title=f"{number}")
    metadata = '{"x":[' + ",".join(["{}"] * 20_000) + "]}"
    context.world.kind.load(context.world.url, f"UPDATE sessions SET metadata = '{metadata}'")


@contextmanager
def measured(context):
    """Measure the most memory that Python's objects take meanwhile, in bytes."""
    tracemalloc.start()
    try:
        yield
    finally:
        _, context.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def writable(self):
        return True

    def write(self, data):
        return len(data)


@when("they are exported to nowhere, measuring memory")
def export_measured(context):
    with measured(context):
        context.receipt = context.world.service.export_sessions(Nowhere())
    assert context.receipt.size > 1_000_000, context.receipt


@then("less than {count:g} MiB of memory were used")
def memory_used(context, count):
    assert context.peak < count * 1024 * 1024, context.peak


@when("an archive of 12,000 messages is read in which every message id is there twice, measuring memory")
def repeated_ids(context):
    data = numbered(12_000, 6_000)

    def read():
        with measured(context):
            ArchiveReader(io.BytesIO(data))

    context.world.attempt(read, usable=False)


def numbered(count, different):
    """An archive of so many messages with so many different ids."""
    start, last = line(header(sessions=1, messages=count)), line(session(1, last_sequence=count)[0])
    each = session(1, [message(1, "Again")])[1]
    numbers = ((number + 1, ulid("M", number % different)) for number in range(count))
    return sealed(chained([start, last, *(line(each | {"sequence": at, "message_id": one}) for at, one in numbers)]))


@then("the error names a line from {first:d} to {last:d}")
def names_line_between(context, first, last):
    assert first <= context.error.line <= last, context.error


# Cancels


@given("a service whose connections are counted, and an archive of {count:d} sessions with 250 long messages")
def counted_service(context, count):
    context.database = context.world.database()
    context.engine = context.world.engine_of(context.database)
    context.service = context.world.service_of(context.database)
    context.archive = archive(
        [
            record
            for number in range(count)
            for record in session(number, [message(each + 1, "x" * 5000, of=number) for each in range(250)])
        ]
    )
    context.service.list()
    context.before = context.world.contents()


@contextmanager
def cancelling_copy(place):
    """Cancel a task, which is put into the list, when so many rows have gone into COPY."""
    tasks, written, write = [], itertools.count(), psycopg.AsyncCopy.write_row

    async def write_row(copy, row):
        if next(written) == place:
            tasks[0].cancel()
        await write(copy, row)

    with mock.patch.object(psycopg.AsyncCopy, "write_row", write_row):
        yield tasks


@when("an import is cancelled at {count:d} places of its COPY")
@asynchronous
async def cancel_in_copy(context, count):
    context.outcomes, context.found, context.log = [], [], Log()
    logging.getLogger("sqlalchemy.pool").addHandler(context.log)
    for number in range(count):
        with cancelling_copy(number * 500 // count) as tasks:
            importing = context.service.awaiting.import_sessions(io.BytesIO(context.archive))
            tasks.append(asyncio.create_task(importing))
            context.outcomes.append(await outcome(tasks[0]))
            await given_back(context)
        context.found.append(context.world.contents())
    logging.getLogger("sqlalchemy.pool").removeHandler(context.log)


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


@then("each cancel came out, nothing was stored, and every connection was given back")
def cancels_came_out(context):
    assert all(isinstance(each, asyncio.CancelledError) for each in context.outcomes), context.outcomes
    assert len(context.found) == len(context.outcomes) >= 20
    assert all(found == context.before for found in context.found)
    assert context.engine.pool.checkedout() == 0


@then("the pool has logged no error")
def no_errors(context):
    assert not context.log.lines, context.log.lines


@when("all of it is imported by that service")
def import_by_it(context):
    context.receipts = [context.service.import_sessions(io.BytesIO(context.archive))]


@then("there are {sessions:d} sessions with {messages:d} messages")
def counts_are(context, sessions, messages):
    contents = context.world.contents()
    assert (len(contents["sessions"]), len(contents["session_messages"])) == (sessions, messages)
