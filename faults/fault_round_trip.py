"""Real conversations from one kind of database to the other and into an archive again: nothing is lost on the way."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import sessionledger
from archives import REAL, sealed, unsealed
from databases import SQLite
from harness import Found, Kind, Missing, control, fault
from mutations import chained
from sessionledger.domain.archive import ArchiveReader
from sessionledger.domain.content import canonical, canonical_text

IDS_AND_TIMES = {
    "session_id",
    "message_id",
    "usage_id",
    "created_at",
    "updated_at",
    "archived_at",
    "recorded_at",
    "preceding_sha256",
    "key",  # an id is derived from it, so an import does not take it over
}

Step = Callable[[bytes], bytes]


def loaded(url: str, conversations: int) -> None:
    """Load the conversations, or the first ones, as people do: on the command line."""
    if not REAL.exists():
        raise Missing("the real conversations of ../shared/data")
    with tempfile.NamedTemporaryFile(suffix=".json.gz") as file:
        file.write(gzip.compress(json.dumps(json.loads(gzip.decompress(REAL.read_bytes()))[:conversations]).encode()))
        file.flush()
        _load(url, file.name)


def _load(url: str, file: str) -> None:
    command = [sys.executable, "-m", "sessionledger", "--database", url, "import", "--format", "openai-chat"]
    ended = subprocess.run(
        [*command, "--messages-key", "traj", "--actor", "Ann", file], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def exported(url: str) -> bytes:
    """All there is, with token usage, as an archive."""
    file = io.BytesIO()
    with sessionledger.connect(url) as sessions:
        sessions.export_sessions(file)
    return file.getvalue()


def used(url: str) -> None:
    """Give every session some token usage."""
    with sessionledger.connect(url) as sessions:
        page = sessions.list(limit=200)
        for number, session in enumerate(page.sessions):
            sessions.update_token_usage(session.session_id, input_tokens=number, output_tokens=1, model="model-1")


def records(data: bytes) -> dict[str, list[str]]:
    """What the sessions of an archive are but for ids and times, in an order that depends on nothing else."""
    sessions: list[list[str]] = []
    for line in unsealed(data)[1:]:
        values = json.loads(line)
        said = json.dumps({key: each for key, each in values.items() if key not in IDS_AND_TIMES}, sort_keys=True)
        if values["record"] == "session":
            sessions.append([said])
        else:
            sessions[-1].append(said)
    return {"sessions": sorted(map(repr, sessions)), "hashes": sorted(hashes(data))}


def hashes(data: bytes) -> list[str]:
    return [record.content_sha256 for record in ArchiveReader(io.BytesIO(data)).records() if hasattr(record, "role")]


def trip(
    kind: Kind, found: Found, between: Step, conversations: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Go from SQLite through an archive into PostgreSQL and into an archive again."""
    with closing(SQLite()) as start:
        url = start.fresh()
        loaded(url, conversations)
        used(url)
        first = exported(url)
    destination = kind.fresh()
    with sessionledger.connect(destination) as sessions:
        receipt = sessions.import_sessions(io.BytesIO(between(first)))
    second = exported(destination)
    before, after = records(first), records(second)
    found |= {
        "sessions": len(receipt.session_ids),
        "messages": receipt.messages,
        "bytes": len(first),
        "other sessions": different(before["sessions"], after["sessions"]),
        "other hashes": different(before["hashes"], after["hashes"]),
    }
    return before, after


def different(before: list[Any], after: list[Any]) -> int:
    return (Counter(before) - Counter(after)).total()


@fault(
    "real conversations from SQLite through an archive into PostgreSQL and into an archive again",
    short={"conversations": 30},
    full={"conversations": 200},
    databases=("postgresql",),
)
def round_trip(kind: Kind, found: Found, *, conversations: int) -> None:
    before, after = trip(kind, found, lambda data: data, conversations)
    assert before == after, "something else came out"
    assert found["sessions"] == conversations, "not all"


def lossy(data: bytes) -> bytes:
    """A careless step: of one message it forgets which call of a tool it answers."""
    lines = unsealed(data)
    at = next(at for at, line in enumerate(lines) if b'"role":"tool"' in line)
    values = json.loads(lines[at])
    del values["content"]["tool_call_id"]
    content = canonical("content", values["content"])
    lines[at] = canonical_text(values | {"content_sha256": content.sha256}).encode() + b"\n"
    return sealed(chained(lines))


@control(
    "a step between that loses one field",
    short={"conversations": 10},
    full={"conversations": 200},
    databases=("postgresql",),
)
def round_trip_lossy(kind: Kind, found: Found, *, conversations: int) -> None:
    trip(kind, found, lossy, conversations)
    assert found["other sessions"], "nothing was found"
