"""A session as one conversation in the OpenAI chat format, on one line: what `domain.openai_chat` reads.

A message of the format `openai.chat` is written as it is stored. Text, and those parts that the format has a place for,
are written there; nothing else is translated, because a translation that loses something is worse than a number that
says what is missing. The session's metadata stands beside the messages, where an import finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from sessionledger.domain.content import JSON, OPENAI_CHAT, PARTS, TEXT, canonical_text
from sessionledger.domain.models import NO_USAGE, ROLES, Session, SessionMessage, TokenUsage

MESSAGES_KEY = "messages"
PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
"""The parts of a message that the format itself has."""

_NOTHING_USED = (TokenUsage(), NO_USAGE)


def written(session: Session, messages: Iterable[SessionMessage], left_out: Counter[str]) -> Iterator[str]:
    """Yield the conversation: the keys of the session's metadata, and the messages.

    Args:
        session: The session.
        messages: Its messages, in their order.
        left_out: Counts what the format cannot carry.
    """
    yield "{"
    for key, value in session.metadata.items():
        if key == MESSAGES_KEY:
            left_out["metadata value"] += 1
        else:
            yield f"{canonical_text(key)}:{canonical_text(value)},"
    yield f'"{MESSAGES_KEY}":['
    before = ""
    for message in messages:
        item = _item(message, left_out)
        if item is None:
            left_out[f"{message.format} message"] += 1
            continue
        left_out["message id"] += 1
        left_out["time"] += 1
        left_out["metadata object"] += bool(message.metadata)
        yield before + canonical_text(item)
        before = ","
    left_out["session title"] += session.title is not None
    left_out["actor"] += session.actor_name is not None
    left_out["workspace"] += session.workspace is not None
    left_out["token usage total"] += session.usage not in _NOTHING_USED
    yield "]}\n"


def _item(message: SessionMessage, left_out: Counter[str]) -> JSON:
    """The message in the OpenAI chat format; `None` if there is nothing of it that the format can carry."""
    if message.format == OPENAI_CHAT:
        item = message.content
    elif message.role not in ROLES:
        return None
    elif message.format == TEXT:
        item = {"role": message.role, "content": message.content}
    elif message.format == PARTS:
        item = _from_parts(message, left_out)
    else:
        return None
    if item is not None:
        left_out["role"] += item["role"] != message.role
        if message.role == "tool" and message.format != OPENAI_CHAT and message.tool_call_id is not None:
            item.setdefault("tool_call_id", message.tool_call_id)
        left_out["tool call id"] += message.tool_call_id not in {None, item.get("tool_call_id")}
    return item


def _from_parts(message: SessionMessage, left_out: Counter[str]) -> dict[str, JSON] | None:
    """The parts that the format has a place for; those it has none for are counted."""
    parts = message.content
    if len(parts) == 1 and message.role == "tool" and _is_result(parts[0]):
        return {"role": "tool", **{key: each for key, each in parts[0].items() if key != "type" and each is not None}}
    content: list[JSON] = []
    calls: list[JSON] = []
    for part in parts:
        if message.role == "assistant" and _is_call(part):
            function = {"name": part["name"], "arguments": part["arguments"]}
            calls.append({"id": part["tool_call_id"], "type": "function", "function": function})
        elif part["type"] in PART_TYPES and not calls:  # behind a call there is no place for it
            content.append(part)
        else:
            left_out["part"] += 1
    if parts and not content and not calls:
        left_out["part"] -= len(parts)  # the whole message is counted
        return None
    item: dict[str, JSON] = {"role": message.role, "content": content if content or not calls else None}
    return {**item, "tool_calls": calls} if calls else item


def _is_call(part: dict[str, JSON]) -> bool:
    return part["type"] == "tool_call" and _has_strings(part, "tool_call_id", "name", "arguments")


def _has_strings(part: dict[str, JSON], *names: str) -> bool:
    return part.keys() == {"type", *names} and all(isinstance(part[name], str) for name in names)


def _is_result(part: dict[str, JSON]) -> bool:
    """Whether it is a tool's result that the format has a place for: a string, or a list of texts."""
    content = part.get("content")
    return (
        part["type"] == "tool_result"
        and {"type", "tool_call_id", "content"} <= part.keys() <= {"type", "tool_call_id", "content", "name"}
        and isinstance(part["tool_call_id"], str)
        and isinstance(part.get("name"), (str, type(None)))
        and (isinstance(content, str) or _is_texts(content))
    )


def _is_texts(content: JSON) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and _has_strings(part, "text") for part in content
    )
