"""Archives that are small, or look small, and would cost a careless reader all its memory or time.

Each is read by a process of its own. What it costs more than a small good archive is held against the figures.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from archives import archive, compressed, invented, sealed, unsealed
from harness import Found, Kind, control, fault
from memory import MIB, Cost, cost
from sessionledger.domain.archive import ArchiveFile, ArchiveLimits, Compression

SECONDS = 1.0
MEMORY = 96 * MIB
LIMITS = ArchiveLimits()
GOOD = unsealed(archive([invented(1, 1)], "bomb"))
"""The lines of a header, a session, a message and its usage."""
_MESSAGE = re.compile(rb'(\{"content":).*?(,"content_sha256".*"format":")text(".*\n)')
ADDRESS_SPACE = 2048 * MIB
"""What an unbounded reader may take, so that the machine lives."""
WIDE = "📦".encode()
"""One such character makes every character of a Python string take four bytes."""

Make = Callable[[BinaryIO, int], None]
"""Writes a bomb to a file; those that grow are told how many MiB they are to become."""

BOMBS: dict[str, Make] = {}


def bomb(name: str) -> Callable[[Make], Make]:
    def declare(make: Make) -> Make:
        BOMBS[name] = make
        return make

    return declare


def zeros(file: BinaryIO, compression: Compression, mib: int) -> None:
    """A stream of so many MiB of zeros."""
    stream = ArchiveFile(file, compression)
    for _ in range(mib):
        stream.write(bytes(MIB))
    stream.finish()


@bomb("zstd, 32,000 to 1")
def _(file: BinaryIO, mib: int) -> None:
    zeros(file, "zstd", mib)


@bomb("gzip, 1,000 to 1")
def _(file: BinaryIO, mib: int) -> None:
    zeros(file, "gzip", mib // 2)


@bomb("gzip in gzip")
def _(file: BinaryIO, mib: int) -> None:
    inner = io.BytesIO()
    zeros(inner, "gzip", mib // 2)
    file.write(compressed(inner.getvalue(), "gzip"))


@bomb("gzip in zstd")
def _(file: BinaryIO, mib: int) -> None:
    inner = io.BytesIO()
    zeros(inner, "gzip", mib // 2)
    file.write(compressed(inner.getvalue(), "zstd"))


@bomb("zstd of one valid line again and again")
def _(file: BinaryIO, mib: int) -> None:
    stream = ArchiveFile(file, "zstd")
    stream.write(b"".join(GOOD[:2]))
    lines = GOOD[2] * (MIB // len(GOOD[2]))
    for _ in range(mib):
        stream.write(lines)
    stream.finish()


@bomb("gzip whose name has no end")
def _(file: BinaryIO, mib: int) -> None:
    file.write(b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"n" * (mib * MIB // 16))


@bomb("gzip of empty blocks")
def _(file: BinaryIO, mib: int) -> None:
    file.write(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\0\0\0\xff\xff" * (mib * MIB // 16 // 5))


@bomb("zstd of empty blocks")
def _(file: BinaryIO, mib: int) -> None:
    file.write(b"\x28\xb5\x2f\xfd\x00\x58" + b"\0\0\0" * (mib * MIB // 16 // 3))


@bomb("a zstd window of 2 GiB")
def _(file: BinaryIO, mib: int) -> None:  # noqa: ARG001
    file.write(b"\x28\xb5\x2f\xfd\x00\xa8" + compressed(sealed(GOOD), "zstd")[6:])


@bomb("a zstd frame that says it holds 2⁶² bytes")
def _(file: BinaryIO, mib: int) -> None:  # noqa: ARG001
    file.write(b"\x28\xb5\x2f\xfd\xe0" + (2**62).to_bytes(8, "little") + compressed(sealed(GOOD), "zstd")[6:])


@bomb("a line of 1 GB")
def _(file: BinaryIO, mib: int) -> None:
    file.write(b'{"content":"')
    file.truncate(mib * MIB)  # a hole reads as zeros and takes no place


def header(file: BinaryIO, **changed: object) -> None:
    line = json.dumps(json.loads(GOOD[0]) | changed).encode() + b"\n"
    file.write(sealed([line, *GOOD[1:]]))


@bomb("a header that says 10¹⁸ messages")
def _(file: BinaryIO, mib: int) -> None:  # noqa: ARG001
    header(file, messages=10**18)


@bomb("a header that says 10¹⁸ sessions")
def _(file: BinaryIO, mib: int) -> None:  # noqa: ARG001
    header(file, sessions=10**18, usage_records=10**18)


@bomb("a header nested 100,000 levels deep")
def _(file: BinaryIO, mib: int) -> None:  # noqa: ARG001
    file.write(sealed([GOOD[0][:-2] + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", *GOOD[1:]]))


# Contents of one message, in an archive that is valid but for them


def message(content: bytes) -> bytes:
    """An archive with one message of this content, and of any format."""
    parts = _MESSAGE.fullmatch(GOOD[2])
    line = parts[1] + content + parts[2] + b"json" + parts[3]
    return sealed([*GOOD[:2], line, *GOOD[3:]])


ROOM = LIMITS.line - len(message(b""))
"""The bytes that a content may have in a line; it is a little less."""
KEYS = 199_000


def keys(number: int, length: int, tail: bytes = b"") -> bytes:
    """An object with so many keys."""
    return b"{" + b",".join(b'"%0*d%s":0' % (length, key, tail) for key in range(number)) + b"}"


CONTENTS: dict[str, Callable[[], bytes]] = {
    "8 MiB of {}": lambda: b"[" + b"{}," * (ROOM // 3 - 1) + b"0]",
    "8 MiB of [": lambda: b"[" * ROOM,
    "8 MiB of []": lambda: b"[" * (ROOM // 2) + b"]" * (ROOM // 2),
    '8 MiB of {"a":': lambda: b'{"a":' * (ROOM // 5),
    "8 MiB of numbers": lambda: b"[" + b"1," * (ROOM // 2 - 1) + b"1]",
    "8 MiB of keys": lambda: keys(ROOM // 13 - 1, 8),
    "8 MiB of one key, again and again": lambda: b"{" + b'"a":1,' * (KEYS - 1) + b'"a":1}',
    "8 MiB of short texts": lambda: b"[" + b'"",' * (ROOM // 3 - 1) + b'""]',
    "199,000 keys": lambda: keys(KEYS, 30),
    "199,000 keys of wide characters": lambda: keys(KEYS, 24, WIDE),
    "nested 10,000 levels deep": lambda: b"[" * 10_000 + b"]" * 10_000,
    "nested 1,000,000 levels deep": lambda: b"[" * 1_000_000 + b"]" * 1_000_000,
    "a number of 5,000 digits": lambda: b"7" * 5_000,
    "a number of 8 MiB": lambda: b"7" * ROOM,
    "a number of 8 MiB with a point": lambda: b"7." + b"7" * (ROOM - 2),
    "an exponent of 5,000 digits": lambda: b"1e" + b"9" * 5_000,
    "1e400": lambda: b"1e400",
    "8 MiB of escaped quotes and commas without an end": lambda: b'"' + b'\\",' * (ROOM // 3),
    "8 MiB of escaped quotes and commas": lambda: b'"' + b'\\",' * (ROOM // 3 - 1) + b'"',
    "8 MiB of lone surrogates": lambda: b'"' + b"\\ud800" * (ROOM // 6 - 1) + b'"',
    "8 MiB of wide text": lambda: b'"' + b"a" * (ROOM - 8) + WIDE + b'"',
    "7 MiB of wide text with another hash": lambda: b'"' + b"a" * (7 * MIB - 8) + WIDE + b'"',
}

for _name, _content in CONTENTS.items():
    BOMBS[_name] = lambda file, _, content=_content: file.write(message(content())) and None


# Python keeps a text in four bytes a character if one of its characters needs them: such keys, and the pieces of their
# canonical text, are four times as long in memory as in the file. Measured: 102 to 109 MiB.
MORE = {"199,000 keys of wide characters": 112 * MIB}

# Measuring


@contextmanager
def laid(make: Make, mib: int) -> Iterator[Path]:
    """A bomb in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bomb")
        with path.open("wb") as file:
            make(file, mib)
        yield path


