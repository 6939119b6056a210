"""W7: export and import, against the same rows as JSON Lines, written and read by hand; and the memory of ours.

Floor of an export: one SELECT, each content decoded, each row encoded as a line of JSON, one SHA-256 over all lines.
Floor of an import: each line hashed, decoded, its content encoded and hashed, and the rows stored in one transaction:
COPY on PostgreSQL, `executemany` on SQLite. One pass; it verifies nothing before it writes, and no field of a record.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fresh
import real_databases
import sessionledger
from calls import session_row
from floor import FLOORS, MESSAGE, START, TEXT, Floor
from interleaved import Goal, Part, Took

COLUMNS = MESSAGE.split(", ")
ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
MOST_MEMORY = Goal(64)

_PROGRAM = (
    fresh.MEMORY
    + """
import json, sys
import sessionledger

work, url, path = sys.argv[1:]
with sessionledger.connect(url) as sessions:
    sessions.list(limit=1)
    idle = resident("VmRSS")
    if work == "import":
        with open(path, "rb") as file:
            sessions.import_session(file, as_copy=True)
    else:
        session_id = sessions.list(limit=1).sessions[0].session_id
        with open(path, "wb") as file:
            sessions.export_session(session_id, file)
    print(json.dumps(resident("VmHWM") - idle))
"""
)


@dataclass(frozen=True)
class Memory:
    """The most resident memory of a process, in MiB: over its idle state, or as a whole.

    Attributes:
        ours: Ours.
        floor: The floor's, where it is measured.
    """

    workload: str
    database: str
    what: str
    ours: float
    floor: float | None
    goal: str
    met: bool | None


def export_by_hand(floor: Floor, session_id: str) -> bytes:
    """A session's messages as lines of JSON, with their digest."""
    file, digest = io.BytesIO(), hashlib.sha256()
    query = f"SELECT {MESSAGE} FROM session_messages WHERE session_id = {floor.place} ORDER BY sequence"
    for row in floor.connection.execute(query, (session_id,)):
        values = dict(zip(COLUMNS, row, strict=True))
        values["content"] = json.loads(values["content"])
        values["metadata"] = json.loads(values["metadata"])
        values["created_at"] = str(values["created_at"])
        line = ENCODE(values).encode() + b"\n"
        digest.update(line)
        file.write(line)
    file.write(b'{"sha256":"%s"}\n' % digest.hexdigest().encode())
    return file.getvalue()


def import_by_hand(floor: Floor, archive: bytes) -> str:
    """Store such lines under a new session, and return its id."""
    session_id = sessionledger.new_id()
    lines = archive.splitlines(keepends=True)[:-1]
    floor.load([session_row(session_id, len(lines), START)], _rows(session_id, lines))
    return session_id


def _rows(session_id: str, lines: list[bytes]) -> Iterator[tuple[Any, ...]]:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
        values = json.loads(line)
        content = ENCODE(values["content"])
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        values |= {"session_id": session_id, "content": content, "metadata": ENCODE(values["metadata"])}
        values |= {"content_sha256": sha256}
        values |= {"created_at": datetime.fromisoformat(values["created_at"])}
        yield tuple(values[name] for name in COLUMNS)


def parts(kind: str, count: int, closing: ExitStack) -> Iterator[Part]:
    """Export and import of one session of so many messages."""
    url = real_databases.fresh(kind)
    sessions = closing.enter_context(sessionledger.connect(url))
    session_id = filled(sessions, count)
    floor = FLOORS[kind](url)
    closing.callback(floor.close)

    def export() -> bytes:
        file = io.BytesIO()
        sessions.export_session(session_id, file)
        return file.getvalue()

    def load(archive: bytes) -> str:
        return sessions.import_session(io.BytesIO(archive), as_copy=True).session_id

    def same(ours: bytes, by_hand: bytes) -> None:
        assert min(ours.count(b"\n"), by_hand.count(b"\n")) > count, "too few lines"

    yield Part(
        "W7",
        kind,
        f"export {count:,} messages",
        export,
        lambda: export_by_hand(floor, session_id),
        Goal(1.5),
        1,
        same=same,
    )
    archive, by_hand = export(), export_by_hand(floor, session_id)

    def imported(load: Callable[[bytes], str], archive: bytes) -> Took:
        """How long an import takes; what it stored is counted, and deleted again."""
        began = time.perf_counter()
        session_id = load(archive)
        seconds = time.perf_counter() - began
        stored = sessions.get(session_id).last_sequence
        assert stored == count, f"{stored} messages"
        sessions.delete(session_id)
        return Took(seconds)

    yield Part(
        "W7",
        kind,
        f"import {count:,} messages",
        lambda: imported(load, archive),
        lambda: imported(lambda lines: import_by_hand(floor, lines), by_hand),
        Goal(1.5),
        1,
    )


def filled(sessions: sessionledger.SessionService, count: int) -> str:
    """A session of so many messages of about a kilobyte."""
    session_id = sessions.create(actor_name="reader").session_id
    for start in range(0, count, 1000):
        some = range(start, min(start + 1000, count))
        sessions.append_messages(session_id, [{"role": "user", "content": f"{at} {TEXT}"} for at in some])
    return session_id


def memory(kind: str, counts: tuple[int, ...]) -> Iterator[Memory]:
    """The memory of export and import over an idle process, each in a process of its own, by number of messages."""
    for count in counts:
        url = real_databases.fresh(kind)
        with sessionledger.connect(url) as sessions:
            filled(sessions, count)
        with tempfile.TemporaryDirectory() as folder:
            for work in ("export", "import"):
                mib = round(fresh.run(_PROGRAM, work, url, str(Path(folder, "archive"))) / fresh.MIB, 1)
                what = f"{work} {count:,} messages, over an idle process"
                yield Memory("W7", kind, what, mib, None, str(MOST_MEMORY), MOST_MEMORY.met(mib))
