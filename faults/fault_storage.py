"""A disk without space: what was acknowledged is there, what failed is not, and all is well once there is room."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from sqlalchemy import event

import postgresql
import sessionledger
from databases import SQLite
from harness import Ack, Found, Kind, Missing, content_of, control, expect_nothing_wrong, fault, judge
from sessionledger.infrastructure.database import Database, schema
from world import Blocking

SIZE = 24 * 2**20
MOST_LEFT = 96 * 2**10
SEED = 4711
PADDING = {"padding": "parcel " * 300}


# A disk that can be filled


class Disk:
    """A small file system in memory, and a file on it that takes the space away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, left: int) -> None:
        """Leave so many bytes free, or a page more."""
        zeros = bytes(2**20)
        with self._ballast.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):  # a full disk takes what fits of the last one, and then refuses
                while file.write(zeros):
                    pass
            file.truncate(max(0, file.tell() - left))

    def make_room(self) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk() -> Iterator[Disk]:
    """A disk, where this process may mount one; an unprivileged one may in a user namespace of its own.

    Raises:
        Missing: It may not.
    """
    folder = Path(tempfile.mkdtemp(prefix="sessionledger-disk-"))
    library = ctypes.CDLL(None, use_errno=True)
    options = f"size={SIZE},mode=0777".encode()
    try:
        _own_namespace(library)
        if library.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options) != 0:
            raise Missing(f"a small tmpfs ({os.strerror(ctypes.get_errno())})")
        try:
            yield Disk(folder)
        finally:
            library.umount2(os.fsencode(folder), _DETACH)
    finally:
        shutil.rmtree(folder)


_DETACH, _NEW_MOUNTS, _NEW_USERS, _PRIVATE = 2, 0x00020000, 0x10000000, 0x00044000


def _own_namespace(library: ctypes.CDLL) -> None:
    """See mounts of this process's own, which end with it however it ends; who is not root may mount only there."""
    user, group = os.geteuid(), os.getegid()
    if library.unshare(_NEW_MOUNTS | (_NEW_USERS if user else 0)) != 0:
        raise Missing(f"a small tmpfs ({os.strerror(ctypes.get_errno())})")
    if user == 0:
        library.mount(b"none", b"/", None, _PRIVATE, None)
        return
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError as refused:
        raise Missing(f"a small tmpfs ({refused.strerror})") from None


@contextlib.contextmanager
def database_on(kind: Kind, disk: Disk) -> Iterator[str]:
    """The URL of an upgraded database that needs the disk for each message: its file, or its table of messages.

    The server is one of our own, and keeps everything but the messages elsewhere: a write-ahead log without space
    would stop it altogether.
    """
    if kind.name == "sqlite":
        path = disk.folder / "ledger.db"
        shutil.copyfile(SQLite.path(kind.fresh()), path)
        yield f"sqlite:///{path}"
        return
    space = disk.folder / "space"
    space.mkdir()
    with postgresql.Server() as server:
        if server._user:
            os.chown(space, server._user["user"], server._user["group"])
        with contextlib.closing(Database(server.url)) as database:
            schema.upgrade(database)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            connection.execute("ALTER TABLE session_messages SET TABLESPACE small")
        yield server.url


# Rounds


