"""An archive that was verified without a database, and what is told of it."""

import time
from dataclasses import asdict, dataclass
from itertools import islice

from sessionledger.cli import sources, words
from sessionledger.cli.bars import bars, follow, length
from sessionledger.cli.context import Context
from sessionledger.cli.sources import UnreadableFileError
from sessionledger.domain.archive import (
    ArchiveHeader,
    ArchiveLimits,
    ArchiveReader,
    Compression,
    Signature,
    TrustedKey,
    read_signature,
)
from sessionledger.domain.content import JSON
from sessionledger.domain.errors import ArchiveError, ArchiveLimitError, ArchiveSignatureError
from sessionledger.domain.models import Session


@dataclass(frozen=True, slots=True)
class Signed:
    """What is known of an archive's signature.

    Attributes:
        state: `verified`; `not_checked` (no key was required); `other_archive` (not this one's, by what it says
            itself); `unreadable`; or `unsigned`.
        claim: What the signature says; it is true if the state is `verified`.
    """

    state: str
    claim: Signature | None = None

    def __str__(self) -> str:
        key = "" if self.claim is None else f"key {self.claim.key_id}"
        return {
            "verified": f"signature verified by {key}",
            "not_checked": f"signed with {key} (not checked; give --require-signature)",
            "other_archive": f"beside it the signature of another archive, with {key} (not checked)",
            "unreadable": "beside it what is no signature",
            "unsigned": "unsigned",
        }[self.state]


@dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """What a verified archive is and holds; the sessions as far as they were asked for."""

    header: ArchiveHeader
    sha256: str
    size: int
    compression: Compression | None
    compressed_size: int | None
    signed: Signed
    sessions: list[Session]
    seconds: float

    def counts(self) -> str:
        """How much it holds."""
        header = self.header
        counted = ((header.sessions, "session"), (header.messages, "message"), (header.usage_records, "usage record"))
        return ", ".join(words.count(number, noun) for number, noun in counted)

    def form(self) -> str:
        """How long it is, and in which form."""
        length = words.length(self.size, self.compression, self.compressed_size)
        return f"{length}, SHA-256 {self.sha256}, format version {self.header.format_version}"

    def machine(self) -> dict[str, JSON]:
        """The same for machines."""
        return {
            "sha256": self.sha256,
            "size": self.size,
            "compression": self.compression,
            "compressed_size": self.compressed_size,
            **asdict(self.header),
            "signature": {
                "state": self.signed.state,
                "key_id": self.signed.claim and self.signed.claim.key_id,
                "name": self.signed.claim and self.signed.claim.name,
            },
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """How archives are verified.

    Attributes:
        context: How the command was started.
        limits: How large they may be.
        special: Whether what is no file is meant.
        keys: Where there are any, one of them must have signed.
        signature: Where the signature is; by default beside the file.
        sessions: How many sessions are kept to be shown.
    """

    context: Context
    limits: ArchiveLimits
    special: bool
    keys: tuple[TrustedKey, ...] = ()
    signature: str | None = None
    sessions: int = 0

    def read(self, file: str) -> VerifiedArchive:
        """Verify one archive.

        Raises:
            UnreadableFileError: It is refused; the text says why.
        """
        begun = time.perf_counter()
        signature = sources.signature(file, self.signature, special=self.special)
        too_large = ArchiveLimitError("bytes", self.limits.size)
        try:
            with (
                sources.source(file, special=self.special) as found,
                sources.rewindable(file, found, self.limits.size, too_large) as source,
                bars(self.context) as progress,
            ):
                reader = ArchiveReader(
                    source,
                    self.limits,
                    signature=signature if self.keys else None,
                    trusted_keys=self.keys,
                    follow=follow(progress, source, stored=False),
                )
                sessions = list(islice(reader.sessions(), self.sessions))
                return VerifiedArchive(
                    header=reader.header,
                    sha256=reader.sha256,
                    size=reader.size,
                    compression=reader.compression,
                    compressed_size=length(source) if reader.compression else None,
                    signed=_signed(reader, signature),
                    sessions=sessions,
                    seconds=time.perf_counter() - begun,
                )
        except ArchiveLimitError as error:
            raise UnreadableFileError(file, f"{error} {sources.ALLOW_MORE}") from None
        except ArchiveError as error:
            raise UnreadableFileError(file, error) from None


def _signed(reader: ArchiveReader, data: bytes | None) -> Signed:
    if reader.signature is not None:
        return Signed("verified", reader.signature)
    if data is None:
        return Signed("unsigned")
    try:
        claim = read_signature(data)
    except ArchiveSignatureError:
        return Signed("unreadable")
    return Signed("not_checked" if claim.sha256 == reader.sha256 else "other_archive", claim)
