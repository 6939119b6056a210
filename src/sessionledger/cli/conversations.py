"""`import --format openai-chat`: conversations from files, each of which becomes a session."""

from dataclasses import dataclass, field, replace

from sessionledger.cli import sources, words
from sessionledger.cli.bars import bars
from sessionledger.cli.context import Context
from sessionledger.cli.sources import UnreadableFileError
from sessionledger.domain import openai_chat
from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.ids import derived_id
from sessionledger.domain.models import NewMessage, Session
from sessionledger.domain.service import SessionService

BATCH = 500


@dataclass(slots=True)
class Outcome:
    """What an import of conversations did."""

    imported: int = 0
    already_there: int = 0
    messages: int = 0
    left_out: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """How each file of conversations is read."""

    context: Context
    sessions: SessionService
    messages_key: str
    actor: str | None
    special: bool

    def read(self, file: str) -> Outcome:
        """Import the conversations of one file.

        Raises:
            UnreadableFileError: The file is none of conversations, or exceeds a limit.
        """
        too_large = UnreadableFileError(file, f"must be at most {openai_chat.MAX_BYTES} bytes")
        with (
            sources.source(file, special=self.special) as found,
            sources.rewindable(file, found, openai_chat.MAX_BYTES, too_large) as source,
        ):
            conversations = openai_chat.ConversationFile(source, self.messages_key)
            try:
                return _import_conversations(self.context, self.sessions, conversations, self.actor)
            except InvalidInputError as error:
                problem = "it is an archive; leave out --format openai-chat" if sources.is_archive(source) else error
                raise UnreadableFileError(file, problem) from None


def _import_conversations(
    context: Context, sessions: SessionService, conversations: openai_chat.ConversationFile, actor: str | None
) -> Outcome:
    """Make a session of each conversation, after the whole file was checked; what is there already stays as it is."""
    outcome = Outcome()
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


def _import_conversation(
    sessions: SessionService, conversation: openai_chat.Conversation, key: str, actor: str | None
) -> bool:
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


def report(context: Context, file: str, outcome: Outcome, *, several: bool) -> None:
    """Print what an import of one file did; of several, which one it was."""
    which = f"{sources.called(file)}: " if several else ""
    if context.json:
        context.print_json(
            {
                "file": file,
                "imported": outcome.imported,
                "already_there": outcome.already_there,
                "messages": outcome.messages,
                "left_out": [{"conversation": number, "key": key} for number, key in outcome.left_out],
            }
        )
    else:
        told = f"imported {outcome.imported:,}, already there {outcome.already_there:,}"
        context.print(f"{which}{told} ({words.count(outcome.messages, 'message')})")
    for number, key in outcome.left_out[:10]:
        context.note(f"{which}conversation {number}: {key} is too long for a session's metadata and was left out")
    if len(outcome.left_out) > 10:
        context.note(f"{which}… and {len(outcome.left_out) - 10:,} more were left out for the same reason")
