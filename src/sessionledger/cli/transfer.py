"""`export` and `import`: sessions as files."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, cast

from cyclopts import Parameter
from rich.progress import Progress

from sessionledger.cli import machine, readable, words
from sessionledger.cli.bars import bars
from sessionledger.cli.context import Context, UsageError
from sessionledger.cli.files import replacing
from sessionledger.domain.errors import ArchiveError, ArchiveFormatError, InvalidInputError, SessionLedgerError
from sessionledger.domain.ids import derived_id
from sessionledger.domain.models import NewMessage, Session
from sessionledger.domain.openai_chat import MAX_BYTES, Conversation, ConversationFile
from sessionledger.domain.service import SessionService

InContext = Annotated[Context, Parameter(parse=False)]

BATCH = 500


def export(
    session_id: str,
    /,
    *,
    format: Literal["archive", "openai-chat", "markdown", "html"] = "archive",  # noqa: A002 - the design's word
    output: Annotated[str, Parameter(alias="-o")] = "-",
    context: InContext,
) -> None:
    """Write a session as a verified archive, or in a format for others to read.

    Args:
        session_id: The session's id.
        format: archive is whole and verified; openai-chat is JSON that import reads;
            markdown and html are pages for people. What these three cannot carry is
            said on standard error.
        output: The file to write, replaced whole or not at all; - is standard output.
        context: How the command was started.
    """
    if format != "archive":
        readable.export(context, session_id, format, output)
        return
    if output == "-" and sys.stdout.isatty():
        raise UsageError("an archive is no text for a terminal; name a file: -o session.archive")
    with context.connect() as sessions, bars(context) as progress:
        total = sessions.get(session_id).last_sequence
        if output == "-":
            written = sessions.export_session(session_id, _followed(sys.stdout.buffer, progress, total))
            sys.stdout.buffer.flush()
        else:
            with replacing(Path(output)) as file:
                written = sessions.export_session(session_id, _followed(file, progress, total))
    if output == "-":
        context.note(f"exported {words.receipt(written)}")
    elif context.json:
        context.print_json({**machine.receipt(written), "file": output})
    else:
        context.print(f"exported {words.receipt(written)} to {output}")


def import_file(
    file: str,
    /,
    *,
    format: Literal["archive", "openai-chat"] = "archive",  # noqa: A002 - the design's word
    as_copy: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    messages_key: str = "messages",
    actor: str | None = None,
    context: InContext,
) -> None:
    """Read sessions from a file. The same file again changes nothing.

    Args:
        file: The file; - is standard input.
        format: archive is what export writes; openai-chat is a JSON array or JSON Lines of conversations in the
            OpenAI chat format, plain or gzip, each of which becomes a session.
        as_copy: Of an archive: make one more copy.
        messages_key: Of openai-chat: the key under which each conversation holds its messages.
        actor: Of openai-chat: the actor of the new sessions.
        context: How the command was started.
    """
    if format == "archive" and (actor is not None or messages_key != "messages"):
        raise UsageError("--actor and --messages-key go with --format openai-chat")
    if format == "openai-chat" and as_copy:
        raise UsageError("--as-copy goes with --format archive")
    with _opened(file) as source, context.connect() as sessions:
        if format == "archive":
            _import_archive(context, sessions, source, file, as_copy=as_copy)
        else:
            conversations = ConversationFile(source, messages_key)
            try:
                outcome = _import_conversations(context, sessions, conversations, actor)
            except InvalidInputError as error:
                raise UnreadableFileError(file, error) from None
            _report(context, outcome)


class UnreadableFileError(SessionLedgerError):
    """A file breaks a rule; the text names the file and the place, never the content."""

    def __init__(self, file: str, problem: object) -> None:
        super().__init__(f"{'standard input' if file == '-' else file}: {problem}")


def _import_archive(context: Context, sessions: SessionService, source: BinaryIO, file: str, *, as_copy: bool) -> None:
    try:
        with bars(context) as progress:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            followed = progress.wrap_file(source, size, description="importing")
            session = sessions.import_session(followed, as_copy=as_copy)
    except ArchiveError as error:
        is_archive = not isinstance(error, ArchiveFormatError) or error.line is not None
        advice = "" if is_archive else " Conversations need: --format openai-chat"
        raise UnreadableFileError(file, f"{error}{advice}") from None
    if context.json:
        context.print_json({"session": machine.session(session)})
    else:
        context.print(f"imported {session.session_id} with {words.count(session.last_sequence, 'message')}")


def _followed(file: BinaryIO, progress: Progress, total: int) -> BinaryIO:
    """A file being written, with each line of which a bar moves on."""
    task = progress.add_task("exporting", total=total)

    class Followed(io.RawIOBase):
        def write(self, lines: Any) -> int:
            progress.advance(task, bytes(lines).count(b"\n"))
            return file.write(lines)

    return cast("BinaryIO", Followed())


@dataclass(slots=True)
class _Outcome:
    """What an import of conversations did."""

    imported: int = 0
    already_there: int = 0
    messages: int = 0
    left_out: list[tuple[int, str]] = field(default_factory=list)


def _import_conversations(
    context: Context, sessions: SessionService, conversations: ConversationFile, actor: str | None
) -> _Outcome:
    """Make a session of each conversation, after the whole file was checked; what is there already stays as it is."""
    outcome = _Outcome()
    with bars(context) as progress:
        total = sum(1 for _ in progress.track(conversations, total=None, description="checking"))
        digest = conversations.sha256
        for conversation in progress.track(conversations, total=total, description="importing"):
            if _import_conversation(sessions, conversation, f"openai-chat:{digest}:{conversation.number}", actor):
                outcome.imported += 1
                outcome.messages += len(conversation.messages)
                outcome.left_out += [(conversation.number, key) for key in conversation.left_out]
            else:
                outcome.already_there += 1
    if conversations.sha256 != digest:
        raise InvalidInputError("file", "was changed while it was read; import it again")
    return outcome


def _import_conversation(sessions: SessionService, conversation: Conversation, key: str, actor: str | None) -> bool:
    """Make a session of one conversation, and say whether anything was missing.

    The session's id is derived from the key, and the messages' ids from the session's, so that an import that was
    killed half way can be run again.
    """
    found = sessions.find(key)
    session = found or sessions.get_or_create(
        key, actor_name=actor, title=conversation.title, metadata=conversation.metadata
    )
    messages = [
        replace(message, message_id=derived_id(session.session_id, "message", str(place)))
        for place, message in enumerate(conversation.messages, start=1)
    ]
    missing = _missing(sessions, session, messages)
    for start in range(0, len(missing), BATCH):
        sessions.append_messages(session.session_id, missing[start : start + BATCH])
    return found is None or bool(missing)


def _missing(sessions: SessionService, session: Session, messages: list[NewMessage]) -> list[NewMessage]:
    """Those messages that are not stored yet, at the cost of one query where nothing is or all are."""
    if not messages or session.last_sequence == 0:
        return messages
    if session.last_sequence >= len(messages):
        at_end = sessions.get_messages(session.session_id, after=len(messages) - 1, limit=1)
        if at_end[0].message_id == messages[-1].message_id:
            return []
    stored = {message.message_id for message in sessions.get_messages(session.session_id)}
    return [message for message in messages if message.message_id not in stored]


def _report(context: Context, outcome: _Outcome) -> None:
    if context.json:
        context.print_json(
            {
                "imported": outcome.imported,
                "already_there": outcome.already_there,
                "messages": outcome.messages,
                "left_out": [{"conversation": number, "key": key} for number, key in outcome.left_out],
            }
        )
    else:
        told = f"imported {outcome.imported:,}, already there {outcome.already_there:,}"
        context.print(f"{told} ({words.count(outcome.messages, 'message')})")
    for number, key in outcome.left_out[:10]:
        context.note(f"conversation {number}: {key} is too long for a session's metadata and was left out")
    if len(outcome.left_out) > 10:
        context.note(f"… and {len(outcome.left_out) - 10:,} more were left out for the same reason")


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Open a file; standard input is kept in a temporary file, because it is read twice."""
    if file != "-":
        with Path(file).open("rb") as source:
            yield source
        return
    with tempfile.TemporaryFile() as kept:
        size = 0
        while chunk := sys.stdin.buffer.read(1024 * 1024):
            size += len(chunk)
            if size > MAX_BYTES:
                raise UnreadableFileError(file, f"must be at most {MAX_BYTES} bytes")
            kept.write(chunk)
        kept.seek(0)
        yield cast("BinaryIO", kept)
