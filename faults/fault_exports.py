"""Exports that are killed: the file is the old archive or a whole new one, and the next run leaves no litter."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import sessionledger
from harness import Client, Found, Kind, control, fault
from sessionledger.cli.files import replacing

MESSAGES = 2_000
BYTES = 1_000
"""How long a message is, so that the writing of an archive takes its time."""
INSIDE = 0.8
"""The share of the kills that fall into the writing; the others fall anywhere, from the fork on."""
WRITERS = 4

Writing = Callable[[Path], AbstractContextManager[BinaryIO]]
"""Opens a file for writing, and is done with it when the block ends."""


@contextmanager
def plain_open(path: Path) -> Iterator[BinaryIO]:
    """A careless program: it writes to the file itself."""
    with path.open("wb") as file:
        yield file


@contextmanager
def never_cleared(path: Path) -> Iterator[BinaryIO]:
    """A careless program: it renames a temporary file, and nobody removes those of killed ones."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


@contextmanager
def without_locks(path: Path) -> Iterator[BinaryIO]:
    """A careless program: it takes what others are writing for what killed ones have left."""
    with mock.patch.object(fcntl, "flock"), replacing(path) as file:
        yield file


@dataclass
class Export:
    """An export into a file that holds an older archive of the same session.

    Attributes:
        url: The database.
        session_id: The session, which has one message more than the older archive.
        target: The file, alone in its folder.
        old: The older archive.
        writing: What opens the file.
        before: How many seconds the last unhindered run took until it began to write.
        during: How many seconds it then wrote.
    """

    url: str
    session_id: str
    target: Path
    old: bytes
    writing: Writing
    before: float = 0
    during: float = 0

    def start(self) -> Client:
        """Export in a process; it is said when the writing begins, and when it has ended."""

        def work(say: Callable[[Any], None]) -> None:
            with sessionledger.connect(self.url) as sessions:
                with self.writing(self.target) as file:
                    say("writing")
                    sessions.export_session(self.session_id, file)
                say("written")

        return Client(work)

    def run(self) -> None:
        """Export unhindered, and see how long it takes."""
        began = time.monotonic()
        client = self.start()
        writing, written = (time.monotonic() for _ in client.said())
        assert client.wait() == 0, "an export that nobody killed failed"
        self.before, self.during = writing - began, written - writing

    def kill(self) -> bool:
        """Kill an export at a random moment; say whether it had not ended before."""
        client = self.start()
        if random.random() < INSIDE:
            next(client.said(), None)
            time.sleep(random.uniform(0, 1.1) * self.during)
        else:
            time.sleep(random.uniform(0, 1.1) * (self.before + self.during))
        client.kill()
        ended = client.wait()
        assert ended in {-9, 0}, f"an export failed by itself: {ended}"
        return ended == -9

    def found(self) -> str:
        """What the file holds: the `old` archive, a whole `new` one, or something `torn`."""
        data = self.target.read_bytes()
        if data == self.old:
            return "old"
        return "new" if whole(data) else "torn"

    def litter(self) -> int:
        """How many files are beside the target."""
        return sum(path != self.target for path in self.target.parent.iterdir())


def whole(data: bytes) -> bool:
    """Whether the last line is the digest of every byte before it."""
    body, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    return data.endswith(b"\n") and last == b'{"sha256":"%s"}' % hashlib.sha256(body + b"\n").hexdigest().encode()


@contextmanager
def exporting(kind: Kind, writing: Writing) -> Iterator[Export]:
    """A session with an older archive of it in a folder of its own."""
    url = kind.fresh()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "session.archive"
        with sessionledger.connect(url) as sessions:
            session_id = sessions.create(title="An export that is killed").session_id
            text = json.dumps("word " * BYTES)[:BYTES]
            for _ in range(0, MESSAGES, 500):
                sessions.append_messages(session_id, [{"role": "user", "content": text}] * 500)
            with target.open("wb") as file:
                sessions.export_session(session_id, file)
            sessions.append_message(session_id, "user", "one more")
        old = target.read_bytes()
        assert whole(old), "the older archive is not whole"
        yield Export(url, session_id, target, old, writing)


def kill_exports(kind: Kind, found: Found, writing: Writing, kills: int) -> None:
    """Kill exports, and count what the file is after each, and what is beside it after the next run."""
    found |= {"kills": 0, "in_the_writing": 0, "old": 0, "new": 0, "torn": 0, "litter": 0}
    with exporting(kind, writing) as export:
        export.run()
        while found["kills"] < kills:
            export.target.write_bytes(export.old)
            before = export.litter()
            if not export.kill():
                continue
            found["kills"] += 1
            found["in_the_writing"] += export.litter() > before
            found[export.found()] += 1
            export.run()
            assert export.found() == "new", "the next run wrote no whole archive"
            found["litter"] = max(found["litter"], export.litter())


@fault("kill -9 of an export over an older archive", short={"kills": 6}, full={"kills": 200})
def killed_export(kind: Kind, found: Found, *, kills: int) -> None:
    kill_exports(kind, found, replacing, kills)
    assert not found["torn"], "a file is neither the old archive nor a whole new one"
    assert not found["litter"], "something is left beside the file"
    assert found["in_the_writing"] >= kills / 3, "too few kills fell into the writing"


@control('into plain open("wb")', short={"kills": 4}, full={"kills": 40})
def killed_export_plain_open(kind: Kind, found: Found, *, kills: int) -> None:
    kill_exports(kind, found, plain_open, kills)
    assert found["torn"], "every file is whole"


@control("into a temporary file that nobody clears away", short={"kills": 4}, full={"kills": 40})
def killed_export_never_cleared(kind: Kind, found: Found, *, kills: int) -> None:
    kill_exports(kind, found, never_cleared, kills)
    assert found["litter"], "nothing is left beside the file"


def export_side_by_side(kind: Kind, found: Found, writing: Writing, rounds: int) -> None:
    """Let several exports write one file at once, kill half of them, and count those that failed by themselves."""
    found |= {"exports": 0, "kills": 0, "failed": 0, "torn": 0, "litter": 0}
    with exporting(kind, writing) as export:
        export.run()
        for _ in range(rounds):
            clients = [export.start() for _ in range(WRITERS)]
            for client in clients[: WRITERS // 2]:
                time.sleep(random.uniform(0, 2) * export.during)
                client.kill()
            ends = [client.wait() for client in clients]
            found["exports"] += WRITERS
            found["kills"] += ends.count(-9)
            found["failed"] += ends.count(1)
            found["torn"] += export.found() == "torn"
        if not found["failed"]:
            export.run()
        found["litter"] = export.litter()


@fault("4 exports into one file at once, half of them killed", short={"rounds": 2}, full={"rounds": 50})
def crowded_export(kind: Kind, found: Found, *, rounds: int) -> None:
    export_side_by_side(kind, found, replacing, rounds)
    assert found["kills"], "none was killed in time"
    wrong = {name: found[name] for name in ("failed", "torn", "litter") if found[name]}
    assert not wrong, f"wrong: {wrong}"


@control("without asking for the lock", short={"rounds": 2}, full={"rounds": 20})
def crowded_export_without_locks(kind: Kind, found: Found, *, rounds: int) -> None:
    export_side_by_side(kind, found, without_locks, rounds)
    assert found["failed"], "no export lost its file to another"
