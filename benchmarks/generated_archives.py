"""Archives of any number of sessions, written to a file as they are made, past the library: so memory stays small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

START = datetime(2026, 1, 1, tzinfo=UTC)
ACTORS = 100
COUNTS = ("cache_write_tokens", "cached_input_tokens", "input_tokens", "output_tokens", "reasoning_tokens")
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def write(file: BinaryIO, first: int, sessions: int, messages: int, text: str) -> None:
    """Write an archive.

    Args:
        file: Where to.
        first: The number of its first session; each session of a number has a time and ids of its own.
        sessions: How many sessions.
        messages: How many messages each of them has.
        text: What a message says, behind its number.
    """
    digest = hashlib.sha256()

    def put(line: str) -> None:
        data = f"{line}\n".encode()
        digest.update(data)
        file.write(data)

    header = {
        "format": "sessionledger.archive",
        "format_version": 1,
        "generator": "sessionledger benchmarks",
        "schema_revision": "a7_007_imports",
        "sessions": sessions,
        "messages": sessions * messages,
        "usage_records": 0,
    }
    put(_ENCODE(header))
    for number in range(first, first + sessions):
        put(_session(number, messages, digest.hexdigest()))
        for line in _messages(number, messages, text):
            put(line)
    file.write(b'{"sha256":"%s"}\n' % digest.hexdigest().encode())


def _ulid(kind: str, number: int, of: int = 0) -> str:
    return f"01JD{kind}{of:011}{number:010}"


def _time(number: int, second: int = 0) -> str:
    return (START + timedelta(minutes=number, seconds=second, microseconds=1)).isoformat()


def _session(number: int, messages: int, preceding: str) -> str:
    record = {
        "record": "session",
        "preceding_sha256": preceding,
        "session_id": _ulid("S", number),
        "namespace": "default",
        "key": None,
        "title": f"Parcel {number}",
        "actor_name": f"actor-{number % ACTORS}",
        "metadata": {"channel": "mail", "number": number},
        "workspace": None,
        "last_sequence": messages,
        "usage": {**dict.fromkeys(COUNTS, 0), "cost": None},
        "created_at": _time(number),
        "updated_at": _time(number, messages),
        "archived_at": None,
    }
    return _ENCODE(record)


def _messages(number: int, messages: int, text: str) -> Iterator[str]:
    session_id = _ulid("S", number)
    for sequence in range(1, messages + 1):
        content = f'"{number}/{sequence} {text}"'  # plain ASCII, so that no escape is needed
        yield (
            f'{{"content":{content},"content_sha256":"{hashlib.sha256(content.encode()).hexdigest()}",'
            f'"created_at":"{_time(number, sequence)}","format":"text","message_id":"{_ulid("M", sequence, number)}",'
            f'"metadata":{{}},"record":"message","role":"{"user" if sequence % 2 else "assistant"}",'
            f'"sequence":{sequence},"session_id":"{session_id}","tool_call_id":null}}'
        )
