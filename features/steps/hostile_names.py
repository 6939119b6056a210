"""Names that lead elsewhere: as data in sessions and archives they are data, and no file is named by them."""

import contextlib
import io
import itertools
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

from behave import given, then, when

import sessionledger
from sessionledger.cli.files import opened, replacing
from steps.archives import sealed
from steps.files import seen

STARTS = [
    "../", "../../", "../../../", "./../", "x/../../", "ROOT/", "ROOT//outside/", "file://ROOT/", "..\\", "..\\..\\",
    "C:\\", "\\\\server\\share\\", "%2e%2e%2f", "..%2f", "%00/", "~/", "~root/", "$HOME/", "//ROOT/", "..;/",
    "\uff0e\uff0e\uff0f", "..\u2215", "\u202e", "link/", ".git/", "a\0../", "\x1b]0;", "\ud800../", "-", " ../",
]  # fmt: skip
MIDDLES = ["outside", "outside/victim", "pipe", "link", "CON", "out.archive", "$(touch outside)", "`touch outside`"]
ENDS = ["", "\0", "\n", ".", "/", "?x=../", "; touch outside", "x" * 300]

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.", "shutil.", "subprocess.", "tempfile.")
LOOKS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.listxattr", "os.getxattr"}

WATCHED = []
"""What notes the calls at this moment: an audit hook stays for as long as the process lives."""


def note(event, arguments):
    if WATCHED:
        WATCHED[-1](event, arguments)


class Watch:
    """The names of all files that are opened, made, renamed or removed, and which of them were written to."""

    def __init__(self, root):
        self.root = root
        self.touched, self.written = Counter(), Counter()

    def __enter__(self):
        if not getattr(Watch, "hooked", False):
            sys.addaudithook(note)
            Watch.hooked = True
        self.before = tree(self.root)
        WATCHED.append(self.noted)
        return self

    def __exit__(self, *_):
        WATCHED.pop()
        self.changed = {path for path, _ in self.before.items() ^ tree(self.root).items()}

    def noted(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):  # a descriptor that has been noted already
                return
            self.touched[path] += 1
            if flags & WRITING:
                self.written[path] += 1
        elif event.startswith(CHANGES) and event not in LOOKS:
            self.written.update(each for each in arguments if isinstance(each, str | bytes | Path))


def tree(root):
    return {path: seen(path) for path in root.rglob("*")}


@given("1000 hostile names, most of them of a file outside the folder")
def hostile_names(context):
    files = context.files
    root = files.folder.parent
    outside = root / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"old")
    (files.folder / "link").symlink_to(outside)
    os.mkfifo(files.folder / "pipe")
    made = ("".join(parts) for parts in itertools.product(STARTS, MIDDLES, ENDS))
    names = [name.replace("ROOT", str(root)) for name in made]
    random.Random(30).shuffle(names)
    context.hostile = [*names[:992], "", ".", "..", "/", "//", "/dev/null", "pipe", "link"]
    assert len(set(context.hostile)) == 1000, len(set(context.hostile))
    context.world.stack.enter_context(contextlib.chdir(files.folder))


def is_name(text):
    """Whether it may be a title or a key; the rest may only be content and metadata."""
    return 0 < len(text) <= 255 and "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


@given(
    "sessions that hold each of them as content, metadata, tool call and file name, and some as title, key and actor"
)
def hostile_sessions(context):
    service, context.sessions = context.world.service, []
    for start in range(0, 1000, 25):
        names = context.hostile[start : start + 25]
        first, second, third, fourth, *_ = (name for name in names if is_name(name))
        session = service.create(
            title=first, key=second, actor_name=third, workspace=fourth, metadata={names[0]: names}
        )
        service.append_messages(session.session_id, [message(name) for name in names])
        context.sessions.append(session)


def message(name):
    file = {"type": "file", "file": {"filename": name, "file_data": "QUJD"}}
    picture = {"type": "image_url", "image_url": {"url": name}}
    return {
        "role": "tool",
        "content": [{"type": "text", "text": name}, file, picture],
        "format": "parts",
        "metadata": {name: name},
        "tool_call_id": name if is_name(name) else None,
    }


@when("each session is exported to the target and imported again, and the file system is watched")
def watched_round(context):
    service, target = context.world.service, context.files.target
    with replacing(target) as file:  # once unwatched: what is imported late is opened
        service.export_session(context.sessions[0].session_id, file)
    context.imported = []
    with Watch(context.files.folder.parent) as context.watch:
        for session in context.sessions:
            with replacing(target) as file:
                service.export_session(session.session_id, file)
            with opened(target) as file:
                context.imported.append(service.import_session(file))


@then("nothing but the target was opened for writing, made, renamed or removed")
def only_target(context):
    watch, target = context.watch, context.files.target
    assert watch.changed == {target}, watch.changed
    parts = {name for name in watch.written if str(name).startswith(".out.archive.") and name.endswith(".part")}
    assert len(parts) == len(context.sessions), parts
    assert set(watch.written) == parts | {target.name}, watch.written
    asked = {target, str(target.parent), target.parent} | parts
    assert not (set(watch.touched) - asked) & set(context.hostile)


@then("every name came back as it was")
def names_back(context):
    service = context.world.service
    assert len(context.imported) == len(context.sessions) == 40
    for session, imported in zip(context.sessions, context.imported, strict=True):
        assert (imported.title, imported.actor_name) == (session.title, session.actor_name)
        assert imported.metadata == session.metadata
        ours, theirs = (service.get_messages(each.session_id) for each in (session, imported))
        assert len(ours) == 25
        for one, other in zip(ours, theirs, strict=True):
            assert (one.content, one.metadata, one.tool_call_id) == (other.content, other.metadata, other.tool_call_id)


@given("an archive of a session")
def archive_of_session(context):
    service = context.world.service
    session_id = service.create(title="Parcel").session_id
    service.append_message(session_id, "user", "Where is it?")
    file = io.BytesIO()
    service.export_session(session_id, file)
    context.archive, context.archived_id = file.getvalue(), session_id
    assert service.import_session(io.BytesIO(resealed(context, session_id))).title == "Parcel"


def resealed(context, name):
    """The archive with a name in the place of the session's id, and the digest that goes with it."""
    quoted = json.dumps(name)[1:-1].encode()
    lines = context.archive.replace(context.archived_id.encode(), quoted).splitlines()
    return sealed(lines[:-1])


@when("an archive with each of them as the session's id is imported, and the file system is watched")
def watched_ids(context):
    service = context.world.service
    context.refused = Counter()
    with Watch(context.files.folder.parent) as context.watch:
        for name in context.hostile:
            try:
                service.import_session(io.BytesIO(resealed(context, name)))
            except sessionledger.ArchiveError as error:
                context.refused[type(error).__name__] += 1


@then("each is refused, and nothing was opened, made, renamed or removed")
def ids_refused(context):
    assert context.refused.total() == 1000, context.refused
    assert not context.watch.changed
    assert not context.watch.written, context.watch.written
    assert not set(context.watch.touched) & set(context.hostile), context.watch.touched


@when("a careless program writes a file for each of them, and the file system is watched")
def careless(context):
    with Watch(context.files.folder.parent) as context.watch:
        for name in context.hostile:
            # Not blocking, because a careless program would wait for ever for the reader of a FIFO.
            with contextlib.suppress(OSError, ValueError):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK))


@then("files outside the folder were opened for writing")
def outside_written(context):
    outside = [path for path in context.watch.changed if context.files.folder not in path.parents]
    assert len(outside) > 10, outside
    assert len(context.watch.written) > 500, len(context.watch.written)  # the system takes no name with NUL
