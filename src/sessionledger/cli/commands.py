"""Sessions and their messages: `list`, `show`, `new`, `append`, `delete`."""

import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from sessionledger.cli import machine, render, tables, words
from sessionledger.cli.context import Context, Declined, UsageError
from sessionledger.domain.content import JSON, parse
from sessionledger.domain.models import Session
from sessionledger.domain.service import SessionService

InContext = Annotated[Context, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


def list_sessions(
    *,
    actor: str | None = None,
    workspace: str | None = None,
    archived: Flag = False,
    order: Literal["newest", "oldest", "updated"] = "newest",
    limit: int = 50,
    cursor: str | None = None,
    context: InContext,
) -> None:
    """List sessions, a page at a time.

    Args:
        actor: Only those of this actor.
        workspace: Only those of this workspace.
        archived: Archived ones as well.
        order: By creation, newest or oldest first, or what changed last first.
        limit: How many at most, 1 to 1000.
        cursor: Where the page before said that this one starts.
        context: How the command was started.
    """
    with context.connect() as sessions:
        page = sessions.list(
            actor_name=actor, workspace=workspace, include_archived=archived, order=order, limit=limit, cursor=cursor
        )
    if context.json:
        context.print_json({"sessions": [machine.session(each) for each in page], "next_cursor": page.next_cursor})
        return
    tables.sessions(context, page.sessions)
    if page.next_cursor:
        context.note(f"There are more: --cursor {page.next_cursor}")


def show(
    session_id: str | None = None,
    /,
    *,
    last: int | None = None,
    after: int | None = None,
    full: Flag = False,
    context: InContext,
) -> None:
    """Show a conversation.

    Args:
        session_id: The session's id; by default the session that changed last.
        last: Only so many of the newest messages.
        after: Only the messages with a greater sequence.
        full: Unfold tool calls, tool results and long texts.
        context: How the command was started.
    """
    if last is not None and after is not None:
        raise UsageError("give --last or --after, not both")
    with context.connect() as sessions:
        session = sessions.get(session_id) if session_id else _latest(sessions)
        messages = sessions.get_messages(session.session_id, after=after or 0, last=last)
    if context.json:
        context.print_json(
            {"session": machine.session(session), "messages": [machine.message(each) for each in messages]}
        )
    else:
        render.conversation(context, session, messages, full=full)


def new(
    *,
    actor: str | None = None,
    title: str | None = None,
    key: str | None = None,
    workspace: str | None = None,
    metadata: str | None = None,
    session_id: str | None = None,
    context: InContext,
) -> None:
    """Make a session and print its id.

    Args:
        actor: Who the conversation is with or for.
        title: For people.
        key: Your own name for it; its id is derived from it.
        workspace: The workspace it belongs to.
        metadata: A JSON object.
        session_id: A ULID of your own; not together with a key.
        context: How the command was started.
    """
    with context.connect() as sessions:
        session = sessions.create(
            actor_name=actor,
            key=key,
            title=title,
            metadata=_json("metadata", metadata),
            workspace=workspace,
            session_id=session_id,
        )
    if context.json:
        context.print_json(machine.session(session))
    else:
        context.print(session.session_id)


@Parameter(name="*", group=Group("Token usage of the call that wrote it", sort_key=90))
@dataclass(frozen=True)
class Spent:
    """What the model's call used."""

    model: str | None = None
    """The model that was called."""
    input_tokens: int | None = None
    """All tokens sent to the model."""
    output_tokens: int | None = None
    """All tokens the model wrote."""
    cached_input_tokens: int | None = None
    """The part of the input read from the provider's cache."""
    cache_write_tokens: int | None = None
    """Tokens written to the provider's cache."""
    reasoning_tokens: int | None = None
    """The part of the output spent on reasoning."""
    cost: str | None = None
    """In your currency, at most 10 decimal places."""

    def usage(self) -> dict[str, object] | None:
        """The counts that were given; `None` if there are none."""
        return {name: value for name, value in asdict(self).items() if name != "model" and value is not None} or None


@Parameter(name="*")
@dataclass(frozen=True)
class Details:
    """What a message may have besides its role and content."""

    format: str | None = None
    """How the content is to be read: text, parts, openai.chat or a framework's own."""
    tool_call_id: str | None = None
    """Of a tool's answer: the call it answers."""
    metadata: str | None = None
    """A JSON object."""
    message_id: str | None = None
    """A ULID: sent again, the message is not stored twice."""
    expected_sequence: int | None = None
    """Append only if this is the session's last sequence."""

    def values(self) -> dict[str, Any]:
        """The arguments of `append_message` of the same names."""
        return {**asdict(self), "metadata": _json("metadata", self.metadata)}


NO_DETAILS = Details()
NOTHING_SPENT = Spent()


def append(
    session_id: str,
    content: str = "-",
    /,
    *,
    role: str = "user",
    json_content: Flag = False,
    details: Details = NO_DETAILS,
    spent: Spent = NOTHING_SPENT,
    context: InContext,
) -> None:
    """Append a message, and print its sequence and its id.

    Args:
        session_id: The session's id.
        content: The text; - is standard input. After -- it may start with a hyphen.
        role: system, developer, user, assistant or tool; another word where the format is a framework's.
        json_content: The content is JSON: a string, a list of parts, or a framework's own item.
        details: What a message may have besides.
        spent: What the model's call used.
        context: How the command was started.
    """
    text = _standard_input() if content == "-" else content
    value = parse("content", text) if json_content else text
    with context.connect() as sessions:
        message = sessions.append_message(
            session_id, role, value, usage=spent.usage(), model=spent.model, **details.values()
        )
    if context.json:
        context.print_json(machine.message(message))
    else:
        context.print(f"{message.sequence}  {message.message_id}")


def delete(
    session_id: str,
    /,
    *,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    context: InContext,
) -> None:
    """Delete a session with its messages. What it cost stays in the ledger of token usage.

    Args:
        session_id: The session's id.
        yes: Do not ask.
        context: How the command was started.
    """
    with context.connect() as sessions:
        session = sessions.get(session_id)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("there is no terminal to ask on; add --yes")
            if not context.ask(f"Delete {words.name(session)!r} with {words.count(session.last_sequence, 'message')}?"):
                raise Declined("nothing was deleted")
        sessions.delete(session_id)
    if context.json:
        context.print_json({"deleted": session_id})
    else:
        context.print(f"deleted {session_id} with {words.count(session.last_sequence, 'message')}")


def _latest(sessions: SessionService) -> Session:
    page = sessions.list(order="updated", limit=1)
    if not page.sessions:
        raise UsageError("there are no sessions yet; make one with: sessionledger new")
    return page.sessions[0]


def _json(option: str, text: str | None) -> JSON:
    return None if text is None else parse(option, text)


def _standard_input() -> str:
    """All of standard input as UTF-8, without the line end that `echo` adds."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise UsageError("standard input is no UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
