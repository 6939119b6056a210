"""Files that are replaced whole, and read only if they are files."""

import errno
import os
import resource
import socket
import stat
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from behave import given, then, when

from forks import in_forks
from sessionledger.cli.files import SpecialFileError, opened, replacing

NOBODY = 65534

NAMES = {
    "250 characters": "x" * 250,
    "83 characters of 3 bytes": "日" * 83,
    "63 characters of 4 bytes": "📦" * 63,
    "a line break": "out\n.archive",
    "bytes that are no UTF-8": os.fsdecode(b"out\xff\xfe.archive"),
}


class Files:
    """A folder, the target in it, what else belongs there, and what the last call gave or raised."""

    def __init__(self, root):
        self.folder = root / "files"
        self.folder.mkdir()
        self.target = self.folder / "out.archive"
        self.known = {}
        self.error = self.read = self.writing = None

    def make(self, path, kind):
        """Put something at a path, and remember it."""
        if kind.startswith("a file"):
            path.write_bytes(b"old")
            path.chmod(int(kind[-3:], 8) if " with mode " in kind else 0o644)
        elif kind == "a FIFO":
            os.mkfifo(path)
        elif kind == "a socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        elif kind == "a folder":
            path.mkdir()
        elif kind.startswith("a link"):
            path.symlink_to(self.led_to(path, kind))
        self.known[path] = seen(path)

    def led_to(self, path, kind):
        """What a link of this kind leads to, made where it is missing."""
        end = {"a link to itself": path, "a link to a device": Path(os.devnull)}.get(kind, self.folder / "elsewhere")
        if kind in {"a link to a file", "a link to a folder"}:
            self.make(end, kind.removeprefix("a link to "))
        return end

    def attempt(self, call):
        """Make a call; keep what it raises, and how many descriptors it leaves."""
        self.error = None
        before = descriptors()
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the scenario judges it
            self.error = error
        self.left_open = descriptors() - before

    def write(self, text="new", path=None, *, special=False):
        self.asked = path or self.target
        with replacing(self.asked, special=special) as file:
            file.write(text.encode())

    def load(self, *, special=False):
        with opened(self.target, special=special) as file:
            self.read = file.read().decode()

    def others(self):
        """What is in the folder beside the target and what belongs there."""
        return sorted(set(self.folder.iterdir()) - set(self.known) - {self.target})

    def parts(self):
        return [path for path in self.others() if path.name.startswith(".") and path.name.endswith(".part")]


def seen(path):
    """What is at a path, so that any change of it shows."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    kind = stat.S_IFMT(found.st_mode)
    content = path.read_bytes() if stat.S_ISREG(kind) else path.readlink() if stat.S_ISLNK(kind) else None
    mode = 0 if stat.S_ISCHR(kind) else found.st_mode
    return kind, mode, found.st_ino, found.st_rdev, content


def descriptors():
    return sum(1 for _ in Path("/dev/fd").iterdir())


@given("a folder for files")
def folder_for_files(context):
    root = Path(context.world.stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-")))
    root.chmod(0o755)  # what another user may not do is up to the folder in it
    context.files = Files(root)


@given("the target is {kind}")
def target_is(context, kind):
    if kind == "a device":
        context.files.target = Path(os.devnull)  # only root may make another
    context.files.make(context.files.target, kind)


@given("the target's name is {name}")
def name_is(context, name):
    context.files.target = context.files.folder / NAMES.get(name, name)


# Writing


@when('"{text}" is written to it')
def written(context, text):
    context.files.attempt(lambda: context.files.write(text))


@when('"{text}" is written to it, whatever it is')
def written_special(context, text):
    context.files.attempt(lambda: context.files.write(text, special=True))


@when('"{text}" is written to it under the umask {umask}')
def written_under(context, text, umask):
    before = os.umask(int(umask, 8))
    try:
        written(context, text)
    finally:
        os.umask(before)


@when('"new" is written to a folder that is not there')
@when('"new" is written to a file as if it were a folder')
@when('"new" is written to a name of 256 bytes')
def written_where_none_can_be(context):
    files = context.files
    files.make(files.folder / "elsewhere", "a file")
    places = {
        "a folder that is not there": "missing/out.archive",
        "a file as if it were a folder": "elsewhere/out.archive",
        "a name of 256 bytes": "x" * 256,
    }
    files.attempt(lambda: files.write(path=files.folder / places[context.active_outline["place"]]))


@when('"new" is written to /dev/full, whatever it is')
def written_full(context):
    context.files.attempt(lambda: context.files.write(path=Path("/dev/full"), special=True))


@when('"new" is being written to it')
def being_written(context):
    context.files.asked = context.files.target
    context.files.writing = context.world.stack.enter_context(ExitStack())
    context.files.writing.enter_context(replacing(context.files.target)).write(b"new")


@when("the writing ends")
def writing_ends(context):
    context.files.attempt(context.files.writing.close)


@when('"new" is written to it, and the system\'s calls are noted')
def calls_noted(context):
    context.files.calls = calls = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        calls.append("fsync of the folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync of the file")
        fsync(descriptor)

    def noted_replace(*arguments, **named):
        calls.append("rename")
        replace(*arguments, **named)

    with mock.patch.object(os, "fsync", noted_fsync), mock.patch.object(os, "replace", noted_replace):
        written(context, "new")


@then("they were in this order: {calls}")
def in_order(context, calls):
    assert context.files.calls == calls.split(", "), context.files.calls


@when('"new" is written to it, and the fsync of a folder gives {code}')
def folder_fsync(context, code):
    fsync = os.fsync

    def refusing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, code), code)
        fsync(descriptor)

    with mock.patch.object(os, "fsync", refusing):
        written(context, "new")


@contextmanager
def no_growth():
    """No file may grow: as where a disk is full, the system refuses, and not we."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@when("writing to it fails because {cause}")
