"""Archives at their edges: odd files, two imports at once, the ends of the calendar, rows of before, bad moments."""

import array
import asyncio
import contextlib
import fcntl
import gzip
import io
import itertools
import os
import re
import tempfile
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from unittest import mock

from behave import given, then, when
from sqlalchemy import Engine, event, make_url

import sessionledger
from cancelling import outcome, turns
from command_lines import told
from forged_archives import archive, chained, edited, lines_of, message, records_of, sealed, session, usage
from hostile_archives import zstd
from sessionledger.application.services import files
from steps.many_sessions import imported

# Files


class Silent:
    """A writer that does not say how much it has taken."""

    def __init__(self):
        self.taken, self.calls = b"", 0

    def write(self, data):
        self.taken += bytes(data)
        asked(self)


class TakesNothing(Silent):
    """A writer that says it has taken nothing, and is no raw file."""

    def write(self, _):
        asked(self)
        return 0


class Raw(io.FileIO):
    """A raw file that counts how often it is asked."""

    calls = 0

    def write(self, data):
        asked(self)
        return super().write(data)


def asked(file):
    """End a loop that would have no end."""
    file.calls += 1
    assert file.calls < 1000, "it is asked again and again"


class Trickle(io.BytesIO):
    """A file that gives one byte at a time."""

    def read(self, size=-1, /):
        return super().read(min(size, 1))


class RawTrickle(io.RawIOBase):
    """A raw file that gives one byte at a time."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, position, whence=io.SEEK_SET, /):
        return self._file.seek(position, whence)

    def readinto(self, buffer, /):
        return self._file.readinto(memoryview(buffer)[:1])


class OnlyReads:
    """An object with nothing but `read`."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


def full_pipe(context):
    reading, writing = os.pipe()
    context.world.stack.callback(os.close, reading)
    os.set_blocking(writing, False)
    return Raw(writing, "wb")


def closed(file):
    file.close()
    return file


FILES = {
    "a full pipe that does not block": full_pipe,
    "a writer that takes nothing": lambda _: TakesNothing(),
    "a text in memory": lambda _: io.StringIO(),
    "a file opened in text mode": lambda _: open(os.devnull, "r+", encoding="utf-8"),  # noqa: PTH123, SIM115
    "a temporary file opened in text mode": lambda _: tempfile.NamedTemporaryFile("w+", encoding="utf-8"),  # noqa: SIM115
    "a closed file": lambda _: closed(open(os.devnull, "r+b")),  # noqa: PTH123, SIM115
    "a closed file in memory": lambda _: closed(io.BytesIO()),
    "an object that is no file": lambda _: object(),
    "None": lambda _: None,
}


@given("a session with a message of 300,000 characters")
def long_message(context):
    context.session = context.world.service.create()
    context.world.service.append_message(context.session.session_id, "user", "x" * 300_000)


@when("it is exported to a writer that says nothing")
def export_silently(context):
    file = Silent()
    context.world.service.export_session(context.session.session_id, file)
    context.first_archive = file.taken


@when("it is exported to {what}")
def export_to(context, what):
    with opened(context, what) as file:
        context.world.attempt(lambda: context.world.service.export_sessions(file))


@when("an archive is imported from {what}")
def import_from(context, what):
    with opened(context, what) as file:
        context.world.attempt(lambda: context.world.service.import_sessions(file))


@contextlib.contextmanager
def opened(context, what):
    file = FILES[what](context)
    with file if hasattr(file, "close") and not file.closed else contextlib.nullcontext():
        yield file


@when("a {form:w} is imported from {what}")
def import_as(context, form, what):
    data = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd().compress}[form](context.archive)
    made = {"a file": Trickle, "a raw file": RawTrickle, "an object": OnlyReads}[what.partition(" that ")[0]]
    context.world.service.import_sessions(made(data))


@when("it is imported with a line of at most {count:d} bytes")
def import_with_line(context, count):
    imported(context, limits=sessionledger.ArchiveLimits(line=count))


@when("it is imported with a signature and no trusted keys")
def import_unchecked(context):
    context.world.attempt(lambda: imported(context, signature=b"{}"))


@when("an import from a slow pipe is cancelled")
def cancel_slow_pipe(context):
    service, stack = context.world.service, context.world.stack
    context.world.before = context.world.contents()
    reading, context.writing = os.pipe()
    context.pipe = stack.enter_context(os.fdopen(reading, "rb"))
    stack.callback(os.close, context.writing)
    with mock.patch.object(files, "CANCEL_SECONDS", 2):
        context.world.run(cancelled_while_read(service.awaiting, context.pipe, context.writing))


async def cancelled_while_read(service, pipe, writing):
    task = asyncio.create_task(service.import_sessions(pipe))
    os.write(writing, b"x" * 10)
    while waiting(pipe):  # noqa: ASYNC110 - a pipe has no event for it
        await asyncio.sleep(0.01)
    task.cancel()
    await turns()
    os.write(writing, b"y")  # the thread wakes up
    assert isinstance(await outcome(task), asyncio.CancelledError)


def waiting(pipe):
    """How many bytes wait in a pipe."""
    found = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, found)
    return found[0]


@then("the pipe is not read any more")
def not_read_any_more(context):
    os.write(context.writing, b"zzz")
    for _ in range(20):
        time.sleep(0.01)
        assert waiting(context.pipe) == 3


# Two at once


@given("two archives whose sessions name the same new workspaces in opposite orders")
def opposite_orders(context):
    names = [f"office {number}" for number in range(5)]
    context.archives = [
        archive(
            [record for number, name in enumerate(order) for record in session(number, workspace=name, title=title)]
        )
        for title, order in (("One", names), ("Other", names[::-1]))
    ]
    context.expected = sorted(names)


