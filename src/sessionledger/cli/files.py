"""Files that a person names: written so that a reader sees the old one or the new one, and read only if they are files.

What is a link, a FIFO, a device, a socket or a folder is refused, as a target and as a source, unless the person says
that it is meant: a link may lead anywhere, a FIFO may wait for ever, and a device may act when it is opened.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sessionledger.domain.errors import SessionLedgerError

if sys.platform != "win32":
    import fcntl

SPECIAL_FILE_OPTION = "--special-file"
"""The option by which a person says that a special file is meant."""

_LEFTOVER_SECONDS = 86_400
"""How long nobody has written to a leftover before it counts as one where there are no locks to tell."""
_STEM_BYTES = 100
"""What of a target's name is in a temporary name, which as a whole may have no more than 255 bytes."""
_TRIES = 100

# Windows has none of these but O_BINARY, and no other system has that.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_NEVER = {"a socket", "a folder"}
"""What cannot be opened and written or read like a file, whoever asks for it."""


class SpecialFileError(SessionLedgerError):
    """What was named is no file; nothing has been written to it, and nothing read.

    Attributes:
        path: What was named.
        kind: What it is, e.g. ``a symbolic link``.
    """

    def __init__(self, path: Path, kind: str) -> None:
        instead = "name the file itself" if kind == "a symbolic link" else "name a file"
        allowed = "" if kind in _NEVER else f", or allow it with {SPECIAL_FILE_OPTION}"
        super().__init__(f"{path} is {kind}; {instead}{allowed}")
        self.path = str(path)
        self.kind = kind