def writing_fails(context, cause):
    files = context.files
    files.asked = files.target

    def fail():
        with ExitStack() as until_end, replacing(files.target) as file:
            file.write(b"half")
            if cause == "the block raises":
                raise RuntimeError
            if cause == "it is interrupted":
                raise KeyboardInterrupt
            if cause == "the file may grow no more half way":
                with no_growth():
                    file.write(b"x" * 1_000_000)
            elif cause == "the file may grow no more at the end":
                until_end.enter_context(no_growth())
            elif cause == "the disk cannot be synced":
                broken = OSError(errno.EIO, os.strerror(errno.EIO))
                until_end.enter_context(mock.patch.object(os, "fsync", side_effect=broken))
            elif cause == "somebody removes its temporary file":
                [part] = files.parts()
                part.unlink()

    files.attempt(fail)


@when('"new" is written by a user who may not write in the folder')
def written_by_nobody(context):
    context.files.asked = context.files.target
    by_another(context, 0o555, lambda: context.files.write())


@when("it is read by a user who may not")
def read_by_nobody(context):
    context.files.asked = context.files.target
    context.files.target.chmod(0o600 if os.getuid() == 0 else 0)
    by_another(context, 0o755, lambda: context.files.load())


def by_another(context, mode, call):
    """Make a call in a fork that is not root, who may do everything."""
    folder = context.files.folder
    folder.chmod(mode)

    def work(_):
        if os.getuid() == 0:
            os.setuid(NOBODY)
        os.scandir(folder).close()  # or it would fail for another reason, and name the folder
        call()

    [context.files.error] = in_forks(1, work)
    folder.chmod(0o755)


# Reading


@when("it is read")
def is_read(context):
    context.files.asked = context.files.target
    context.files.attempt(context.files.load)


@when("it is read, whatever it is")
def is_read_special(context):
    context.files.asked = context.files.target
    context.files.attempt(lambda: context.files.load(special=True))


@when('"new" is written to it, whatever it is, while it is read, whatever it is')
def written_while_read(context):
    reading = threading.Thread(target=lambda: context.files.load(special=True), daemon=True)
    reading.start()
    written_special(context, "new")
    reading.join()


@then('"{text}" is read')
@then('"" is read')
def was_read(context, text=""):
    succeeded(context)
    assert context.files.read == text, context.files.read


# Judging


def succeeded(context):
    if context.files.error is not None:
        raise context.files.error


def refusal(context):
    """What the last call raised, which is judged by this."""
    error, context.files.error = context.files.error, None
    assert error is not None, "it succeeded"
    return error


@then('the target holds "{text}" and has the mode 600')
def target_holds(context, text):
    succeeded(context)
    found = context.files.target.lstat()
    assert stat.S_ISREG(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600, oct(found.st_mode)
    assert context.files.target.read_text() == text


@then('the target still holds "{text}"')
def target_still(context, text):
    assert context.files.target.read_text() == text


@then("the target is as it was")
def target_unchanged(context):
    files = context.files
    assert seen(files.target) == files.known[files.target], seen(files.target)


@then("these are still as they were")
@then("the file that the link led to is as it was")
def others_unchanged(context):
    for path, was in context.files.known.items():
        assert path == context.files.target or seen(path) == was, path


@then("nothing else is in the folder")
def nothing_else(context):
    assert context.files.others() == [], context.files.others()


@then("nothing is in the folder")
def nothing_at_all(context):
    assert list(context.files.folder.iterdir()) == []


@then("no descriptor is left open")
def none_left_open(context):
    assert context.files.left_open == 0, context.files.left_open


@then("the target is still a link")
def still_link(context):
    succeeded(context)
    assert context.files.target.is_symlink()


@then('the file it leads to holds "new" and has the mode 600')
def led_to_holds(context):
    found = context.files.target.resolve()
    assert found == context.files.folder / "elsewhere", found
    assert found.read_text() == "new"
    assert stat.S_IMODE(found.lstat().st_mode) == 0o600


@then("nothing but these two is in the folder")
def only_two(context):
    assert {path.name for path in context.files.folder.iterdir()} == {"out.archive", "elsewhere"}


@then("it is refused as {kind}, with the advice: {advice}")
def refused_as(context, kind, advice):
    error = seen_to_be(context, kind)
    assert str(error) == f"{context.files.asked} is {kind}; {advice}", error


@then("it is seen to be {kind}")
def seen_to_be(context, kind):
    error = refusal(context)
    assert isinstance(error, SpecialFileError), repr(error)
    assert (error.kind, error.path) == (kind, str(context.files.asked))
    return error


@then("the call fails with {name:w}")
def call_fails(context, name):
    error = refusal(context)
    assert name in {cls.__name__ for cls in type(error).__mro__}, repr(error)
    return error


@then("the call fails with {name:w} naming the target")
@then("the call fails with {name:w} naming that path")
def call_fails_naming(context, name):
    error = call_fails(context, name)
    assert error.filename == str(context.files.asked), error.filename
    assert error.strerror
