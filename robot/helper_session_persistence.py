"""What the processes of `session_persistence.robot` do, on an installed wheel: write, read, and count."""

from __future__ import annotations

import io
import random
from collections import Counter
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy

import sessionledger
from helper_process import answer, prepares, ready
from sessionledger.infrastructure.database import Database, schema

PARTS = [
    {"type": "text", "text": "two of them"},
    {"type": "data", "value": {"weight": 1e16, "zero": -0.0, "none": None}},
]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"parcel": 7}'}}],
}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Where is my parcel? 📦 \u0000 line\nbreak \ud800 "quoted" żółć'},
    {"role": "user", "content": PARTS, "metadata": {"channel": "mail", "large": 2**63, "deep": [[[]]]}},
    {
        "role": "assistant",
        "content": CALL,
        "format": "openai.chat",
        "usage": {"input_tokens": 410, "output_tokens": 12, "cached_input_tokens": 300, "cost": "0.0000000001"},
        "model": "any-model",
    },
    {"role": "tool", "content": "in Linden", "tool_call_id": "call_1"},
    {"role": "assistant", "content": "In Linden.", "usage": {"input_tokens": 430, "output_tokens": 4, "cost": "0.5"}},
]


def upgrade(url: str) -> str:
    """Make the tables, as a deploy does."""
    database = Database(url)
    schema.upgrade(database)
    database.close()
    return schema.current(Database(url))


def where_from() -> str:
    """Where the package that is tested was imported from."""
    return sessionledger.__file__


# Round trip, export and import


def write(url: str) -> dict[str, Any]:
    """Store a session with messages of every kind; say what should be there."""
    with sessionledger.connect(url, namespace="robot") as sessions:
        session = sessions.create(
            actor_name="support-bot", key="case 17", title="A parcel", metadata={"a": [1, 2.5]}, workspace="parcels"
        )
        messages = sessions.append_messages(session.session_id, CONVERSATION[:3])
        for message in CONVERSATION[3:]:
            messages.append(sessions.append_message(session.session_id, **message))
        sessions.update_token_usage(session.session_id, reasoning_tokens=5, cost=Decimal("0.25"), model="any-model")
        return _told(sessions, session.session_id, messages)


def read(url: str, session_id: str) -> dict[str, Any]:
    """Say what is there, in a process that has not written it."""
    with sessionledger.connect(url, namespace="robot") as sessions:
        return _told(sessions, session_id, sessions.get_messages(session_id))


def read_elsewhere(url: str, session_id: str) -> str:
    """Look for the session from another namespace."""
    with sessionledger.connect(url, namespace="other") as sessions:
        try:
            sessions.get(session_id)
        except sessionledger.SessionNotFoundError:
            return "not found"
        return "found"


def export(url: str, session_id: str, path: str) -> dict[str, Any]:
    """Export a session to a file."""
    with sessionledger.connect(url, namespace="robot") as sessions, Path(path).open("wb") as file:
        return asdict(sessions.export_session(session_id, file))


def import_twice(url: str, path: str) -> dict[str, Any]:
    """Import a file two times and once as a copy; count the sessions there are then."""
    with sessionledger.connect(url, namespace="robot") as sessions:
        data = Path(path).read_bytes()
        first, second = (sessions.import_session(io.BytesIO(data)).session_id for _ in range(2))
        copy = sessions.import_session(io.BytesIO(data), as_copy=True).session_id
        return {
            "session_id": first,
            "same_again": first == second,
            "copy_is_another": copy not in {first, second},
            "copy": _told(sessions, copy, sessions.get_messages(copy)),
            "sessions": len(sessions.list()),
        }


