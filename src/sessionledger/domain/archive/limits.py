"""How large an archive may be."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.models import checked_count

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How large an archive may be; checked while it is read, before memory is spent on it.

    What exceeds one raises `ArchiveLimitError`; a line with too many levels, digits or values breaks a rule of the
    format for this reader, and raises `ArchiveFormatError` with the line's number. A limit can be raised; a message of
    more than 7 MiB, 60 levels, 40 digits a number or 200,000 values is refused all the same, because no ledger could
    hold it.

    Attributes:
        compressed_size: Bytes of a compressed archive.
        size: Bytes in all, decompressed.
        ratio: Bytes that a compressed byte may become, on average, after the first MiB.
        window: Bytes that a zstd decompressor may look back, and so has to keep.
        line: Bytes a line.
        depth: Levels of lists and objects in a line.
        digits: Digits a number.
        values: Values a line: elements of lists, members of objects. (Measured: 6 MB of `{}` become 138 MiB of Python
            objects, so bytes alone do not bound memory.)
        messages: Messages in all.
        sessions: Sessions in all.

    Raises:
        InvalidInputError: A limit is no integer from 1.
    """

    compressed_size: int = 64 * _MIB
    size: int = 512 * _MIB
    ratio: int = 200
    window: int = 8 * _MIB
    line: int = 8 * _MIB
    depth: int = 64
    digits: int = 40
    values: int = 250_000
    messages: int = 1_000_000
    sessions: int = 10_000

    def __post_init__(self) -> None:
        for each in fields(self):
            checked_count(each.name, getattr(self, each.name), minimum=1)


def checked_limits(limits: object) -> ArchiveLimits:
    """Return limits; where none are given, the default ones.

    Raises:
        InvalidInputError: They are something else.
    """
    if limits is None:
        return ArchiveLimits()
    if not isinstance(limits, ArchiveLimits):
        raise InvalidInputError("limits", "must be ArchiveLimits, or None")
    return limits
