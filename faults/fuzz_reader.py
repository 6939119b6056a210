"""Coverage-guided fuzzing of the archive reader, with atheris; run by fault_fuzzing.py in a process of its own.

python fuzz_reader.py REPORT SLOW PLANTED [libFuzzer's arguments] CORPUS

Plain mutations would all end at the digest. So the mutator takes an archive apart, changes a line or the lines, and
seals it again; half of the time it makes `preceding_sha256` right as well; now and then it changes the bytes as they
are. Any error but an ArchiveError is a crash, and so is an input that takes too long.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import atheris

with atheris.instrument_imports(include=["sessionledger.domain"]):
    import sessionledger.domain.archive  # noqa: F401 - before anything else imports it

from archives import FORMS, compressed, sealed
from mutations import MOVES, chained, exchange_bound, replace_session
from sessionledger.domain.archive import ArchiveLimits, ArchiveReader, reader
from sessionledger.domain.archive.compression import Decompressed, compression_of
from sessionledger.domain.errors import ArchiveError, ArchiveFormatError

REPORT, SLOW, PLANTED = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "planted"
LIMITS = ArchiveLimits(size=1024 * 1024)
ODD = (None, True, -1, 0, 2**63, 10**39, 1e308, -0.0, "", "\0", "\ud800", [], {}, [[]], {"a": {}}, "2026-13-01", "1e5")
KEPT_RAW = 0.1


class SlowError(Exception):
    """An input took too long."""


class Told:
    """What came of the inputs so far, kept in a file: libFuzzer ends the process when it likes."""

    def __init__(self) -> None:
        self.counts: dict[str, Any] = {"inputs": 0, "accepted": 0, "refused by a line's rule": 0, "slowest ms": 0.0}

    def add(self, came: str | None, seconds: float) -> None:
        self.counts["inputs"] += 1
        if came is not None:
            self.counts[came] += 1
        self.counts["slowest ms"] = max(self.counts["slowest ms"], round(seconds * 1000, 1))
        if self.counts["inputs"] % 500 == 0:
            self.keep()

    def keep(self) -> None:
        REPORT.write_text(json.dumps(self.counts))


TOLD = Told()


def test_one_input(data: bytes) -> None:
    """Read it, and everything in it."""
    began = time.process_time()
    came = None
    try:
        for _ in ArchiveReader(io.BytesIO(data), LIMITS).records():
            pass
        came = "accepted"
    except ArchiveFormatError as error:
        came = None if error.line is None else "refused by a line's rule"
    except ArchiveError:
        pass
    except BaseException as error:
        TOLD.counts["crash"] = type(error).__name__
        TOLD.keep()
        raise
    seconds = time.process_time() - began
    TOLD.add(came, seconds)
    if seconds > SLOW:
        TOLD.counts["crash"] = "SlowError"
        TOLD.keep()
        raise SlowError(seconds)


def plain(data: bytes) -> bytes:
    """What is in it, as far as it can be decompressed."""
    compression = compression_of(data)
    if compression is None:
        return data
    made = bytearray()
    with suppress(ArchiveError):
        stream = Decompressed(io.BytesIO(data), compression, LIMITS)
        while (piece := stream.read(65_536)) and len(made) < LIMITS.size:
            made += piece
    return bytes(made)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """One step from an input to the next."""
    chance = random.Random(seed)
    if chance.random() < KEPT_RAW:
        return atheris.Mutate(data, most)
    lines = plain(data).splitlines(keepends=True)[:-1]
    if not lines:
        return atheris.Mutate(data, most)
    how = chance.random()
    if how < 0.35:
        at = chance.randrange(len(lines))
        lines[at] = atheris.Mutate(lines[at], len(lines[at]) + 200)
    elif how < 0.75:
        at = chance.randrange(len(lines))
        lines[at] = odd(chance, lines[at])
    else:
        with suppress(
            ValueError, LookupError, TypeError, AttributeError, RecursionError
        ):  # it need not be JSON any more
            lines = chance.choice((*MOVES, exchange_bound, replace_session))(chance, lines, list(lines))
    if chance.random() < 0.5:
        lines = chained(lines)
    form = compression_of(data) if chance.random() < 0.8 else chance.choice(FORMS)
    return compressed(sealed(lines), form)[:most]


def odd(chance: random.Random, line: bytes) -> bytes:
    """A line with an odd value in the place of one of its values, or with a field more or less."""
    try:
        values = json.loads(line)
        holder: Any = values
        while True:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            key = chance.choice(keys)
            if not isinstance(holder[key], (dict, list)) or not holder[key] or chance.random() < 0.5:
                break
            holder = holder[key]
        if isinstance(holder, dict) and chance.random() < 0.15:
            del holder[key]
        else:
            holder[key] = chance.choice(ODD)
        return json.dumps(values, ensure_ascii=chance.random() < 0.5).encode(errors="replace") + b"\n"
    except (ValueError, TypeError, IndexError, RecursionError):
        return line


def careless_read(number: int, read: Any, *values: Any) -> Any:  # noqa: ARG001
    """The bug that is planted: what is wrong with a field comes out as it is."""
    return read(*values)


def main() -> None:
    if PLANTED:
        mock.patch.object(reader, "_read", careless_read).start()
    atheris.Setup([sys.argv[0], *sys.argv[4:]], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
