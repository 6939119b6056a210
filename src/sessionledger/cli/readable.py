"""`export --format openai-chat | markdown | html`: a session for others to read, and what of it they cannot see."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sessionledger.cli import words
from sessionledger.cli.bars import bars
from sessionledger.cli.context import Context, UsageError
from sessionledger.cli.files import replacing
from sessionledger.domain.errors import SessionNotFoundError
from sessionledger.domain.formats import WRITERS
from sessionledger.domain.models import Session, SessionMessage
from sessionledger.domain.service import SessionService

PAGE = 10
"""Messages in memory at once: each may have 7 MiB."""

ENDINGS = {"openai-chat": "json", "markdown": "md", "html": "html"}


def export(context: Context, session_id: str, format_name: str, output: str, *, special: bool) -> None:
    """Write a session in one of the formats, and say what the format cannot carry."""
    if output == "-" and sys.stdout.isatty():
        example = f"session.{ENDINGS[format_name]}"
        raise UsageError(f"{format_name} is for a file or a pipe; name a file: -o {example} (to read it here: show)")
    left_out: Counter[str] = Counter()
    with context.connect() as sessions, bars(context) as progress:
        session = sessions.get(session_id)
        messages = progress.track(_messages(sessions, session), total=session.last_sequence, description="exporting")
        text = WRITERS[format_name](session, messages, left_out)
        if output == "-":
            _write(sys.stdout.buffer, text)
            sys.stdout.buffer.flush()
        else:
            with replacing(Path(output), special=special) as file:
                _write(file, text)
    missing = {noun: number for noun, number in sorted(left_out.items()) if number}
    if context.json and output != "-":
        told = {"format": format_name, "messages": session.last_sequence, "left_out": missing, "file": output}
        context.print_json(told)
    else:
        done = f"exported {words.count(session.last_sequence, 'message')}"
        if output == "-":
            context.note(done)
        else:
            context.print(f"{done} to {output}")
    if missing:
        listed = ", ".join(words.count(number, noun) for noun, number in missing.items())
        context.note(f"{format_name} cannot carry, and leaves out: {listed}")


def _messages(sessions: SessionService, session: Session) -> Iterator[SessionMessage]:
    """The messages that the session had when it was read: none of them is ever changed, and later ones stay out.

    Raises:
        SessionNotFoundError: The session was deleted meanwhile, even if there is another one with its id by now.
    """
    for after in range(0, session.last_sequence, PAGE):
        before = min(after + PAGE, session.last_sequence) + 1
        found = sessions.get_messages(session.session_id, after=after, before=before)
        if len(found) != before - after - 1:
            raise SessionNotFoundError(session.session_id)
        yield from found
    if sessions.get(session.session_id).created_at != session.created_at:
        raise SessionNotFoundError(session.session_id)


def _write(file: BinaryIO, text: Iterator[str]) -> None:
    file.writelines(piece.encode() for piece in text)
