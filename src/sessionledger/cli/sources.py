"""What commands read: files and standard input, keys and signatures; and several files, each by itself."""

import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from sessionledger.cli.context import UsageError, report_error
from sessionledger.cli.files import opened
from sessionledger.domain.archive import FORMAT, ArchiveLimits, SigningKey, TrustedKey
from sessionledger.domain.archive.compression import MAGIC, Decompressed, compression_of
from sessionledger.domain.archive.signatures import MAX_KEY_BYTES, MAX_SIGNATURE_BYTES
from sessionledger.domain.errors import ArchiveError, InvalidInputError, SessionLedgerError, StorageError

T = TypeVar("T")
Key = TypeVar("Key", SigningKey, TrustedKey)

ALLOW_MORE = "More is allowed with --allow."

_START = f'{{"format":"{FORMAT}"'.encode()
_BLOCK = 1024 * 1024


class UnreadableFileError(SessionLedgerError):
    """A file breaks a rule; the text names the file and the place, never the content."""

    def __init__(self, file: str, problem: object) -> None:
        super().__init__(f"{called(file)}: {problem}")


class RefusedFilesError(SessionLedgerError):
    """Of several files some were refused; each one's own line has been printed already."""


def called(file: str) -> str:
    """What a file is called in texts."""
    return "standard input" if file == "-" else file


@contextmanager
def source(file: str, *, special: bool) -> Iterator[BinaryIO]:
    """Open a file for reading; `-` is standard input. What is no regular file may be read only once."""
    if file == "-":
        yield sys.stdin.buffer
    else:
        with opened(Path(file), special=special) as found:
            yield found


@contextmanager
def rewindable(file: str, found: BinaryIO, most: int, too_large: Exception) -> Iterator[BinaryIO]:
    """The file, or a private temporary copy of standard input or a FIFO, which can be read from its start again.

    Args:
        file: What it is called on the command line.
        found: The file.
        most: How many bytes a copy may have.
        too_large: What is raised if it would have more.
    """
    if file != "-" and found.seekable():
        yield found
        return
    with tempfile.TemporaryFile() as kept:
        size = 0
        while chunk := found.read(_BLOCK):
            size += len(chunk)
            if size > most:
                raise too_large
            kept.write(chunk)
        kept.seek(0)
        yield cast("BinaryIO", kept)


def is_archive(file: BinaryIO) -> bool:
    """Whether a file starts as an archive does, plain or compressed."""
    file.seek(0)
    compression = compression_of(file.read(max(map(len, MAGIC))))
    file.seek(0)
    if compression is None:
        return file.read(len(_START)) == _START
    try:
        inside = io.BufferedReader(Decompressed(file, compression, ArchiveLimits()))
        return inside.read(len(_START)) == _START
    except (ArchiveError, ImportError):
        return False


def signing_key(file: str, *, special: bool) -> SigningKey:
    """Read a private key.

    Raises:
        UnreadableFileError: The file holds anything else.
    """
    return _key(file, SigningKey.from_pem, special=special)


def trusted_keys(files: Iterable[str], *, special: bool) -> tuple[TrustedKey, ...]:
    """Read public keys.

    Raises:
        UnreadableFileError: A file holds anything else.
    """
    return tuple(_key(file, TrustedKey.from_pem, special=special) for file in files)


def signature_file(file: str) -> str:
    """Where the signature of a file is: beside it."""
    return f"{file}.sig"


def signature(file: str, given: str | None = None, *, special: bool) -> bytes | None:
    """Read the signature of a file.

    Args:
        file: The signed file; standard input has none beside it.
        given: Where the signature is; by default beside the file, where it may be missing.
        special: Whether what is no file is meant.
    """
    if given is not None:
        return _start(given, MAX_SIGNATURE_BYTES, special=special)
    if file == "-":
        return None
    try:
        return _start(signature_file(file), MAX_SIGNATURE_BYTES, special=special)
    except FileNotFoundError:
        return None


def _key(file: str, read: Callable[[bytes], Key], *, special: bool) -> Key:
    try:
        return read(_start(file, MAX_KEY_BYTES, special=special))
    except InvalidInputError as error:
        raise UnreadableFileError(file, error) from None


def _start(file: str, most: int, *, special: bool) -> bytes:
    """As much of a file as it may have, and one byte, by which whoever reads it tells that it has more."""
    with opened(Path(file), special=special) as found:
        return found.read(most + 1)


def check_signature_options(files: Sequence[str], required: Sequence[str], given: str | None) -> None:
    """Hold the options about signatures against the files.

    Raises:
        UsageError: They do not go together.
    """
    if given is not None and not required:
        raise UsageError("--signature goes with --require-signature")
    if given is not None and len(files) > 1:
        raise UsageError("--signature goes with one file; of several, each has its own beside it")
    if "-" in files and required and given is None:
        raise UsageError("standard input has no signature beside it; say where it is: --signature FILE.sig")


def each_file(files: Sequence[str], read: Callable[[str], T]) -> Iterator[tuple[str, T | None, str]]:
    """Read files, each by itself: one that is refused gets its line on standard error, and the others go on.

    Yields:
        The file, what came of it, and, where it is `None`, the line.

    Raises:
        RefusedFilesError: At the end: some of several were refused. A single one's own error is raised.
        StorageError: The database failed, and would again.
    """
    if files.count("-") > 1:
        raise UsageError("standard input can be read once")
    refused = 0
    for file in files:
        try:
            came = read(file)
        except StorageError:
            raise
        except (SessionLedgerError, OSError, ImportError) as error:
            if (line := expected(error)) is None:
                raise
            line = line if line.startswith(called(file)) else f"{called(file)}: {line}"
            yield file, None, line
            if len(files) == 1:
                raise
            report_error(line)
            refused += 1
        else:
            yield file, came, ""
    if refused:
        raise RefusedFilesError(f"refused: {refused} of {len(files)} files")


def expected(error: Exception) -> str | None:
    """The line that an error becomes; `None` if a person can do nothing about it, because something is broken."""
    if isinstance(error, ImportError):
        return str(error) if "pip install" in str(error) else None
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return str(error)
