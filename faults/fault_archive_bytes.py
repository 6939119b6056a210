"""Archives whose bytes are changed, missing, more, or in another order: none is read as anything else than it was."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import sessionledger
from archives import FORMS, SEED, compressed, mixed, read, sealed
from harness import Found, Kind, control, fault
from mutations import FREE, Lines, chained, exchange, mutations, records_of, rules_off, sources
from sessionledger.domain.archive import ArchiveReader, SigningKey
from sessionledger.domain.archive.compression import _zstd

SAMPLE = 199
"""Every how-manyeth refused archive is given to a service too; no multiple of 8, so that all bits come about."""

Read = Callable[[bytes], Any]


def outcome(reader: Read, data: bytes, expected: Any) -> str:
    """What a reader makes of changed bytes.

    Returns:
        `refused`, `same` for accepted and read as the original, `other` for accepted and read as something else.
    """
    try:
        records = reader(data)
    except sessionledger.ArchiveError:
        return "refused"
    return "same" if records == expected else "other"


class Service:
    """A service that is given what the reader has refused; nothing of it may be stored."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._url = kind.fresh()
        self.tried = 0

    def expect_refusals(self, archives: Iterable[bytes]) -> None:
        """Let it import each of them, and look at the tables."""
        with sessionledger.connect(self._url) as sessions:
            for data in archives:
                self.tried += 1
                try:
                    sessions.import_sessions(io.BytesIO(data))
                except sessionledger.ArchiveError:
                    continue
                raise AssertionError("a service imports what the reader refuses")
        with self._kind.asked(self._url) as ask:
            assert ask("SELECT count(*) AS stored FROM sessions") == [{"stored": 0}], "something of it was stored"


# Every bit