@when("both are imported at the same time, each waiting for the other at its first session")
def both_at_once(context):
    barrier, errors = threading.Barrier(2), []
    context.statements, context.errors = [], errors

    def wait(_connection, _cursor, statement, parameters, *_):
        mine = (threading.get_ident(), re.match(r"INSERT INTO (\w+)", statement), parameters)
        if mine[1] is None or mine[1][1] not in {"sessions", "resources"}:
            return
        first = not any((each[0], each[1][1]) == (mine[0], "sessions") for each in context.statements)
        context.statements.append(mine)
        if mine[1][1] == "sessions" and first:
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(0.5)  # the other one cannot come here where both go in one order

    with (
        listening("before_cursor_execute", wait),
        listening("handle_error", errors.append),
        ThreadPoolExecutor(2) as pool,
    ):
        importing = [pool.submit(context.world.service.import_sessions, io.BytesIO(each)) for each in context.archives]
        context.receipts = [each.result() for each in importing]


@contextlib.contextmanager
def listening(what, call):
    event.listen(Engine, what, call)
    try:
        yield
    finally:
        event.remove(Engine, what, call)


@then("no statement failed, and each session was inserted once")
def none_failed(context):
    assert not context.errors, [str(each.original_exception) for each in context.errors]
    assert len([each for each in context.statements if each[1][1] == "sessions"]) == 2  # five at once, in each import
    assert len(context.world.service.list(limit=100)) == 10


@then("every workspace was registered before the first session, in one order")
def registered_first(context):
    for _, own in itertools.groupby(sorted(context.statements, key=lambda each: each[0]), key=lambda each: each[0]):
        mine = list(own)
        registered = [parameters["name"] for _, table, parameters in mine if table[1] == "resources"]
        assert registered == context.expected[: len(registered)] != [], registered  # the rest was there by then
        assert [table[1] for _, table, _ in mine] == ["resources"] * len(registered) + ["sessions"]


# Times


@when("sessions are exported since {time:S}")
def export_since(context, time):
    at = datetime.fromisoformat(time)
    context.world.attempt(lambda: context.world.service.export_sessions(io.BytesIO(), since=at))


@when("token usage is summed up {side:w} {time:S}")
def sum_from(context, side, time):
    bounds = {{"from": "since", "to": "until"}[side]: datetime.fromisoformat(time)}
    context.world.attempt(lambda: context.world.service.sum_token_usage(**bounds))


def timed(first, last=None):
    """The lines of an archive with these times."""
    times = {"created_at": first, "updated_at": last or first, "archived_at": last or first}
    messages = [message(1, "First", created_at=first), message(2, "Last", created_at=last or first)]
    return lines_of(session(1, messages, [usage(1, input_tokens=1, recorded_at=last or first)], **times))


USUAL = "2026-01-05T09:30:00.000000+00:00"


@when("an archive is imported in which {time:S} is the time of each record in turn")
def import_times(context, time):
    usual, context.refusals, context.before = timed(USUAL), [], context.world.contents()
    for number, name in (
        (1, "created_at"),
        (1, "updated_at"),
        (1, "archived_at"),
        (3, "created_at"),
        (4, "recorded_at"),
    ):
        lines = [*usual[:number], edited(usual[number], **{name: time}), *usual[number + 1 :]]
        context.world.attempt(
            lambda lines=lines: context.world.service.import_sessions(io.BytesIO(sealed(chained(lines))))
        )
        context.refusals.append((name, context.world.refusal(sessionledger.ArchiveFormatError)))
    context.world.service.import_sessions(io.BytesIO(sealed(usual)), as_copy=True)


@then("each is refused with the rule and nothing is stored")
def times_refused(context):
    for name, error in context.refusals:
        assert error.rule == f"{name} must be a time from 0001-01-02 to 9999-12-30 in UTC", error
    assert len(context.world.contents()["sessions"]) == len(context.before["sessions"]) + 1


@given("an archive with the first and the last time")
def first_and_last(context):
    context.archive = sealed(timed("0001-01-02T00:00:00+00:00", "9999-12-30T23:59:59.999999+00:00"))


@given("the database's time zone is {zone}")
def in_zone(context, zone):
    context.world.url = (
        make_url(context.world.url)
        .update_query_dict({"options": f"-c TimeZone={zone}"})
        .render_as_string(hide_password=False)
    )


@then("its times are listed, read and exported as they were")
def times_kept(context):
    service, (receipt,) = context.world.service, context.receipts
    (found,) = service.list(include_archived=True).sessions
    assert (found.created_at, found.updated_at) == (datetime(1, 1, 2, tzinfo=UTC), found.archived_at)
    assert [each.created_at for each in service.get_messages(found.session_id)] == [found.created_at, found.updated_at]
    file = io.BytesIO()
    service.export_sessions(file, session_ids=receipt.session_ids, since=found.updated_at)
    names = ("created_at", "updated_at", "archived_at", "recorded_at")
    exported, before = (
        [[each.get(name) for name in names] for each in records_of(data)] for data in (file.getvalue(), context.archive)
    )
    assert exported == before, exported


# The command line


@when("I run there with what the export says: import {path}")
def import_as_told(context, path):
    context.line.run(f"export SESSION -o {path}")
    allowed = re.search(r"import (--allow ratio=\d+)$", context.line.outcome.err, re.MULTILINE)
    assert allowed, told(context)
    context.line.run(f"import {path} {allowed[1]}", url=context.line.other)
