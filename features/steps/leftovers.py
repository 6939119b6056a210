"""What killed writers leave behind, and what the next one does with it."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from unittest import mock

from behave import given, then, when

from sessionledger.cli.files import replacing
from steps.files import written


@when("{count:d} writer is killed while it writes to it")
@when("{count:d} writers are killed while they write to it")
def writers_killed(context, count, *, special=False):
    writers = [writer(context.files.target, special=special) for _ in range(count)]
    for process_id in writers:
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)


@when("{count:d} writer is killed while it writes to it, whatever it is")
def special_writer_killed(context, count):
    writers_killed(context, count, special=True)


def writer(target, *, special):
    """The process id of one that has begun to write, and does not end by itself."""
    hearing, saying = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            with replacing(target, special=special) as file:
                file.write(b"half")
                file.flush()
                os.write(saying, b".")
                signal.pause()
        finally:
            os._exit(1)
    os.close(saying)
    assert os.read(hearing, 1) == b".", "the writer failed"
    os.close(hearing)
    return process_id


@given("these are in the folder, each made by somebody else")
def others_made(context):
    for row in context.table:
        context.files.make(context.files.folder / row["name"], row["kind"])


@when('"new" is written to it, and another writer {does} before it is locked')
def taken_before_lock(context, does):
    really, files, holder = fcntl.flock, context.files, []

    def late(descriptor, how):
        if not holder:
            [part] = files.parts()
            holder.append(os.open(part, os.O_RDWR))
            if does == "removes it":
                with replacing(files.target) as file:
                    file.write(b"newer")
                assert not part.exists(), "it was not taken for a leftover"
            else:
                really(holder[0], how)
        return really(descriptor, how)

    with mock.patch.object(fcntl, "flock", late):
        files.attempt(files.write)
    os.close(holder[0])
    files.left_open -= 1  # the holder's own


@when('"new" is written to it, and somebody takes every file before it is locked')
def all_taken(context):
    with mock.patch.object(fcntl, "flock", side_effect=BlockingIOError):
        written(context, "new")


@given("a leftover to which nobody has written for {hours:d} hours")
def old_leftover(context, hours):
    context.files.leftover = leftover(context.files, hours)


def leftover(files, hours):
    made = files.folder / f".{files.target.name}.{hours:016x}.part"
    files.make(made, "a file")
    written_at = time.time() - hours * 3600
    os.utime(made, (written_at, written_at))
    return made


@when('"new" is written to it where files cannot be locked')
def without_locks(context):
    with mock.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))):
        written(context, "new")


AS_ON_WINDOWS = """
import importlib, os, sys
from contextlib import ExitStack
from pathlib import Path
from unittest import mock
import sessionledger.cli.files as files

with ExitStack() as patches:
    patches.enter_context(mock.patch.object(sys, "platform", "win32"))
    patches.enter_context(mock.patch.dict(sys.modules, {"fcntl": None}))
    for name in ("O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY"):
        patches.enter_context(mock.patch.object(os, name))
        delattr(os, name)
    del files.fcntl
    files = importlib.reload(files)
    with files.replacing(Path(sys.argv[1])) as file:
        file.write(b"new")
    with files.opened(Path(sys.argv[1])) as file:
        assert file.read() == b"new"
    assert not hasattr(files, "fcntl")
"""


@when('a Python without them writes "new" to it, beside leftovers of 25 and 23 hours, and reads it')
def as_on_windows(context):
    context.files.leftovers = [leftover(context.files, hours) for hours in (25, 23)]
    context.files.error = None
    subprocess.run([sys.executable, "-c", AS_ON_WINDOWS, context.files.target], check=True, cwd=context.files.folder)


@then("beside it is one hidden file with the mode 600")
def one_hidden(context):
    [part] = context.files.parts()
    assert context.files.others() == [part]
    assert stat.S_IMODE(part.lstat().st_mode) == 0o600


@then("{count:d} leftovers are beside it")
@then("{count:d} leftover is in the folder")
def leftovers_there(context, count):
    assert len(context.files.parts()) == count, context.files.others()
    assert all(part.read_bytes() == b"half" for part in context.files.parts())


@then("the leftover is {fate}")
def leftover_is(context, fate):
    assert context.files.leftover.exists() == (fate == "there")


@then("one leftover of two is there")
def one_of_two(context):
    assert [made.exists() for made in context.files.leftovers] == [False, True]