class Writer:
    """Appends until the disk is full, makes room and goes on, so many times."""

    def __init__(self, sessions: Any, disk: Disk) -> None:
        self.sessions = sessions
        self.disk = disk
        self.session_id = sessions.create().session_id
        self.acks: list[Ack] = []
        self.attempts = 0
        self._chance = random.Random(SEED)
        database = sessions._database

        engine = getattr(database, "sync_engine", database.engine)

        @event.listens_for(engine, "begin")
        def count(_: object) -> None:
            self.attempts += 1

        @event.listens_for(engine, "before_cursor_execute")
        def count_alone(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            self.attempts += statement.startswith("WITH")  # a whole append, which commits by itself

    def message(self, number: int) -> dict[str, Any]:
        return {
            "role": "user",
            "content": content_of(0, number),
            "metadata": PADDING,
            "message_id": sessionledger.message_id_for(str(number)),
        }

    def append(self, count: int) -> None:
        """Append so many messages in one transaction."""
        first = len(self.acks)
        stored = self.sessions.append_messages(self.session_id, [self.message(first + each) for each in range(count)])
        self.acks += [Ack(0, first + each, message.sequence) for each, message in enumerate(stored)]

    def until_full(self) -> tuple[Exception, int, int]:
        """Leave some space and append until it is gone: the error, how often it was tried, how many were sent."""
        self.disk.fill(self._chance.randrange(MOST_LEFT))
        while True:
            count = self._chance.choice([1, 1, 1, 20])
            self.attempts = 0
            try:
                self.append(count)
            except sessionledger.StorageError as error:
                return error, self.attempts, count


@contextlib.contextmanager
def writers(kind: Kind, **options: Any) -> Iterator[Callable[[], Iterator[tuple[str, Writer]]]]:
    """Give what opens a writer that blocks, and then one that awaits, on one database on a small disk."""
    with small_disk() as disk, database_on(kind, disk) as url:

        def each() -> Iterator[tuple[str, Writer]]:
            with sessionledger.connect(url, **options) as sessions:
                yield url, Writer(sessions, disk)
            with asyncio.Runner() as runner:
                awaiting = Blocking(runner.run(sessionledger.connect_async(url, **options)), runner)
                yield url, Writer(awaiting, disk)
                awaiting.close()

        yield each


def judged(kind: Kind, url: str, writer: Writer, found: Found) -> None:
    """Add what the database itself holds; the rows are those that were acknowledged, and no others."""
    counts = judge(kind, url, writer.session_id, writer.acks)
    with kind.asked(url) as ask:
        [rows] = ask(f"SELECT COUNT(*) AS stored FROM session_messages WHERE session_id = '{writer.session_id}'")
        damage = [] if kind.name == "postgresql" else ask("PRAGMA integrity_check")
    assert [each["integrity_check"] for each in damage] in ([], ["ok"]), f"damaged: {damage}"
    for name, value in (counts | {"acknowledged": len(writer.acks), "stored": rows["stored"]}).items():
        found[name] = found.get(name, 0) + value


@fault("a full disk, so many times", short={"rounds": 10}, full={"rounds": 100})
def disk_full(kind: Kind, found: Found, *, rounds: int) -> None:
    found |= {"full": 0, "attempts": 0}
    with writers(kind) as each:
        for url, writer in each():
            for _ in range(rounds // 2):
                error, attempts, count = writer.until_full()
                assert isinstance(error, sessionledger.StorageFullError), f"{error!r} ({error})"
                assert attempts == 1, f"it was tried {attempts} times"
                assert len(error.ids) == count, "the error does not name the ids that were sent"
                found["full"] += 1
                found["attempts"] += attempts
                writer.disk.make_room()
                writer.append(count)  # under the ids that failed
            judged(kind, url, writer, found)
    assert found["stored"] == found["acknowledged"], "other rows than acknowledged"
    expect_nothing_wrong(found)


@control("a full disk: a client that tries every error again", short={"rounds": 2}, full={"rounds": 10})
def disk_full_tried_again(kind: Kind, found: Found, *, rounds: int) -> None:
    found |= {"full": 0, "attempts": 0}
    with mock.patch.object(sessionledger.StorageFullError, "retryable", True), writers(kind, retry_seconds=1.0) as each:
        for _, writer in each():
            for _ in range(rounds // 2):
                found["full"] += 1
                found["attempts"] += writer.until_full()[1]
                writer.disk.make_room()
    assert found["attempts"] > found["full"], "it was tried once"


@control("a full disk: a client that takes what failed for done", short={"rounds": 4}, full={"rounds": 10})
def disk_full_careless(kind: Kind, found: Found, *, rounds: int) -> None:
    with writers(kind) as each:
        for url, writer in each():
            for _ in range(rounds // 2):
                _, _, count = writer.until_full()
                last = len(writer.acks)
                writer.acks += [Ack(0, last + each, last + each + 1) for each in range(count)]
                writer.disk.make_room()
            judged(kind, url, writer, found)
    assert found["lost"] == found["acknowledged"] - found["stored"] > 0, "nothing was lost"
