"""Works whose memory and processor time are measured; each runs in an interpreter of its own (see `memory.cost`).

python works.py read FILE · unbounded FILE · hoarding FILE · export|import WAY URL FILE, where WAY is sync or async
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from pathlib import Path
from typing import BinaryIO

import sessionledger
from memory import MIB, resident, tell
from sessionledger.domain.archive import ArchiveLimits, ArchiveReader
from sessionledger.domain.archive.compression import MAGIC, _zstd

LARGE = ArchiveLimits(size=4096 * MIB, compressed_size=4096 * MIB)
"""For what is large and no bomb."""


def read(path: str) -> None:
    """The reader under test."""
    try:
        with Path(path).open("rb") as file:
            ArchiveReader(file)
    except sessionledger.ArchiveError as error:
        tell(f"refused: {type(error).__name__}")
    else:
        tell("accepted")


def unbounded(path: str) -> None:
    """A careless reader: it decompresses all, decodes all, and then looks at it."""
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:4] in MAGIC:
            data = _zstd().decompress(data)
        for line in data.decode().splitlines():
            json.loads(line)
    except Exception as error:  # noqa: BLE001 - it may fail in any way
        tell(f"failed: {type(error).__name__}")
    else:
        tell("accepted")


def hoarding(path: str) -> None:
    """A careless reader: it keeps all records in a list."""
    idle = resident()
    with Path(path).open("rb") as file:
        list(ArchiveReader(file, LARGE).records())
    tell("accepted", idle)


def of_service(work: str, way: str, url: str, path: str) -> None:
    """An export of all there is, or an import, through a service that is connected and has done both before."""
    from archives import archive, invented  # what only reads should not pay for it

    small = io.BytesIO(archive([invented(4, 1)], "to warm up"))
    with Path(path).open("wb" if work == "export" else "rb") as file:
        if way == "sync":
            _sync(work, url, small, file)
        else:
            asyncio.run(_async(work, url, small, file))


def _sync(work: str, url: str, small: io.BytesIO, file: BinaryIO) -> None:
    with sessionledger.connect(url) as sessions:
        session = sessions.import_session(small)
        sessions.export_session(session.session_id, io.BytesIO())
        sessions.delete(session.session_id)
        idle = resident()
        done = sessions.export_sessions(file) if work == "export" else sessions.import_sessions(file, limits=LARGE)
        tell(f"{done.messages} messages", idle)


async def _async(work: str, url: str, small: io.BytesIO, file: BinaryIO) -> None:
    async with await sessionledger.connect_async(url) as sessions:
        session = await sessions.import_session(small)
        await sessions.export_session(session.session_id, io.BytesIO())
        await sessions.delete(session.session_id)
        idle = resident()
        work_done = sessions.export_sessions(file) if work == "export" else sessions.import_sessions(file, limits=LARGE)
        tell(f"{(await work_done).messages} messages", idle)


def main() -> None:
    work, *arguments = sys.argv[1:]
    alone = {"read": read, "unbounded": unbounded, "hoarding": hoarding}
    if work in alone:
        alone[work](*arguments)
    else:
        of_service(work, *arguments)


if __name__ == "__main__":
    main()
