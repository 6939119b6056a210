"""zstd and gzip: told by their magic bytes, one stream, nothing after it, no more memory than the limits allow."""

from __future__ import annotations

import errno
import importlib
import io
import zlib
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias, cast, get_args

from sessionledger.domain.archive.limits import ArchiveLimits
from sessionledger.domain.errors import ArchiveFormatError, ArchiveLimitError, InvalidInputError

Compression: TypeAlias = Literal["zstd", "gzip"]

MAGIC: dict[bytes, Compression] = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}

_INPUT = 64 * 1024
_RATIO_FROM = 1024 * 1024
_GZIP_WINDOW_BITS = 31  # zlib's word for a gzip header and trailer


def checked_compression(compression: object) -> Compression | None:
    """Return a compression by its name, or `None` for none.

    Raises:
        InvalidInputError: There is none of this name.
        ImportError: Its library is not installed.
    """
    if compression is not None and compression not in get_args(Compression):
        raise InvalidInputError("compression", f"must be one of {', '.join(get_args(Compression))}, or None")
    if compression == "zstd":
        _zstd()
    return cast("Compression | None", compression)


def compression_of(start: bytes) -> Compression | None:
    """Tell how a file is compressed by its first bytes, whatever its name says."""
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


def read_full(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes, or all there are: a raw file may give less than it is asked for.

    Raises:
        BlockingIOError: The file does not block, and has none now.
    """
    pieces = []
    while size and (piece := file.read(size)) != b"":
        if piece is None:
            raise BlockingIOError(errno.EAGAIN, "The file has no bytes now; it must block")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, most: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor in the shape of zstd's."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, most: int, /) -> bytes:
        made = self._stream.decompress(self._stream.unconsumed_tail + data, most)
        self.needs_input = not self._stream.unconsumed_tail and len(made) < most
        return made


class Decompressed(io.RawIOBase):
    """The bytes inside a compressed stream, made as they are asked for.

    Args:
        file: A binary file, at the start of the stream.
        compression: How it is compressed.
        limits: How much may come out of it; what is beyond a limit is never made.
    """

    def __init__(self, file: BinaryIO, compression: Compression, limits: ArchiveLimits) -> None:
        self._file = file
        self._limits = limits
        self._compression = compression
        self._taken = self._made = 0
        self._start = self._input()
        self._stream: _Decompressor
        self._damaged: tuple[type[Exception], ...] = (zlib.error,)
        if compression == "zstd":
            _check_window(self._start, limits.window)
            zstd = _zstd()
            # What is not a power of two is held by the check above.
            log = min(max(limits.window.bit_length(), 10), 31)
            self._stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: log})
            self._damaged = (zstd.ZstdError,)
        else:
            self._stream = _Gzip()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one step of the decompressor does.

        Raises:
            ArchiveLimitError: There is more than a limit allows.
            ArchiveFormatError: The stream is damaged or cut short, or something comes after it.
        """
        view = memoryview(buffer).cast("B")
        while not self._stream.eof:
            if made := self._step(len(view)):
                view[: len(made)] = made
                return len(made)
        if self._stream.unused_data or self._file.read(1):
            raise ArchiveFormatError(f"something comes after its {self._compression} stream")
        return 0

    def _step(self, most: int) -> bytes:
        data, self._start = self._start or (self._input() if self._stream.needs_input else b""), b""
        if self._stream.needs_input and not data:
            raise ArchiveFormatError(f"its {self._compression} stream is cut short")
        try:
            made = self._stream.decompress(data, most)
        except self._damaged:
            raise ArchiveFormatError(f"its {self._compression} stream is damaged") from None
        self._made += len(made)
        if self._made > _RATIO_FROM and self._made > self._limits.ratio * self._taken:
            raise ArchiveLimitError("decompressed bytes a compressed byte", self._limits.ratio)
        return made

    def _input(self) -> bytes:
        data = read_full(self._file, _INPUT)
        self._taken += len(data)
        if self._taken > self._limits.compressed_size:
            raise ArchiveLimitError("compressed bytes", self._limits.compressed_size)
        return data


def _check_window(start: bytes, allowed: int) -> None:
    """Read the window size from the header of a zstd frame (RFC 8878, 3.1.1.1): the memory it would take."""
    descriptor, following = start[4:5], start[5:14]
    if not descriptor or len(following) < 9:
        return  # cut short, or too small to need much
    dictionary_bytes = (0, 1, 2, 4)[descriptor[0] & 3]
    if descriptor[0] & 0x20:  # a single segment: the window is the whole content, whose size follows
        size_bytes = (1, 2, 4, 8)[descriptor[0] >> 6]
        size = int.from_bytes(start[5 + dictionary_bytes :][:size_bytes], "little")
        window = size + 256 if size_bytes == 2 else size
    else:
        base = 1 << (10 + (following[0] >> 3))
        window = base + (base >> 3) * (following[0] & 7)
    if window > allowed:
        raise ArchiveLimitError("bytes of a zstd window", allowed)


class ArchiveFile:
    """A binary file that an archive is written to, compressed where asked for; the file is left open.

    Attributes:
        compressed_size: Bytes written to the file so far; `None` where nothing is compressed.
    """

    def __init__(self, file: BinaryIO, compression: Compression | None = None) -> None:
        self._file = file
        self._stream: Any = None
        self.compressed_size: int | None = None if compression is None else 0
        if compression == "gzip":
            self._stream = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)  # no name, no time: the same bytes each time
        elif compression == "zstd":
            zstd = _zstd()
            self._stream = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self._write(self._stream.compress(data) if self._stream else data)

    def finish(self) -> None:
        """End the compressed stream."""
        if self._stream:
            self._write(self._stream.flush())

    def _write(self, data: bytes) -> None:
        if self.compressed_size is not None:
            self.compressed_size += len(data)
        rest = memoryview(data)
        while rest:  # a raw file may take less than it is given
            taken = self._file.write(rest)
            if taken == 0 or (not taken and isinstance(self._file, io.RawIOBase)):
                raise BlockingIOError(errno.EAGAIN, "The file takes no more bytes now; it must block")
            rest = rest[len(rest) if taken is None else taken :]


def _zstd() -> Any:
    """The zstd library: in Python's own from 3.14 on, a package before.

    Raises:
        ImportError: It is not installed.
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError("backports.zstd is not installed; run: pip install 'sessionledger[archives]'")
