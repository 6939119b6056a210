"""What an export or an import has done."""

from __future__ import annotations

from dataclasses import dataclass

from sessionledger.domain.values import Value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ArchiveReceipt(Value):
    """What an export wrote.

    Attributes:
        sha256: The digest in the archive's last line: of every byte before that line, 64 hexadecimal digits.
        size: The archive's length in bytes, the last line included, before it is compressed.
        format_version: The archive's format version.
        sessions: How many sessions it holds.
        messages: How many messages.
        usage_records: How many records of token usage.
        compressed_size: How many bytes were written to the file; `None` where nothing was compressed.
    """

    sha256: str
    size: int
    format_version: int
    sessions: int
    messages: int
    usage_records: int
    compressed_size: int | None = None

    def __str__(self) -> str:
        return f"{self.sessions} session(s), {self.messages} message(s), {self.size} bytes, SHA-256 {self.sha256}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImportReceipt(Value):
    """What an archive that was imported holds; the same answer each time.

    Attributes:
        sha256: The archive's digest.
        session_ids: The ids that its sessions have here, in the archive's order.
        messages: How many messages it holds.
        usage_records: How many records of token usage.
        signature_key_id: The id of the key that it is signed with; `None` where no signature was required.
    """

    sha256: str
    session_ids: tuple[str, ...]
    messages: int
    usage_records: int
    signature_key_id: str | None = None
