"""Reading an archive: the digest first, then the structure, and only then is anything handed out."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from sessionledger.domain.archive import records
from sessionledger.domain.archive.compression import MAGIC, Decompressed, compression_of, read_full
from sessionledger.domain.archive.limits import ArchiveLimits, checked_limits
from sessionledger.domain.archive.message_lines import can_be_read_so, message_of
from sessionledger.domain.archive.records import (
    FORMAT,
    FORMAT_VERSION,
    ArchiveHeader,
    MessageRecord,
    Record,
    SessionRecord,
)
from sessionledger.domain.archive.signatures import Signature, TrustedKey, verified_signature
from sessionledger.domain.archive.structure import Line, Structure
from sessionledger.domain.archive.upcasting import upcast
from sessionledger.domain.content import JSON, check_values, parse
from sessionledger.domain.errors import (
    ArchiveChecksumError,
    ArchiveError,
    ArchiveFormatError,
    ArchiveLimitError,
    ArchiveVersionError,
    InvalidInputError,
)
from sessionledger.domain.models import Session

T = TypeVar("T")

_FOOTER = re.compile(rb'\{"sha256":"([0-9a-f]{64})"\}\n')
_FOOTER_LENGTH = len('{"sha256":""}\n') + 64
_BLOCK = 256 * 1024
_LINES = 32 * 1024  # read together: with 256 KiB, which leave the processor's cache, a line took 9 µs instead of 7
_STEP = 500
_CONTROLS = (*range(10), *range(11, 32))  # all but the line feed


class ArchiveProgress(NamedTuple):
    """How far an export or import is.

    Attributes:
        step: `checksum` (all bytes are hashed), `structure` (all records are checked), `import` or `export`.
        size: Bytes read or written so far in this step, decompressed.
        messages: Messages read or written so far in this step.
        total_messages: How many there will be; `None` while it is not known.
    """

    step: str
    size: int
    messages: int = 0
    total_messages: int | None = None


Follow = Callable[[ArchiveProgress], None]
"""Is told, now and then, how far it is; in whatever thread does the work, so it must not wait."""


def checked_follow(follow: object) -> Follow:
    """Return what follows; where there is none, what does nothing.

    Raises:
        InvalidInputError: It cannot be called.
    """
    if follow is None:
        return lambda _: None
    if not callable(follow):
        raise InvalidInputError("follow", "must be a function of an ArchiveProgress, or None")
    return cast("Follow", follow)


class ArchiveReader:
    """Reads one archive from a seekable binary file, from where it stands to its end.

    Making one checks the digest over all bytes, then the signature where one is required, and then every record
    against the rules of the format. Only then can the records be read, as often as wanted, in bounded memory.

    Args:
        file: The file, plain or compressed; it is left open.
        limits: How large the archive may be.
        signature: The bytes of its `.sig` file.
        trusted_keys: Where there are any, the archive must be signed with one of them.
        follow: See `Follow`.

    Attributes:
        sha256: The archive's digest.
        compression: How the file is compressed; `None` for not at all.
        header: The archive's header.
        session_ids: The ids of its sessions, in the archive's order.
        workspaces: The names of their workspaces, sorted.
        size: The archive's length in bytes, decompressed, the last line included.
        signature: The signature that was verified; `None` where none was required.

    Raises:
        ArchiveError: One of its kinds, for what is wrong first.
        InvalidInputError: What is given beside the file is not what it must be.
        ImportError: A library that it needs is not installed: for zstd, or for signatures.
        OSError: The file cannot be read.
    """

    def __init__(
        self,
        file: BinaryIO,
        limits: ArchiveLimits | None = None,
        *,
        signature: bytes | None = None,
        trusted_keys: Collection[TrustedKey] = (),
        follow: Follow | None = None,
    ) -> None:
        self._file = file
        self._limits = checked_limits(limits)
        self._follow = checked_follow(follow)
        _check_signature(signature, trusted_keys)
        self._start = file.tell()
        self.compression = compression_of(read_full(file, max(map(len, MAGIC))))
        self.sha256, self.size = self._verified_digest()
        self.signature: Signature | None = None
        if trusted_keys:
            self.signature = verified_signature(signature, self.sha256, trusted_keys)
        lines = self._lines("structure")
        self.header = self._checked_header(next(lines, None))
        structure = Structure(self.header)
        for number, line in lines:
            if isinstance(line, MessageRecord):
                structure.take_message(line, number)
            else:
                _read(number, structure.take, line)
        structure.end()
        if structure.repeated:
            self._refuse_repeated(structure.repeated)
        self.session_ids = tuple(structure.session_ids)
        self.workspaces = tuple(sorted(structure.workspaces))

    def records(self) -> Iterator[Record]:
        """The records, in the archive's order.

        Raises:
            ArchiveChecksumError: At their end: the file was changed since it was verified.
        """
        lines = self._lines("import", again=True)
        next(lines)
        for number, line in lines:
            yield line if isinstance(line, MessageRecord) else _read(number, records.verified_record, line.values)

    def sessions(self) -> Iterator[Session]:
        """The sessions, in the archive's order."""
        return (record.session for record in self.records() if isinstance(record, SessionRecord))

    def _refuse_repeated(self, repeated: set[int]) -> None:
        """Find the line of a message id that its session has had before."""
        seen: set[tuple[str, str]] = set()
        for number, line in self._lines("structure"):
            message = line
            if isinstance(line, Line) and line.values.get("record") == "message":
                message = records.verified_message(line.values)
            if not isinstance(message, MessageRecord) or hash(message.message_id) not in repeated:
                continue
            if (key := (message.session_id, message.message_id)) in seen:
                raise ArchiveFormatError("its session has had this message_id before", number)
            seen.add(key)

    def _opened(self) -> BinaryIO:
        self._file.seek(self._start)
        if self.compression is None:
            return self._file
        return cast("BinaryIO", io.BufferedReader(Decompressed(self._file, self.compression, self._limits), _BLOCK))

    def _verified_digest(self) -> tuple[str, int]:
        """Hash every byte before the last line and compare; nothing is parsed yet."""
        file, digest = self._opened(), hashlib.sha256()
        size = line_start = 0
        tail = b""
        while block := file.read(_BLOCK):
            if (newline := block.find(b"\n")) >= 0:
                self._limit_line(size + newline - line_start)
                line_start = size + block.rfind(b"\n") + 1
            size += len(block)
            self._limit_line(size - line_start)
            if size > self._limits.size:
                raise ArchiveLimitError("bytes", self._limits.size)
            block = tail + block
            digest.update(memoryview(block)[:-_FOOTER_LENGTH])
            tail = block[-_FOOTER_LENGTH:]
            self._follow(ArchiveProgress("checksum", size))
        footer = _FOOTER.fullmatch(tail)
        if footer is None:
            raise ArchiveFormatError("its last line is not a SHA-256 footer; it may be cut short")
        claimed, found = footer[1].decode(), digest.hexdigest()
        if claimed != found:
            raise ArchiveChecksumError(claimed, found)
        return found, size

    def _limit_line(self, length: int) -> None:
        if length > self._limits.line:
            raise ArchiveLimitError("bytes a line", self._limits.line)

    def _texts(self, *, again: bool) -> Iterator[tuple[str, bool, bool, Any, int]]:
        """The lines before the footer, many at a time; hashed once more, so that a change since then is told.

        With them comes whether a line follows that is no UTF-8, whether no string in them can hold a control character,
        the running hash of what comes before, and how many bytes they are.
        """
        file, digest = self._opened(), hashlib.sha256()
        for block in _blocks(file, self.size - _FOOTER_LENGTH, min(self._limits.line, sys.maxsize - 1)):
            self._limit_line(len(block))
            before, size = digest.copy(), len(block)
            digest.update(block)
            plain = again or not any(map(block.__contains__, _CONTROLS))
            texts = [_decoded(block)]
            del block  # what follows may be as long once more
            yield (*texts.pop(), plain, before, size)
        if digest.hexdigest() != self.sha256:
            raise ArchiveChecksumError(self.sha256, digest.hexdigest())

    def _lines(self, step: str, *, again: bool = False) -> Iterator[tuple[int, Line | MessageRecord]]:
        """The lines before the footer with their numbers; messages that are written as an export does, as records."""
        position = number = messages = 0
        version = total = None
        values = None if again else self._limits.values
        parsed = _parsed_again if again else self._parsed
        as_exported = can_be_read_so(self._limits)
        for text, damaged, plain, before, size in self._texts(again=again):
            position += size
            start = hashed = 0
            while start < len(text):
                end = text.find("\n", start) + 1 or len(text)
                data, number = text[start:end], number + 1
                line: Line | MessageRecord | None = None
                if as_exported and version == FORMAT_VERSION:
                    line = message_of(data, values=values, plain=plain)
                if line is None:
                    read = parsed(number, data)
                    if version is None:
                        version, total = _checked_version(read), read.get("messages")
                    before.update(text[hashed:start].encode())
                    line = Line(number, upcast(read, version, FORMAT_VERSION), before.hexdigest())
                    del read
                    hashed = start
                messages += isinstance(line, MessageRecord) or line.values.get("record") == "message"
                del data
                start, text = end, "" if end == len(text) else text  # a long one is needed no more
                yield number, line
                del line
                if number % _STEP == 0:
                    self._follow(ArchiveProgress(step, position, messages, total))
            if damaged:
                raise ArchiveFormatError("the line must be UTF-8", number + 1)
        self._follow(ArchiveProgress(step, position + _FOOTER_LENGTH, messages, total))

    def _parsed(self, number: int, text: str) -> dict[str, JSON]:
        """Read a line strictly: one object."""
        try:
            check_values("the line", text, self._limits.values)
            value = parse("the line", text, digits=self._limits.digits, depth=self._limits.depth)
        except InvalidInputError as error:
            raise ArchiveFormatError(str(error), number) from None
        if not text.endswith("\n") or not isinstance(value, dict):
            raise ArchiveFormatError("the line must be one JSON object", number)
        return value

    def _checked_header(self, first: tuple[int, Line | MessageRecord] | None) -> ArchiveHeader:
        header = _read(1, records.header, first[1].values if first and isinstance(first[1], Line) else {})
        for name, allowed in (("sessions", self._limits.sessions), ("messages", self._limits.messages)):
            if getattr(header, name) > allowed:
                raise ArchiveLimitError(name, allowed)
        return header


