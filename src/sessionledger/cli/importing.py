"""`import`: sessions from files, each of them whole or not at all."""

import time
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Literal

from cyclopts import Group, Parameter

from sessionledger.cli import conversations, machine, sources, values, words
from sessionledger.cli.bars import bars, follow
from sessionledger.cli.context import Context, UsageError
from sessionledger.cli.sources import UnreadableFileError
from sessionledger.domain.archive import ArchiveLimits, ImportReceipt, TrustedKey
from sessionledger.domain.errors import ArchiveError, ArchiveFormatError, ArchiveLimitError, SessionExistsError
from sessionledger.domain.models import Session
from sessionledger.domain.service import SessionService

InContext = Annotated[Context, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

_NAMED = 10


@Parameter(name="*", group=Group("Of archives", sort_key=80))
@dataclass(frozen=True)
class ArchiveOptions:
    """What holds for archives only."""

    as_copy: Flag = False
    """Make one more copy, even if the archive has been imported."""
    require_signature: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """Take only what is signed with this public key (PEM), or one of several: give it again."""
    signature: str | None = None
    """Where the signature is; by default beside the file, with the ending .sig."""
    allow: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """NAME=NUMBER, again for several: allow more (or less) sessions, messages, size, line, ratio, …"""


@Parameter(name="*", group=Group("Of conversations (openai-chat)", sort_key=90))
@dataclass(frozen=True)
class ConversationOptions:
    """What holds for conversations only."""

    messages_key: str = "messages"
    """The key under which each conversation holds its messages."""
    actor: str | None = None
    """The actor of the new sessions."""


FROM_ARCHIVES = ArchiveOptions()
FROM_CONVERSATIONS = ConversationOptions()


def import_files(
    *files: Annotated[str, Parameter(required=True)],
    format: Literal["archive", "openai-chat"] = "archive",  # noqa: A002 - the design's word
    archive: ArchiveOptions = FROM_ARCHIVES,
    chat: ConversationOptions = FROM_CONVERSATIONS,
    special_file: Flag = False,
    context: InContext,
) -> None:
    """Read sessions from files, each whole or not at all. The same file again changes nothing.

    A file that is refused is named on standard error, and the others go on; the exit code is then 1.

    Args:
        files: The files; - is standard input.
        format: archive is what export writes, plain or compressed with zstd or gzip;
            openai-chat is a JSON array or JSON Lines of conversations in the OpenAI
            chat format, plain or gzip, each of which becomes a session.
        archive: What holds for archives only.
        chat: What holds for conversations only.
        special_file: A file may be a link, which is followed, or a FIFO or device.
        context: How the command was started.
    """
    if format == "archive" and chat != FROM_CONVERSATIONS:
        raise UsageError("--actor and --messages-key go with --format openai-chat")
    if format == "openai-chat" and archive != FROM_ARCHIVES:
        raise UsageError("--as-copy, --require-signature, --signature and --allow go with --format archive")
    sources.check_signature_options(files, archive.require_signature, archive.signature)
    keys = sources.trusted_keys(archive.require_signature, special=special_file)
    limits = values.limits(archive.allow)
    with context.connect() as sessions:
        if format == "archive":
            reading = _Reading(context, sessions, archive, keys, limits, special=special_file)
            for file, outcome, _ in sources.each_file(files, reading.read):
                if outcome is not None:
                    _report(context, file, outcome)
        else:
            chats = conversations.Reading(context, sessions, chat.messages_key, chat.actor, special=special_file)
            for file, told, _ in sources.each_file(files, chats.read):
                if told is not None:
                    conversations.report(context, file, told, several=len(files) > 1)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an import of an archive did; the session where it is of one."""

    receipt: ImportReceipt
    session: Session | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """How each archive is read."""

    context: Context
    sessions: SessionService
    options: ArchiveOptions
    keys: tuple[TrustedKey, ...]
    limits: ArchiveLimits
    special: bool

    def read(self, file: str) -> _Outcome:
        """Import one archive."""
        begun = time.perf_counter()
        signature = sources.signature(file, self.options.signature, special=self.special) if self.keys else None
        with sources.source(file, special=self.special) as source, bars(self.context) as progress:
            try:
                receipt = self.sessions.import_sessions(
                    source,
                    as_copy=self.options.as_copy,
                    limits=self.limits,
                    signature=signature,
                    trusted_keys=self.keys,
                    follow=follow(progress, source),
                )
            except (ArchiveError, SessionExistsError) as error:
                raise UnreadableFileError(file, f"{error}{_advice(error, source)}") from None
        session = self.sessions.get(receipt.session_ids[0]) if len(receipt.session_ids) == 1 else None
        return _Outcome(receipt, session, time.perf_counter() - begun)


def _advice(error: Exception, source: BinaryIO) -> str:
    """What to write instead, where the error tells."""
    if isinstance(error, ArchiveLimitError):
        return f" {sources.ALLOW_MORE}"
    if not isinstance(error, ArchiveFormatError) or error.line is not None:
        return ""
    is_cut = source.seekable() and sources.is_archive(source)
    return "" if is_cut else " Conversations need: --format openai-chat"


def _report(context: Context, file: str, outcome: _Outcome) -> None:
    receipt, session = outcome.receipt, outcome.session
    if context.json:
        context.print_json(
            {
                "file": file,
                "sha256": receipt.sha256,
                "session_ids": list(receipt.session_ids),
                "messages": receipt.messages,
                "usage_records": receipt.usage_records,
                "signature_key_id": receipt.signature_key_id,
                "seconds": round(outcome.seconds, 3),
                "session": session and machine.session(session),
            }
        )
        return
    what = session.session_id if session else words.count(len(receipt.session_ids), "session")
    signed = f", signed with key {receipt.signature_key_id}" if receipt.signature_key_id else ""
    told = f"{words.count(receipt.messages, 'message')}, SHA-256 {receipt.sha256}{signed}"
    context.print(f"imported {what} from {sources.called(file)} with {told}, in {words.seconds(outcome.seconds)}")
    if session is None:
        for session_id in receipt.session_ids[:_NAMED]:
            context.print(f"  {session_id}")
        if (more := len(receipt.session_ids) - _NAMED) > 0:
            context.print(f"  … and {more:,} more")
