"""What the processes of `session_persistence.robot` do, on an installed wheel: write, read, be killed, and count."""

from __future__ import annotations

import io
import os
import random
import select
import signal
import time
from collections import Counter
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy

import sessionledger
from helper_process import answer, prepares, ready
from sessionledger.application.services import PersistentSessionService
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


@prepares
def append(url: str, session_id: str, writer: int, count: int) -> dict[str, Any]:
    """Append messages one by one, and now and then a batch of three; return what was acknowledged."""
    acknowledged, errors = [], []
    with sessionledger.connect(url) as sessions:
        ready()
        number = 0
        while number < count:
            size = 3 if number % 10 == 5 and number + 3 <= count else 1
            batch = [
                {"role": "user", "content": {"writer": writer, "number": number + each}, "format": "json"}
                for each in range(size)
            ]
            number += size
            try:
                stored = sessions.append_messages(session_id, batch)
            except sessionledger.SessionLedgerError as error:
                errors.append(type(error).__name__)
            else:
                acknowledged += [[message.message_id, message.sequence] for message in stored]
    return {"sent": count, "acknowledged": acknowledged, "errors": errors}


@prepares
def append_naively(url: str, session_id: str, writer: int, count: int) -> dict[str, Any]:
    """The control: number the messages by MAX()+1, as many programs do."""
    acknowledged, errors = [], []
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        ready()
        for number in range(count):
            message_id = sessionledger.new_id()
            following = sqlalchemy.text(
                "SELECT coalesce(max(sequence), 0) + 1 FROM session_messages WHERE session_id = :id"
            )
            store = sqlalchemy.text(
                "INSERT INTO session_messages (message_id, session_id, sequence, role, content, created_at)"
                " VALUES (:message, :id, :sequence, 'user', :content, CURRENT_TIMESTAMP)"
            )
            sequence = connection.execute(following, {"id": session_id}).scalar()
            content = f'{{"number":{number},"writer":{writer}}}'
            values = {"message": message_id, "id": session_id, "sequence": sequence, "content": content}
            try:
                connection.execute(store, values)
            except sqlalchemy.exc.DBAPIError as error:
                errors.append(type(error).__name__)
            else:
                acknowledged.append([message_id, sequence])
    return {"sent": count, "acknowledged": acknowledged, "errors": errors}


@prepares
def follow(url: str, session_id: str, until: int) -> list[int]:
    """Read what is new, again and again, until so many messages were seen; return their sequences as they came."""
    seen: list[int] = []
    with sessionledger.connect(url) as sessions:
        ready()
        deadline = time.monotonic() + 100
        while len(seen) < until and time.monotonic() < deadline:
            seen += [message.sequence for message in sessions.get_messages(session_id, after=seen[-1] if seen else 0)]
            time.sleep(0.005)
    return seen


def count(url: str, session_id: str, writers: list[dict[str, Any]]) -> dict[str, int]:
    """Compare what the writers were told with what is stored."""
    with sessionledger.connect(url) as sessions:
        messages = sessions.get_messages(session_id)
    acknowledged = [tuple(each) for writer in writers for each in writer["acknowledged"]]
    stored = Counter((message.message_id, message.sequence) for message in messages)
    last: dict[int, int] = {}
    out_of_order = 0
    for message in messages:  # each writer's messages must stand in the order in which it sent them
        writer, number = message.content["writer"], message.content["number"]
        out_of_order += number <= last.get(writer, -1)
        last[writer] = number
    return {
        "sent": sum(writer["sent"] for writer in writers),
        "stored": len(messages),
        "lost": sum(1 for each in acknowledged if each not in stored),
        "doubled": len(messages) - len(stored),
        "gaps": sum(1 for at, message in enumerate(messages, start=1) if message.sequence != at),
        "out_of_order": out_of_order,
        "errors": sum(len(writer["errors"]) for writer in writers),
    }


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
        receipt = sessions.export_session(session_id, io.BytesIO())
    sums = {name: sum(writer.get(name, 0) for writer in writers) for name in names}
    found = {name: getattr(usage, name) or 0 for name in names}
    found["cost"] = int(found["cost"].scaleb(10)) if found["cost"] else 0
    return {
        "exact": found == sums,
        "added": sums["input_tokens"],
        "found": found["input_tokens"],
        "records": receipt.usage_records,
        "errors": sum(writer["errors"] for writer in writers),
    }