def _check_signature(signature: object, trusted_keys: object) -> None:
    """Refuse what is not understood, so that nobody takes an archive for signed that was not looked at."""
    if signature is not None and not isinstance(signature, bytes):
        raise InvalidInputError("signature", "must be the bytes of a .sig file, or None")
    several = isinstance(trusted_keys, Collection) and not isinstance(trusted_keys, (str, bytes, bytearray, Mapping))
    if not several or not all(isinstance(each, TrustedKey) for each in cast("Collection[object]", trusted_keys)):
        raise InvalidInputError("trusted_keys", "must be a list of TrustedKey")
    if signature is not None and not trusted_keys:
        raise InvalidInputError("signature", "says nothing without trusted_keys")


def _checked_version(header: Mapping[str, JSON]) -> int:
    if header.get("format") != FORMAT:
        raise ArchiveFormatError(f"it does not start with a header of the format {FORMAT}", 1)
    version = header.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArchiveFormatError("format_version must be an integer from 1", 1)
    if version > FORMAT_VERSION:
        raise ArchiveVersionError(version, FORMAT_VERSION)
    return version


def _blocks(file: BinaryIO, left: int, longest: int) -> Iterator[bytes]:
    """The next bytes of a file in whole lines, about as many as make a block; a longer line comes alone.

    Args:
        file: The file.
        left: How many bytes.
        longest: How long a line may be; of a longer one there is a byte more than that.
    """
    most, rest = min(_LINES, longest), b""
    while left > 0:
        block = rest + file.read(min(most, left) - len(rest))
        if (end := block.rfind(b"\n") + 1) == 0:
            block += file.readline(longest + 1 - len(block))
            end = len(block)
        if not block:  # the file is shorter than it was; the digest tells
            return
        rest, lines = block[end:], [block[:end]]
        left -= end
        del block
        yield lines.pop()  # a line of 8 MiB is in memory no longer than its reader keeps it


def _decoded(block: bytes) -> tuple[str, bool]:
    """The text of lines as far as it is UTF-8, and whether there is a line that is not."""
    try:
        return block.decode(), False
    except UnicodeDecodeError as error:
        return block[: block.rfind(b"\n", 0, error.start) + 1].decode(), True


def _parsed_again(number: int, line: str) -> dict[str, JSON]:
    """Read a line that was read strictly before; that it is the same one is told by the digest."""
    with suppress(ValueError, RecursionError):
        if isinstance(values := json.loads(line), dict):
            return values
    raise ArchiveFormatError("the line was changed since it was verified", number)


def _read(number: int, read: Callable[..., T], *values: Any) -> T:
    """Read a part of a line; what breaks a rule is reported with the line's number, never with the value."""
    try:
        return read(*values)
    except ArchiveError:
        raise
    except InvalidInputError as error:
        raise ArchiveFormatError(str(error), number) from None
    except (KeyError, TypeError, ValueError):
        raise ArchiveFormatError("a field is missing or of the wrong type", number) from None
