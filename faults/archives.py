"""Archives for the faults: made without a database, compressed, taken apart into lines, and sealed again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from harness import Missing
from sessionledger.domain.archive import (
    FORMAT_VERSION,
    ArchiveFile,
    ArchiveHeader,
    ArchiveReader,
    ArchiveWriter,
    Compression,
    LedgerRecord,
    MessageRecord,
    Record,
    SessionRecord,
)
from sessionledger.domain.content import JSON, OPENAI_CHAT, PARTS, TEXT, canonical
from sessionledger.domain.ids import derived_id
from sessionledger.domain.models import Session, TokenUsage, UsageRecord, add_usage

REAL = Path(__file__).resolve().parent.parent.parent / "shared/data/tau-bench/gpt-4o-airline.json.gz"
FORMS: tuple[Compression | None, ...] = (None, "gzip", "zstd")
FOOTER_LENGTH = 78
SEED = 4711

_BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_NO_USAGE = TokenUsage(0, 0, 0, 0, 0)
_WORDS = (
    "the",
    "parcel",
    "is",
    "on",
    "its",
    "way",
    "荷物",
    "פריט",
    "κιβώτιο",
    "📦",
    "\\",
    '"',
    "\n",
    "{}[]",
    ",:",
    "4711",
    "1e3",
)


class Item(NamedTuple):
    """A message to be put into an archive."""

    role: str
    content: JSON
    format: str


def invented(length: int, seed: int) -> list[Item]:
    """An invented conversation of so many messages: texts, parts, tool calls."""
    chance = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(chance.choices(_WORDS, k=words))

    made = []
    for number in range(length):
        kind = number % 4
        if kind == 0:
            made.append(Item("user", text(12), TEXT))
        elif kind == 1:
            call = {"id": f"call_{number}", "type": "function", "function": {"name": "track", "arguments": text(4)}}
            made.append(Item("assistant", {"role": "assistant", "content": None, "tool_calls": [call]}, OPENAI_CHAT))
        elif kind == 2:
            answer = {"role": "tool", "tool_call_id": f"call_{number - 1}", "content": text(30)}
            made.append(Item("tool", answer, OPENAI_CHAT))
        else:
            parts = [{"type": "text", "text": text(8)}, {"type": "data", "value": [chance.random(), number, None]}]
            made.append(Item("assistant", parts, PARTS))
    return made


def real_conversations() -> list[list[Item]]:
    """The real conversations that stand beside the project.

    Raises:
        Missing: They are not here.
    """
    if not REAL.exists():
        raise Missing("the real conversations of ../shared/data")
    recorded = json.loads(gzip.decompress(REAL.read_bytes()))
    return [[Item(each["role"], each, OPENAI_CHAT) for each in one["traj"]] for one in recorded]


class _Planned:
    """One session of an archive to be written: it knows its sums before its messages are made."""

    def __init__(self, name: str, number: int, items: Sequence[Item], usage: bool) -> None:
        self.session_id = derived_id("archives", name, str(number))
        self.items = items
        self._number = number
        used = range(0, len(items), 3) if usage else range(0)
        self.ledger = sorted((self._used(at) for at in used), key=lambda each: each.record.usage_id)

    def record(self) -> SessionRecord:
        """Its line."""
        return SessionRecord(
            Session(
                session_id=self.session_id,
                namespace="default",
                created_at=_BEGAN,
                updated_at=_BEGAN + timedelta(seconds=len(self.items)),
                title=f"Parcel {self._number}",
                actor_name="Ann",
                metadata={"ticket": self._number},
                last_sequence=len(self.items),
                usage=reduce(add_usage, (each.record.usage for each in self.ledger), _NO_USAGE),
            )
        )

    def messages(self) -> Iterator[MessageRecord]:
        """The lines of its messages."""
        texts: dict[int, Any] = {}  # the same object many times is put into canonical form once
        for at, item in enumerate(self.items):
            content = texts.get(id(item.content))
            if content is None:
                texts.clear()
                content = texts[id(item.content)] = canonical("content", item.content)
            yield MessageRecord(
                message_id=self._message_id(at),
                session_id=self.session_id,
                sequence=at + 1,
                role=item.role,
                content=content.text,
                format=item.format,
                content_sha256=content.sha256,
                created_at=_BEGAN + timedelta(seconds=at),
                tool_call_id=None,
                metadata="{}" if at % 5 else '{"seen":true}',
            )

    def _message_id(self, at: int) -> str:
        return derived_id("message", self.session_id, str(at))

    def _used(self, at: int) -> LedgerRecord:
        usage = TokenUsage(100 + at, 10 + at, at, 0, 1, Decimal("0.0125"))
        message_id = self._message_id(at)
        record = UsageRecord(message_id, usage, _BEGAN + timedelta(seconds=at), message_id, "Ann", "model-1")
        return LedgerRecord(self.session_id, record)


def lines_of(conversations: Sequence[Sequence[Item]], name: str, *, usage: bool = True) -> Iterator[bytes]:
    """The lines of an archive of these conversations, one at a time; the same name gives the same ids."""
    planned = [_Planned(name, number, items, usage) for number, items in enumerate(conversations)]
    planned.sort(key=lambda each: each.session_id)
    counts = (len(planned), sum(len(each.items) for each in planned), sum(len(each.ledger) for each in planned))
    writer = ArchiveWriter(ArchiveHeader(FORMAT_VERSION, "sessionledger faults", "a7_007", *counts))
    yield writer.header()
    for each in planned:
        yield writer.session(each.record())
        yield from map(writer.message, each.messages())
        yield from map(writer.usage, each.ledger)
    yield writer.footer()


def archive(conversations: Sequence[Sequence[Item]], name: str) -> bytes:
    """A plain archive of these conversations."""
    return b"".join(lines_of(conversations, name))


def compressed(data: bytes, compression: Compression | None) -> bytes:
    """The same archive in another form."""
    made = io.BytesIO()
    file = ArchiveFile(made, compression)
    file.write(data)
    file.finish()
    return made.getvalue()


def read(data: bytes) -> list[Record]:
    """All records of an archive, verified.

    Raises:
        ArchiveError: It is refused.
    """
    return list(ArchiveReader(io.BytesIO(data)).records())


def sealed(lines: Sequence[bytes]) -> bytes:
    """These lines with a footer that is right."""
    body = b"".join(lines)
    return body + b'{"sha256":"%s"}\n' % hashlib.sha256(body).hexdigest().encode()


def unsealed(data: bytes) -> list[bytes]:
    """The lines of a plain archive before its footer."""
    return data.splitlines(keepends=True)[:-1]


def mixed(size: int, count: int) -> list[tuple[str, bytes]]:
    """Archives of about so many bytes each, in all three forms in turn, of real content where it is here.

    Returns:
        Each with what it is, e.g. `zstd, real`.
    """
    try:
        sources = [
            ("real", each[1:]) for each in real_conversations()[: count // 2]
        ]  # the first message is the same in all
    except Missing:
        sources = []
    sources += [("invented", invented(400, seed)) for seed in range(count - len(sources))]
    made = []
    for number, (origin, items) in enumerate(sources):
        compression = FORMS[number % len(FORMS)]
        made.append((f"{compression or 'plain'}, {origin}", _of_size(items, f"mixed {number}", compression, size)))
    return made


def _of_size(items: Sequence[Item], name: str, compression: Compression | None, size: int) -> bytes:
    """An archive of as many of the messages, in two sessions, as make it so long."""
    for length in range(2, len(items) + 1, 2):
        data = compressed(archive([items[: length // 2], items[length // 2 : length]], name), compression)
        if len(data) >= size:
            break
    return data


def spans(lines: Sequence[bytes]) -> list[range]:
    """Where each session of an archive stands: its line and those of its records."""
    starts = [at for at, line in enumerate(lines) if b'"preceding_sha256":' in line]
    return [range(start, end) for start, end in pairwise([*starts, len(lines)])]
