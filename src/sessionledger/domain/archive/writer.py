"""Writing an archive, a line at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from sessionledger.domain.archive import records
from sessionledger.domain.archive.message_lines import line_of
from sessionledger.domain.archive.receipts import ArchiveReceipt
from sessionledger.domain.archive.records import ArchiveHeader, LedgerRecord, MessageRecord, SessionRecord
from sessionledger.domain.content import JSON, canonical_text, parse

PIECE = 256 * 1024
"""About how many characters or bytes are made at a time."""


class ArchiveWriter:
    """Makes the bytes of one archive, a line at a time, and keeps the digest.

    The lines come in the order of the format: the header, then each session (ascending by `session_id`) with its
    messages (ascending by sequence) and its records of token usage (ascending by `usage_id`), then the footer.

    Args:
        header: The first line, with the counts of what follows.
    """

    def __init__(self, header: ArchiveHeader) -> None:
        self._header = header
        self._digest = hashlib.sha256()
        self._size = 0

    def header(self) -> bytes:
        """The first line."""
        return self._line(_text(records.header_values(self._header)))

    def session(self, session: SessionRecord) -> bytes:
        """The line of a session."""
        values = records.session_values(session.session, self._digest.hexdigest())
        return self._line(_with(_text(values), session.unknown))

    def message(self, message: MessageRecord) -> bytes:
        """The line of a message."""
        return self._line(_with(line_of(message), message.unknown))

    def messages(self, messages: Iterable[MessageRecord]) -> Iterator[tuple[int, bytes]]:
        """The lines of messages, as many at a time as make a piece, and how many they are."""
        lines: list[str] = []
        size = 0
        for message in messages:
            lines.append(_with(line_of(message), message.unknown))
            size += len(lines[-1])
            del message  # the next one is read without this one in memory
            if size >= PIECE:
                size = 0
                yield len(lines), self._joined(lines)
        if lines:
            yield len(lines), self._joined(lines)

    def usage(self, ledger: LedgerRecord) -> bytes:
        """The line of a record of token usage."""
        return self._line(_with(_text(records.ledger_values(ledger)), ledger.unknown))

    def footer(self) -> bytes:
        """The last line: the digest of all lines before it."""
        line = b'{"sha256":"%s"}\n' % self._digest.hexdigest().encode()
        self._size += len(line)
        return line

    def receipt(self, compressed_size: int | None = None) -> ArchiveReceipt:
        """What was written."""
        return ArchiveReceipt(
            sha256=self._digest.hexdigest(),
            size=self._size,
            format_version=self._header.format_version,
            sessions=self._header.sessions,
            messages=self._header.messages,
            usage_records=self._header.usage_records,
            compressed_size=compressed_size,
        )

    def _joined(self, lines: list[str]) -> bytes:
        """These lines as bytes; the list is empty then, so that they are in memory once."""
        text = "".join(lines)
        lines.clear()
        return self._line(text)

    def _line(self, text: str) -> bytes:
        line = text.encode()
        self._digest.update(line)
        self._size += len(line)
        return line


def _text(values: dict[str, JSON]) -> str:
    return canonical_text(values) + "\n"


def _with(line: str, unknown: str | None) -> str:
    """A record's line with the fields that this release does not know."""
    if unknown is None:
        return line
    known: dict[str, JSON] = parse("record", line)
    return _text(parse("unknown", unknown) | known)
