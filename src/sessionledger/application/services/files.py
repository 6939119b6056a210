"""Binary files as archives need them: written whole, and read twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from sessionledger.domain.archive import ArchiveLimits
from sessionledger.domain.errors import ArchiveLimitError

_BLOCK = 1024 * 1024


def write_all(file: BinaryIO, lines: bytes) -> None:
    """Write all of it: a raw file may take less than it is given."""
    rest = memoryview(lines)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file itself, or, for a pipe, a private temporary copy: an archive is read once to verify it, then again.

    Raises:
        ArchiveLimitError: The pipe brings more bytes than an archive may have.
    """
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        while block := file.read(_BLOCK):
            copy.write(block)
            if copy.tell() > (allowed := ArchiveLimits().size):
                raise ArchiveLimitError("bytes", allowed)
        copy.seek(0)
        yield copy