def good(file: BinaryIO, _: int) -> None:
    file.write(sealed(GOOD))


def baseline(found: Found) -> Cost:
    """What a small good archive costs."""
    with laid(good, 0) as path:
        costs = cost("read", path)
    assert costs.outcome == "accepted", costs.outcome
    found |= {"bombs": 0, "refused": 0, "most seconds": 0.0, "slowest": "", "most MiB": 0, "largest": ""}
    return costs


def count(found: Found, name: str, costs: Cost, base: Cost) -> None:
    """Count what a bomb costs more than the small archive."""
    seconds, memory = round(costs.seconds - base.seconds, 2), (costs.peak - base.peak) // MIB
    found["bombs"] += 1
    found["refused"] += costs.outcome.startswith("refused")
    if seconds > found["most seconds"]:
        found |= {"most seconds": seconds, "slowest": name}
    if memory > found["most MiB"]:
        found |= {"most MiB": memory, "largest": name}


@fault("bombs", short={"mib": 64, "every": 2}, full={"mib": 1024, "every": 1}, databases=("sqlite",))
def bombs(kind: Kind, found: Found, *, mib: int, every: int) -> None:  # noqa: ARG001
    base = baseline(found)
    wrong = []
    for name, make in list(BOMBS.items())[::every]:
        with laid(make, mib) as path:
            costs = cost("read", path)
        count(found, name, costs, base)
        seconds, memory = costs.seconds - base.seconds, costs.peak - base.peak
        if not costs.outcome.startswith("refused") or seconds > SECONDS or memory > MORE.get(name, MEMORY):
            wrong.append(f"{name}: {costs.outcome}, {seconds:.1f} s, {memory // MIB} MiB")
    assert not wrong, "; ".join(wrong)


CARELESS = (
    "zstd, 32,000 to 1",
    "gzip, 1,000 to 1",
    "zstd of one valid line again and again",
    "a line of 1 GB",
    "8 MiB of {}",
)


@control("a reader without bounds", short={"mib": 160}, full={"mib": 1024}, databases=("sqlite",))
def bombs_unbounded(kind: Kind, found: Found, *, mib: int) -> None:  # noqa: ARG001
    base = baseline(found)
    found |= {"beyond the figures": 0}
    for name in CARELESS:
        with laid(BOMBS[name], mib) as path:
            costs = cost("unbounded", path, address_space=ADDRESS_SPACE)
        count(found, name, costs, base)
        found["beyond the figures"] += costs.peak - base.peak > MEMORY or costs.seconds - base.seconds > SECONDS
    assert found["beyond the figures"] == len(CARELESS), "it is within the figures"
