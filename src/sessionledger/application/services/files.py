"""Binary files as archives need them: read more than once, and in a thread where the caller awaits."""

from __future__ import annotations

import asyncio
import errno
import io
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from sessionledger.domain.archive import (
    ArchiveLimits,
    ArchiveProgress,
    ArchiveReader,
    Follow,
    TrustedKey,
    checked_follow,
    checked_limits,
)
from sessionledger.domain.errors import ArchiveLimitError, InvalidInputError

T = TypeVar("T")

CANCEL_SECONDS = 5.0

_BLOCK = 1024 * 1024


def checked_file(file: Any, method: str) -> BinaryIO:
    """Return a file if it is binary and open.

    Raises:
        InvalidInputError: It is not, or has no such method.
    """
    # A temporary file of text is no TextIOBase, but has an encoding.
    is_text = isinstance(file, io.TextIOBase) or isinstance(getattr(file, "encoding", None), str)
    if is_text or not callable(getattr(file, method, None)):
        raise InvalidInputError("file", f"must be a binary file, with a method {method}")
    if getattr(file, "closed", False):
        raise InvalidInputError("file", "must be open")
    return cast("BinaryIO", file)


@contextmanager
def opened(
    file: BinaryIO,
    limits: ArchiveLimits | None,
    signature: bytes | None,
    trusted_keys: Collection[TrustedKey],
    follow: Follow | None,
) -> Iterator[ArchiveReader]:
    """Verify an archive and give it to be read; see `ArchiveReader`."""
    limits, follow = checked_limits(limits), checked_follow(follow)
    with _seekable(checked_file(file, "read"), limits, follow) as readable:
        yield ArchiveReader(readable, limits, signature=signature, trusted_keys=trusted_keys, follow=follow)


@asynccontextmanager
async def opened_in_thread(
    file: BinaryIO,
    limits: ArchiveLimits | None,
    signature: bytes | None,
    trusted_keys: Collection[TrustedKey],
    follow: Follow | None,
) -> AsyncIterator[ArchiveReader]:
    """The same in a thread; a cancel ends it before it comes out, so that the caller may close the file."""
    stopped, follow = threading.Event(), checked_follow(follow)

    def followed(progress: ArchiveProgress) -> None:
        if stopped.is_set():
            raise _Stopped
        follow(progress)

    with ExitStack() as stack:
        enter = partial(stack.enter_context, opened(file, limits, signature, trusted_keys, followed))
        yield await in_thread(enter, stopped.set)


@contextmanager
def _seekable(file: BinaryIO, limits: ArchiveLimits, follow: Follow) -> Iterator[BinaryIO]:
    """The file itself, or, for a pipe, a private temporary copy: an archive is read to verify it, then again.

    Raises:
        ArchiveLimitError: The pipe brings more bytes than an archive may have.
    """
    if hasattr(file, "seekable") and file.seekable():
        if not isinstance(file, io.RawIOBase):
            yield file
            return
        buffered = io.BufferedReader(file)  # a raw file reads a line byte by byte
        try:
            yield cast("BinaryIO", buffered)
        finally:
            buffered.detach()
        return
    with tempfile.TemporaryFile() as copy:
        read = getattr(file, "read1", file.read)  # what there is, so that a cancel need not wait for a whole block
        while (block := read(_BLOCK)) != b"":
            if block is None:
                raise BlockingIOError(errno.EAGAIN, "The file has no bytes now; it must block")
            copy.write(block)
            if copy.tell() > limits.size:
                raise ArchiveLimitError("bytes", limits.size)
            follow(ArchiveProgress("checksum", 0))
        copy.seek(0)
        yield copy


async def in_thread(call: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
    """Run a call in a thread. A cancel waits until it is over, because it uses the caller's file.

    A thread that waits for a pipe cannot be ended, so the cancel comes out after `CANCEL_SECONDS` at the latest.

    Args:
        call: The call.
        stop: What makes it end early.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        deadline = loop.time() + CANCEL_SECONDS
        while not running.done() and (remaining := deadline - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running], timeout=remaining)
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # asyncio wants it looked at
        raise


class _Stopped(Exception):  # noqa: N818 - a signal to a thread
    """The caller was cancelled."""