# Kill -9


def be_killed(url: str, session_id: str, kills: int, way: str) -> dict[str, int]:
    """Kill a client that appends in a loop, at any moment, again and again; count what became of its messages.

    A client says each id before it sends it and again when it is acknowledged; the next client sends again what the one
    before it had sent without an answer. Each client is a fork: one that has imported everything and opened nothing.
    """
    moments = random.Random(9)
    announced: list[str] = []
    acknowledged: set[str] = set()
    for _ in range(kills):
        pending = announced[-1] if announced and announced[-1] not in acknowledged else None
        said = _killed(
            {"durably": _append_durably, "naively": _append_naively_and_die}[way], url, session_id, pending, moments
        )
        for line in said:
            kind, _, message_id = line.partition(" ")
            if kind == "acknowledged":
                acknowledged.add(message_id)
            elif message_id != pending:
                announced.append(message_id)
    with sessionledger.connect(url) as sessions:
        messages = sessions.get_messages(session_id)
    stored = Counter(message.message_id for message in messages)
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "stored": len(messages),
        "lost": len(acknowledged - set(stored)),
        "doubled": len(messages) - len(stored),
        "gaps": sum(1 for at, message in enumerate(messages, start=1) if message.sequence != at),
        "never_sent": len(set(stored) - set(announced)),
    }


def _killed(append: Any, url: str, session_id: str, pending: str | None, moments: random.Random) -> list[str]:
    """Run one client until a random moment, and return every whole line it said."""
    reading, writing = os.pipe()
    client = os.fork()
    if client == 0:
        try:
            append(url, session_id, pending, lambda line: os.write(writing, f"{line}\n".encode()))
        finally:
            os._exit(1)  # it appends until it is killed
    os.close(writing)
    answers, data = moments.randrange(1, 40), b""
    while data.count(b"acknowledged") < answers:
        if not select.select([reading], [], [], 60)[0] or not (piece := os.read(reading, 65536)):
            raise AssertionError(f"the client ended by itself after: {data[-200:]!r}")
        data += piece
    time.sleep(moments.random() * 0.003)  # anywhere within an append
    os.kill(client, signal.SIGKILL)
    os.waitpid(client, 0)
    while piece := os.read(reading, 65536):
        data += piece
    os.close(reading)
    return data.decode().split("\n")[:-1]


def _append_durably(url: str, session_id: str, pending: str | None, say: Any) -> None:
    with sessionledger.connect(url) as sessions:
        while True:
            message_id, pending = pending or sessionledger.new_id(), None
            say(f"sending {message_id}")
            sessions.append_message(session_id, "user", f"message {message_id}", message_id=message_id)
            say(f"acknowledged {message_id}")


def _append_naively_and_die(url: str, session_id: str, pending: str | None, say: Any) -> None:
    """The control: a transaction of the application's own that is committed after every tenth answer."""
    database = Database(url)
    with database.engine.connect() as connection:
        while True:
            for _ in range(10):
                sessions = PersistentSessionService(Database.joined(connection))
                message_id, pending = pending or sessionledger.new_id(), None
                say(f"sending {message_id}")
                sessions.append_message(session_id, "user", f"message {message_id}", message_id=message_id)
                say(f"acknowledged {message_id}")
            connection.commit()


VERBS = [
    upgrade, where_from, write, read, read_elsewhere, export, import_twice, import_damaged, new_session, append,
    append_naively, follow, count, add_usage, add_usage_naively, totals, be_killed,
]  # fmt: skip

if __name__ == "__main__":
    answer({verb.__name__: verb for verb in VERBS})
