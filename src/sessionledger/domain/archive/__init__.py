"""Archives: sessions as bytes that prove themselves; no database, no paths.

UTF-8 JSON Lines. A header, then for each session its record, its messages in sequence order and its token usage; the
last line has a fixed form and is the SHA-256 of every byte before it, checked before anything is parsed. (Every bit of
an archive flipped: a checksum over the messages alone accepted 117 changed archives, this form none.) A checksum
detects corruption, not malice; for that there are signatures. docs/reference/archive_format.md is the specification.
"""

from sessionledger.domain.archive.compression import ArchiveFile, Compression, checked_compression
from sessionledger.domain.archive.limits import ArchiveLimits, checked_limits
from sessionledger.domain.archive.message_lines import canonical_sha256
from sessionledger.domain.archive.reader import ArchiveProgress, ArchiveReader, Follow, checked_follow
from sessionledger.domain.archive.receipts import ArchiveReceipt, ImportReceipt
from sessionledger.domain.archive.records import (
    FORMAT,
    FORMAT_VERSION,
    ArchiveHeader,
    LedgerRecord,
    MessageRecord,
    Record,
    SessionRecord,
)
from sessionledger.domain.archive.signatures import Signature, SigningKey, TrustedKey, read_signature
from sessionledger.domain.archive.writer import PIECE, ArchiveWriter

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "PIECE",
    "ArchiveFile",
    "ArchiveHeader",
    "ArchiveLimits",
    "ArchiveProgress",
    "ArchiveReader",
    "ArchiveReceipt",
    "ArchiveWriter",
    "Compression",
    "Follow",
    "ImportReceipt",
    "LedgerRecord",
    "MessageRecord",
    "Record",
    "SessionRecord",
    "Signature",
    "SigningKey",
    "TrustedKey",
    "canonical_sha256",
    "checked_compression",
    "checked_follow",
    "checked_limits",
    "read_signature",
]