def import_damaged(url: str, path: str, flips: int) -> dict[str, Any]:
    """Import a file with one bit flipped, many times, and count what was refused and what was written."""
    refused: Counter[str] = Counter()
    data = Path(path).read_bytes()
    places = random.Random(17)
    with sessionledger.connect(url, namespace="damaged") as sessions:
        for _ in range(flips):
            damaged = bytearray(data)
            damaged[places.randrange(len(data))] ^= 1 << places.randrange(8)
            try:
                sessions.import_session(io.BytesIO(damaged))
            except sessionledger.ArchiveError:
                refused["refused"] += 1
        for cut in (0, 1, len(data) // 2, len(data) - 1):
            try:
                sessions.import_session(io.BytesIO(data[:cut]))
            except sessionledger.ArchiveError:
                refused["refused"] += 1
        return {"tried": flips + 4, "refused": refused["refused"], "written": len(sessions.list())}


def _told(sessions: Any, session_id: str, messages: list[Any]) -> dict[str, Any]:
    session = sessions.get(session_id)
    return {
        "session_id": session_id,
        "title": session.title,
        "actor_name": session.actor_name,
        "workspace": session.workspace,
        "metadata": session.metadata,
        "last_sequence": session.last_sequence,
        "usage": {name: str(value) for name, value in asdict(session.usage).items()},
        "messages": [
            {
                name: str(value) if name == "created_at" else value
                for name, value in asdict(message).items()
                if name not in {"session_id", "message_id"}  # an import mints new ones
            }
            for message in messages
        ],
        "content_as_sent": [message.content for message in messages] == [each["content"] for each in CONVERSATION],
    }


# Several processes on one session


def new_session(url: str) -> str:
    """Make an empty session."""
    with sessionledger.connect(url) as sessions:
        return sessions.create(actor_name="support-bot").session_id


# Token usage


@prepares
def add_usage(url: str, session_id: str, writer: int, count: int) -> dict[str, int]:
    """Add usage by both ways there are, and send each third record twice."""
    numbers = random.Random(writer)
    sums: Counter[str] = Counter()
    errors = 0
    with sessionledger.connect(url) as sessions:
        ready()
        for each in range(count):
            usage = {
                "input_tokens": numbers.randrange(10**6),
                "output_tokens": numbers.randrange(10**4),
                "cached_input_tokens": numbers.randrange(10**3),
                "cost": Decimal(numbers.randrange(10**9)).scaleb(-10),
            }
            usage_id = sessionledger.new_id()
            try:
                for _ in range(2 if each % 3 == 0 else 1):
                    if each % 2:
                        sessions.append_message(session_id, "assistant", "Yes.", usage=usage, message_id=usage_id)
                    else:
                        sessions.update_token_usage(session_id, **usage, usage_id=usage_id)
            except sessionledger.SessionLedgerError:
                errors += 1
            else:
                sums.update({**usage, "cost": int(usage["cost"].scaleb(10))})
    return {**sums, "errors": errors}


@prepares
def add_usage_naively(url: str, session_id: str, writer: int, count: int) -> dict[str, int]:
    """The control: read the total, add, write it back."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        ready()
        for _ in range(count):
            look = sqlalchemy.text("SELECT input_tokens FROM sessions WHERE session_id = :id")
            total = connection.execute(look, {"id": session_id}).scalar()
            write = sqlalchemy.text("UPDATE sessions SET input_tokens = :total WHERE session_id = :id")
            connection.execute(write, {"total": total + writer + 1, "id": session_id})
    return {"input_tokens": (writer + 1) * count, "errors": 0}


def totals(url: str, session_id: str, writers: list[dict[str, int]]) -> dict[str, Any]:
    """Compare a session's totals with the sums of what was added."""
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cost")
    with sessionledger.connect(url) as sessions:
        usage = sessions.get(session_id).usage
        records = sum(each.records for each in sessions.sum_token_usage(session_id=session_id))
    sums = {name: sum(writer.get(name, 0) for writer in writers) for name in names}
    found = {name: getattr(usage, name) or 0 for name in names}
    found["cost"] = int(found["cost"].scaleb(10)) if found["cost"] else 0
    return {
        "exact": found == sums,
        "added": sums["input_tokens"],
        "found": found["input_tokens"],
        "records": records,
        "errors": sum(writer["errors"] for writer in writers),
    }


VERBS = [
    upgrade, where_from, write, read, read_elsewhere, export, import_twice, import_damaged, new_session, add_usage,
    add_usage_naively, totals,
]  # fmt: skip

if __name__ == "__main__":
    answer({verb.__name__: verb for verb in VERBS})