def flipped(data: bytes) -> Iterator[bytes]:
    """An archive with each of its bits the other way round."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flip_all(found: Found, archives: Iterable[tuple[str, bytes]], reader: Read) -> list[bytes]:
    """Flip every bit of some archives, and count; return some of the refused ones."""
    refused = []
    for name, data in archives:
        expected = reader(data)
        found["archives"] += 1
        for changed in flipped(data):
            came = outcome(reader, changed, expected)
            found["flips"] += 1
            found["accepted with other content"] += came == "other"
            if came == "same":
                form = f"accepted with the same content, {name.partition(',')[0]}"
                found[form] = found.get(form, 0) + 1
            elif came == "refused" and found["flips"] % SAMPLE == 0:
                refused.append(changed)
    return refused


def counted_flips(found: Found) -> None:
    found |= {"archives": 0, "flips": 0, "accepted with other content": 0}


@fault(
    "every bit of archives flipped",
    short={"archives": 3, "size": 1_500},
    full={"archives": 20, "size": 7_500},
    databases=("sqlite",),
)
def flipped_bits(kind: Kind, found: Found, *, archives: int, size: int) -> None:
    counted_flips(found)
    service = Service(kind)
    made = mixed(size, archives)
    service.expect_refusals(flip_all(found, made, read))
    found |= {"of real conversations": sum("real" in name for name, _ in made), "through a service": service.tried}
    assert not found["accepted with other content"], "a changed archive was accepted"
    assert "accepted with the same content, plain" not in found, "a changed plain archive was accepted"
    assert service.tried, "none went through a service"


def of_messages_only(data: bytes) -> list[Any]:
    """A careless reader: the digest in the last line is that of the lines of messages.

    Raises:
        ArchiveError: It is refused.
    """
    *lines, footer = data.split(b"\n")[:-1]
    try:
        records = [json.loads(line) for line in lines]
        digest = digest_of_messages(lines)
        valid = json.loads(footer) == {"sha256": digest} and records[0]["format"] == "sessionledger.archive"
    except (ValueError, LookupError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise sessionledger.ArchiveFormatError("it is not valid")
    return records


def digest_of_messages(lines: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(line for line in lines if b'"record":"message"' in line)).hexdigest()


@control(
    "a checksum over messages only",
    short={"archives": 1, "size": 1_500},
    full={"archives": 6, "size": 7_500},
    databases=("sqlite",),
)
def flipped_bits_messages_only(kind: Kind, found: Found, *, archives: int, size: int) -> None:  # noqa: ARG001
    counted_flips(found)
    made = []
    for name, data in mixed(size, archives * len(FORMS)):
        if name.startswith("plain"):
            lines = data.split(b"\n")[:-2]
            made.append((name, b"\n".join([*lines, b'{"sha256":"%s"}\n' % digest_of_messages(lines).encode()])))
    flip_all(found, made, of_messages_only)
    assert found["accepted with other content"], "it accepted nothing"


# Less and more


def cut_short(data: bytes) -> Iterator[bytes]:
    """An archive cut at each of its bytes, and without each of its beginnings."""
    for length in range(len(data)):
        yield data[:length]
        yield data[length + 1 :]


def with_junk(data: bytes, longest: int) -> Iterator[bytes]:
    """An archive with something after it, or before it."""
    chance = random.Random(SEED)
    junk = [bytes([byte]) for byte in range(256)]
    junk += [chance.randbytes(length) for length in range(2, longest)]
    junk += [b"\0" * length for length in range(2, longest)]
    junk += [b"\n", b"\r\n", b"\xef\xbb\xbf", data, data[-78:]]
    junk += [compressed(text, form) for form in FORMS[1:] for text in (b"", b"\n", data)]
    junk += [b"\x50\x2a\x4d\x18\x04\0\0\0junk"]  # a frame that a zstd decompressor skips
    for each in junk:
        yield data + each
        yield each + data


def refuse_all(found: Found, name: str, archives: Iterable[bytes], reader: Read) -> list[bytes]:
    """Count what is refused; return some of it."""
    refused = []
    found |= {name: 0, f"{name}, accepted": 0}
    for data in archives:
        found[name] += 1
        came = outcome(reader, data, None)
        found[f"{name}, accepted"] += came != "refused"
        if came == "refused" and found[name] % SAMPLE == 0:
            refused.append(data)
    return refused


def less_and_more(found: Found, archives: int, size: int, longest: int, reader: Read) -> list[bytes]:
    """Cut archives short and add to them."""
    made = [data for _, data in mixed(size, archives)]
    found |= {"archives": archives}
    refused = refuse_all(found, "cut", (cut for data in made for cut in cut_short(data)), reader)
    more = (more for data in made for more in with_junk(data, longest))
    return refused + refuse_all(found, "with junk", more, reader)


@fault(
    "archives cut at every byte, and with junk, a second stream or themselves after and before them",
    short={"archives": 3, "size": 1_500, "longest": 32},
    full={"archives": 20, "size": 7_500, "longest": 512},
    databases=("sqlite",),
)
def cut_archives(kind: Kind, found: Found, *, archives: int, size: int, longest: int) -> None:
    service = Service(kind)
    service.expect_refusals(less_and_more(found, archives, size, longest, read))
    found |= {"through a service": service.tried}
    assert not found["cut, accepted"] + found["with junk, accepted"], "one was accepted"


def stops_at_the_end(data: bytes) -> list[bytes]:
    """A careless reader: what comes after the footer, or after the compressed stream, it does not look at.

    Raises:
        ArchiveError: It is refused.
    """
    try:
        if data.startswith(b"\x1f\x8b"):
            data = zlib.decompressobj(31).decompress(data)
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            data = _zstd().ZstdDecompressor().decompress(data)
    except (zlib.error, _zstd().ZstdError):
        raise sessionledger.ArchiveFormatError("its stream is damaged") from None
    lines = []
    for line in data.splitlines(keepends=True):
        if line == sealed(lines)[-len(line) :] and lines:
            return lines
        lines.append(line)
    raise sessionledger.ArchiveFormatError("it has no footer")


@control(
    "a reader that stops at the footer, or at the stream's end",
    short={"archives": 3, "size": 1_500, "longest": 32},
    full={"archives": 20, "size": 1_500, "longest": 512},
    databases=("sqlite",),
)
def cut_archives_stopping(kind: Kind, found: Found, *, archives: int, size: int, longest: int) -> None:  # noqa: ARG001
    less_and_more(found, archives, size, longest, stops_at_the_end)
    assert found["with junk, accepted"], "it accepted nothing"


# Lines in another order, with the digest made right


@fault(
    "lines and sessions reordered, dropped, doubled, spliced in, fields exchanged, the digest recomputed",
    short={"count": 3_000},
    full={"count": 100_000},
    databases=("sqlite",),
)
def mutated_lines(kind: Kind, found: Found, *, count: int) -> None:
    archives = sources()
    assert all(len(read(sealed(lines))) == len(lines) - 1 for lines in archives), "a source is refused"
    service = Service(kind)
    by_kind: Counter[str] = Counter()
    refused = []
    found |= {"mutations": 0, "accepted": 0}
    for name, lines in islice(mutations(archives, SEED), count):
        data = sealed(lines)
        came = outcome(read, data, None)
        found["mutations"] += 1
        by_kind[name] += 1
        if came != "refused":
            found["accepted"] += 1
            found.setdefault("first accepted", f"{name}: {len(lines)} lines")
        elif found["mutations"] % SAMPLE == 0:
            refused.append(data)
    service.expect_refusals(refused)
    found |= {"kinds": len(by_kind), "least of a kind": min(by_kind.values()), "through a service": service.tried}
    assert not found["accepted"], "a mutation was accepted"


@control(
    "a reader without one of its rules, each in turn",
    short={"count": 3_000},
    full={"count": 20_000},
    databases=("sqlite",),
)
def mutated_lines_without_a_rule(kind: Kind, found: Found, *, count: int) -> None:  # noqa: ARG001
    archives = sources()
    found |= {"rules": 0, "accepts without it": 0, "refused by another rule": ""}
    for rule, off in rules_off():
        found["rules"] += 1
        with off:
            accepted = any(accepts(sealed(lines)) for _, lines in islice(mutations(archives, SEED), count))
        found["accepts without it"] += accepted
        if not accepted:
            found["refused by another rule"] += f"({rule}) "
    assert found["accepts without it"] > found["rules"] // 2, "too many rules are not needed"


def accepts(data: bytes) -> bool:
    """Whether a reader accepts it; without a rule it may fail in any way."""
    try:
        read(data)
    except Exception:  # noqa: BLE001
        return False
    return True


@control(
    "fields that no rule binds (role, time, title …) exchanged: a digest is no signature",
    short={"count": 500},
    full={"count": 10_000},
    databases=("sqlite",),
)
def mutated_lines_unbound(kind: Kind, found: Found, *, count: int) -> None:  # noqa: ARG001
    key = SigningKey.generate()
    found |= {"exchanged": 0, "accepted": 0, "accepted under a signature of the original": 0}
    chance = random.Random(SEED)
    archives = sources()
    while found["exchanged"] < count:
        original = chance.choice(archives)
        lines = chained(exchange(chance, list(original), chance.choice(FREE)))
        if records_of(lines) == records_of(original):
            continue
        found["exchanged"] += 1
        found["accepted"] += accepts(sealed(lines))
        found["accepted under a signature of the original"] += accepts_signed(original, lines, key)
    assert found["accepted"], "it accepted nothing"
    assert not found["accepted under a signature of the original"], "a signature does not bind the content"


def accepts_signed(original: Lines, lines: Lines, key: SigningKey) -> bool:
    """Whether a changed archive is accepted where a signature is required, with that of the original."""
    signature = key.sign(ArchiveReader(io.BytesIO(sealed(original))).sha256, "parcels")
    try:
        ArchiveReader(io.BytesIO(sealed(lines)), signature=signature, trusted_keys=[key.public_key])
    except sessionledger.ArchiveError:
        return False
    return True
