"""Archives made past the library, with `json` and `hashlib` alone, as another implementation would make them.

What is made here is right; the steps break it. The words, names and ids are invented.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Record = dict[str, Any]

COUNTS = ("cache_write_tokens", "cached_input_tokens", "input_tokens", "output_tokens", "reasoning_tokens")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PRECEDING = re.compile(rb'"preceding_sha256":"[0-9a-f]{64}"')


def canonical(value: Any) -> str:
    """A value's canonical text."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ulid(kind: str, *numbers: int) -> str:
    """An id of a kind (one letter) that ascends with the numbers."""
    return f"01JD{kind}{''.join(f'{number:07}' for number in numbers):0>21}"


def time(seconds: int) -> str:
    return (datetime(2026, 1, 5, 9, 30, 0, 250_000, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()


def header(records: Sequence[Record] = (), **changes: Any) -> Record:
    kinds = [record["record"] for record in records]
    return {
        "format": "sessionledger.archive",
        "format_version": 1,
        "generator": "sessionledger 0.1.0",
        "schema_revision": "a7_007_imports",
        "sessions": kinds.count("session"),
        "messages": kinds.count("message"),
        "usage_records": kinds.count("usage"),
        **changes,
    }


def session(number: int, messages: Iterable[Record] = (), usage: Iterable[Record] = (), **changes: Any) -> list[Record]:
    """A session's record with those of its messages and its token usage, in the order of an archive."""
    messages, usage = list(messages), list(usage)
    session_id = ulid("S", number)
    record = {
        "record": "session",
        "preceding_sha256": "0" * 64,  # `chained` puts the right one in
        "session_id": session_id,
        "namespace": "default",
        "key": None,
        "title": None,
        "actor_name": None,
        "metadata": {},
        "workspace": None,
        "last_sequence": len(messages),
        "usage": totals(usage),
        "created_at": time(number),
        "updated_at": time(number + len(messages)),
        "archived_at": None,
    }
    return [record | changes, *({**each, "session_id": session_id} for each in (*messages, *usage))]


def message(sequence: int, content: Any, *, of: int = 1, **changes: Any) -> Record:
    """The record of a message; `session` gives it its session's id."""
    formats = {str: "text", list: "parts"}
    return {
        "record": "message",
        "message_id": ulid("M", of, sequence),
        "sequence": sequence,
        "role": "user",
        "content": content,
        "format": formats.get(type(content), "json"),
        "content_sha256": sha256(canonical(content)),
        "created_at": time(of + sequence),
        "tool_call_id": None,
        "metadata": {},
        **changes,
    }


def usage(number: int, *, of: int = 1, **changes: Any) -> Record:
    """A record of token usage; `session` gives it its session's id."""
    return {
        "record": "usage",
        "usage_id": ulid("V", of, number),
        "message_id": None,
        "actor_name": None,
        "model": None,
        **dict.fromkeys(COUNTS),
        "input_tokens": 0,
        "output_tokens": 0,
        "cost": None,
        "recorded_at": time(of + number),
        **changes,
    }


def totals(records: Sequence[Record]) -> Record:
    """The sum of records of token usage, as a session has it."""
    costs = [Decimal(record["cost"]) for record in records if record["cost"] is not None]
    counts = {name: sum(record[name] or 0 for record in records) for name in COUNTS}
    return {**counts, "cost": format(sum(costs).normalize(), "f") if costs else None}


def line(record: Record) -> bytes:
    return canonical(record).encode()


def lines_of(records: Sequence[Record], **of_header: Any) -> list[bytes]:
    """The lines of an archive, without line feeds and without the last one."""
    return chained([line(header(records, **of_header)), *map(line, records)])


def chained(lines: Iterable[bytes]) -> list[bytes]:
    """The lines with the right `preceding_sha256` in the lines of sessions."""
    digest, found = hashlib.sha256(), []
    for each in lines:
        preceding = b'"preceding_sha256":"%s"' % digest.hexdigest().encode()
        if b'"record":"session"' in each:
            each = _PRECEDING.sub(preceding, each)
        digest.update(each + b"\n")
        found.append(each)
    return found


def sealed(lines: Iterable[bytes]) -> bytes:
    """Lines as an archive with the right digest."""
    return with_footer(b"".join(each + b"\n" for each in lines))


def with_footer(data: bytes) -> bytes:
    """Bytes, whatever they are, and the last line that is right for them."""
    return data + b'{"sha256":"%s"}\n' % hashlib.sha256(data).hexdigest().encode()


def archive(records: Sequence[Record], **of_header: Any) -> bytes:
    """An archive of these records."""
    return sealed(lines_of(records, **of_header))


def edited(each: bytes, **changes: Any) -> bytes:
    """A line with other fields; content that is changed gets its hash."""
    values = json.loads(each) | changes
    if "content" in changes and "content_sha256" not in changes:
        values["content_sha256"] = sha256(canonical(values["content"]))
    return line(values)


def conversation(*contents: Any) -> list[Record]:
    """The records of one session whose messages have these contents."""
    return session(1, [message(sequence, content) for sequence, content in enumerate(contents, start=1)])


def derived_id(*parts: str) -> str:
    """The id that an import derives: 128 bits of a SHA-256 in Crockford's base 32."""
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).digest()
    number = int.from_bytes(digest[:16], "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * place & 31] for place in reversed(range(26)))


def imported(record: Record, namespace: str, digest: str) -> Record:
    """A record as an import leaves it: other ids, no key, the namespace of the service."""
    session_id = derived_id("import", namespace, digest, record["session_id"])
    found = record | {"session_id": session_id}
    if record["record"] == "session":
        found |= {"namespace": namespace, "key": None}
    for name in ("message_id", "usage_id"):
        if record.get(name) is not None:
            found[name] = derived_id(session_id, record[name])
    return found


def records_of(data: bytes) -> list[Record]:
    """The records of an archive, without header and last line, and without what depends on the lines before."""
    records = [json.loads(each) for each in data.splitlines()[1:-1]]
    return [{name: value for name, value in each.items() if name != "preceding_sha256"} for each in records]


def order(record: Record) -> tuple[Any, ...]:
    """A key that sorts records as an archive does."""
    kinds = ("session", "message", "usage")
    place = record.get("sequence", 0), record.get("usage_id", "")
    return record["session_id"], kinds.index(record["record"]), place
