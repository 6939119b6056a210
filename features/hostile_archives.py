"""Archives that mean harm: bombs, and files that are made up while they are read."""

from __future__ import annotations

import gzip
import importlib
import io
import struct
import zlib
from typing import Any

from canaries import CONTENT, MARK
from forged_archives import archive, conversation

MIB = 1024 * 1024


def zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError("backports.zstd")


class MadeUp(io.RawIOBase):
    """A file that can be read and sought, and keeps none of its bytes: a start, and then the same piece again."""

    def __init__(self, start: bytes, piece: bytes, size: int) -> None:
        self._start, self._piece, self._size = start, piece, size
        self._position = 0
        self.taken = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._position = (0, self._position, self._size)[whence] + position
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._position))
        made = self._start[self._position : self._position + count]
        offset = (self._position + len(made) - len(self._start)) % len(self._piece)
        more = count - len(made)
        made += (self._piece * (more // len(self._piece) + 2))[offset : offset + more]
        buffer[:count] = made
        self._position += count
        self.taken += count
        return count


def plain() -> bytes:
    return archive(conversation(CONTENT, "On its way."))


def zeros(compressor: Any, size: int) -> bytes:
    """So many bytes of `a`, compressed, without their being in memory at once."""
    block = b"a" * MIB
    return b"".join(compressor.compress(block) for _ in range(size // MIB)) + compressor.flush()


def gzip_bomb(size: int = 32 * MIB) -> bytes:
    return zeros(zlib.compressobj(9, wbits=31), size)


def zstd_bomb(size: int = 256 * MIB) -> bytes:
    return zeros(zstd().ZstdCompressor(), size)


def with_window(log: int, data: bytes | None = None) -> bytes:
    """An archive in a zstd frame whose decoder has to keep two to the power of `log` bytes."""
    parameter = zstd().CompressionParameter
    compressor = zstd().ZstdCompressor(options={parameter.window_log: log, parameter.checksum_flag: 1})
    data = plain() if data is None else data
    # In two parts, so that the size is not known at first and the window is told.
    return compressor.compress(data[:100]) + compressor.compress(data[100:]) + compressor.flush()


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place:][1:]


def bomb(name: str) -> io.RawIOBase | io.BytesIO:
    """A file by the name that a scenario gives it."""
    in_gzip, in_zstd = gzip.compress(plain(), mtime=0), with_window(20)
    made = {
        "a zstd bomb of 32,000:1": zstd_bomb,
        "a gzip bomb of 1,000:1": gzip_bomb,
        "a gzip bomb within gzip": lambda: gzip.compress(gzip_bomb()),
        "a zstd frame with a window of 16 MiB": lambda: with_window(24),
        # The frame's header (RFC 8878, 3.1.1.1): a descriptor, then a window descriptor, or a single segment's size.
        "a zstd frame with a window of 2 GiB": lambda: in_zstd[:5] + bytes([21 << 3]) + in_zstd[6:],
        "a zstd frame of a single segment of 1 TiB": lambda: in_zstd[:4] + b"\xe0" + struct.pack("<Q", 2**40) + in_zstd,
        "an archive with two gzip members": lambda: in_gzip + gzip.compress(b""),
        "an archive with two zstd frames": lambda: in_zstd + zstd().compress(b""),
        "an archive with a zstd frame to skip": lambda: in_zstd + struct.pack("<II", 0x184D2A50, 4) + b"skip",
        "half a gzip stream": lambda: in_gzip[: len(in_gzip) // 2],
        "half a zstd stream": lambda: in_zstd[: len(in_zstd) // 2],
        "a gzip stream with a wrong checksum": lambda: changed(in_gzip, len(in_gzip) - 8),
        "a zstd stream with a wrong checksum": lambda: changed(in_zstd, len(in_zstd) - 1),
    }
    streams = {
        "65 MiB that are gzip": lambda: MadeUp(b"\x1f\x8b\x08" + bytes(7), stored_block(), 65 * MIB),
        "513 MiB of short lines": lambda: MadeUp(plain(), b"{}\n" * 1000, 513 * MIB),
    }
    if name in streams:
        return streams[name]()
    data = made[name]()
    assert len(data) < MIB, len(data)
    return io.BytesIO(data)


def stored_block() -> bytes:
    """Short lines in a block of gzip's that is stored as it is (RFC 1951, 3.2.4)."""
    lines = (f"{MARK}\n" * 0x4000).encode()[:0xFFFF]
    return b"\x00" + struct.pack("<HH", 0xFFFF, 0x0000) + lines