@contextmanager
def replacing(path: Path, *, special: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes `path`'s place when the block ends, and never if it fails.

    The bytes go to a new file with a random name in the same folder, `.<name>.<16 hex digits>.part`, readable by its
    owner alone (0600). It is fsynced, renamed, and the folder fsynced. What writers that were killed left behind under
    such names is removed first; what a writer at work has is kept (it holds a lock on it).

    Nothing is ever written through a link that somebody puts in place meanwhile: the rename replaces the link itself,
    and not what it leads to. For the same reason a target with several hard links loses this one of them.

    Args:
        path: The file to write; its folder must exist.
        special: Whether what is no file is meant. Then a link is followed and its target replaced as above; a FIFO or
            a device is written to as it is, and what a block that fails has written stays written.

    Yields:
        A binary file; it need not be seekable.

    Raises:
        SpecialFileError: `path` is no file, and that was not asked for, or cannot be written to at all.
        OSError: The system refuses; `filename` is `path`. Where only the last fsync of the folder fails, the new file
            is in place, and may be gone after a power cut.
    """
    with _named(path):
        kind = _kind(path, follow=special)
    _refuse(path, kind, special=special)
    target = Path(os.path.realpath(path)) if special else path
    with _as_it_is(path) if kind else _replacement(path, target) as file:
        yield file


@contextmanager
def opened(path: Path, *, special: bool = False) -> Iterator[BinaryIO]:
    """Open a file for reading: a regular file, which it is asked for again when it is open.

    Args:
        path: The file to read.
        special: Whether what is no file is meant: a link is followed, and a FIFO waits for its writer.

    Yields:
        A binary file, closed when the block ends; a FIFO or a device cannot be read twice.

    Raises:
        SpecialFileError: `path` is no file, and that was not asked for, or cannot be read at all.
        OSError: It is missing, or the system refuses; `filename` is `path`.
    """
    with _named(path):
        # A look first, because a device may act when it is opened; it is only after the opening that it is sure.
        _refuse(path, _kind(path, follow=special), special=special)
        try:
            descriptor = os.open(path, os.O_RDONLY | _FLAGS | (0 if special else _NO_FOLLOW | _NO_WAIT))
        except OSError:
            _refuse(path, _kind(path, follow=special), special=special)
            raise
    try:
        _refuse(path, _kind_of(os.fstat(descriptor)), special=special)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield file


def private_folder(path: Path) -> None:
    """Make a folder and the ones above it if they are missing; a new one is its owner's alone (0700)."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let what the system refuses tell the file that was asked for, whichever it was about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _kind(path: Path, *, follow: bool) -> str | None:
    """What a path leads to if that is no regular file; `None` for one, and for nothing."""
    try:
        return _kind_of(path.stat(follow_symlinks=follow))
    except FileNotFoundError:
        return None


def _kind_of(found: os.stat_result) -> str | None:
    return None if stat.S_ISREG(found.st_mode) else _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")


def _refuse(path: Path, kind: str | None, *, special: bool) -> None:
    if kind and (kind in _NEVER or not special):
        raise SpecialFileError(path, kind)


@contextmanager
def _closed(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """Close a file when the block ends; after an error silently, because closing would only repeat it."""
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    with _named(path):
        file.close()


@contextmanager
def _as_it_is(path: Path) -> Iterator[BinaryIO]:
    """Open a FIFO or a device for writing."""
    with _named(path):
        descriptor = os.open(path, os.O_WRONLY | _FLAGS)
    with _closed(path, os.fdopen(descriptor, "wb")) as file:
        if _kind_of(os.fstat(file.fileno())) is None:  # put in place meanwhile; what it holds must not be torn
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        yield file


@contextmanager
def _replacement(path: Path, target: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing that becomes `target` when the block ends; `path` is what errors call it."""
    with _named(path):
        folder = _Folder(target.parent)
    with contextlib.closing(folder):
        with _named(path):
            stem = _stem(target.name)
            _remove_leftovers(folder, stem)
            temporary, descriptor = _temporary(folder, stem)
        try:
            with _closed(path, os.fdopen(descriptor, "wb")) as file:
                yield file
                with _named(path):
                    file.flush()
                    os.fsync(file.fileno())
                    if sys.platform != "win32":  # while it is locked: unlocked, it would be a leftover
                        folder.rename(temporary, target.name)
            if sys.platform == "win32":  # which renames no open file
                with _named(path):
                    folder.rename(temporary, target.name)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.remove(temporary)
            raise
        with _named(path):
            folder.sync()


class _Folder:
    """A folder that stays the same one even if its path leads elsewhere meanwhile (not on Windows)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor: int | None = None
        if sys.platform != "win32":
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)

    def path(self, name: str) -> str:
        """The path of one of its files, for a call that is given `descriptor` too."""
        return name if self.descriptor is not None else str(self._path / name)

    def open(self, name: str, flags: int) -> int:
        return os.open(self.path(name), flags | _FLAGS | _NO_FOLLOW, 0o600, dir_fd=self.descriptor)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self.path(name), dir_fd=self.descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        os.unlink(self.path(name), dir_fd=self.descriptor)

    def rename(self, name: str, new: str) -> None:
        os.replace(self.path(name), self.path(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        with os.scandir(self._path if self.descriptor is None else self.descriptor) as entries:
            return [entry.name for entry in entries if pattern.fullmatch(entry.name)]

    def sync(self) -> None:
        """Let the names in it survive a power cut; Windows does that by itself."""
        if self.descriptor is None:
            return
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EBADF}:  # a file system that syncs files only (fsync(2): EINVAL)
                raise

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


def _stem(name: str) -> str:
    """As much of a name as a temporary name has room for."""
    while len(os.fsencode(name)) > _STEM_BYTES:
        name = name[:-1]
    return name


def _temporary(folder: _Folder, stem: str) -> tuple[str, int]:
    """Make a file that is this writer's own, and lock it as long as it is open."""
    for _ in range(_TRIES):
        name = f".{stem}.{secrets.token_hex(8)}.part"
        descriptor = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        # Another writer may have taken it for a leftover before it was locked. Then that one has the lock, or had it
        # and has removed the file.
        with contextlib.suppress(OSError):
            if _lock(descriptor) is not False and os.path.samestat(folder.stat(name), os.fstat(descriptor)):
                return name, descriptor
        os.close(descriptor)
        with contextlib.suppress(OSError):
            folder.remove(name)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _remove_leftovers(folder: _Folder, stem: str) -> None:
    """Remove what writers of the same target have left that are no more."""
    for name in folder.names(re.compile(re.escape(f".{stem}.") + r"[0-9a-f]{16}\.part")):
        with contextlib.suppress(OSError):  # gone already, or another user's: no reason not to write
            _remove_leftover(folder, name)


def _remove_leftover(folder: _Folder, name: str) -> None:
    found = folder.stat(name)
    abandoned = time.time() - found.st_mtime > _LEFTOVER_SECONDS
    if _kind_of(found):
        return
    if sys.platform == "win32":  # which has no such locks, and removes no open file
        if abandoned:
            folder.remove(name)
    else:
        descriptor = folder.open(name, os.O_RDWR | _NO_WAIT)  # for writing, because NFS locks no other (flock(2))
        try:
            locked = _lock(descriptor)
            if abandoned if locked is None else locked:
                folder.remove(name)  # while it is locked: its writer may just have made it, and would lock it now
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file; `False` means that somebody else has, `None` that it cannot be locked here."""
    if sys.platform == "win32":
        return None
    else:  # noqa: RET505 - mypy skips what another system runs only in a branch of its own
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
