"""What a reader of a conversation sees: the messages of every format as a few kinds of blocks.

Tool calls are folded together with their results: an assistant's calls wait for the answers that follow it, and those
that nothing answers come out without one. At most one message waits at a time, so that memory stays bounded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from json import dumps

from sessionledger.domain.content import JSON, OPENAI_CHAT, PARTS, STRICT_DECODER, check, parts
from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.models import NO_USAGE, Session, SessionMessage, TokenUsage

LONG_TEXT = 12_000
"""Characters from which on a text is folded."""

MAX_INDENTED = 100_000
MAX_INDENTED_DEPTH = 12
MAX_ENCODED = 2_000
"""Characters from which on encoded bytes, a file or a sound, are told by their length."""

_SIGNS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_SIGNS |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), 0x202D, 0x202E, *range(0xD800, 0xE000)], 0xFFFD)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_ENCODED = re.compile(
    r"data:[^,\s]{1,200};base64,[A-Za-z0-9+/=_-]++|(?=[^A-Z]*+[A-Z])(?=[^a-z]*+[a-z])(?=\D*+\d)[A-Za-z0-9+/_-]++={0,2}"
)
_FENCE = re.compile(r"^ {0,3}(```++|~~~++)([^\n`]{0,100}+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Head:
    """A message begins.

    Attributes:
        message: The message.
        name: Who wrote it, where the format tells.
        time: When it was sent, to the minute, with the day where it is a new one; `None` if neither is new.
        empty: Whether it says nothing.
    """

    message: SessionMessage
    name: str | None
    time: str | None
    empty: bool


@dataclass(frozen=True, slots=True)
class Text:
    """Something said."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture within the message, as an address that holds its bytes."""

    address: str


@dataclass(frozen=True, slots=True)
class Data:
    """Anything that is not read more closely, as JSON."""

    kind: str
    value: JSON


@dataclass(frozen=True, slots=True)
class Exchange:
    """A tool call, its result, or both.

    Attributes:
        name: The tool's.
        call_id: What ties the two together.
        arguments: As the model wrote them.
        result: As the tool wrote it.
        called: Whether the call is there.
        answered: The sequence of the message with the result; `None` without one.
    """

    name: str
    call_id: str | None
    arguments: JSON = None
    result: JSON = None
    called: bool = True
    answered: int | None = None


Block = Text | Picture | Data | Exchange


def folded(messages: Iterable[SessionMessage], left_out: Counter[str]) -> Iterator[Head | Block]:
    """Read messages as blocks, each behind the head of its message, results folded into their calls."""
    waiting: list[Exchange] = []
    before = ("", "")
    for message in messages:
        left_out["message id"] += 1
        left_out["metadata object"] += bool(message.metadata)
        found = list(_blocks(message))
        if not (waiting and found and all(_is_answer(block) for block in found)):
            yield from _emptied(waiting)
            day, _, clock = moment(message.created_at).partition(" ")
            time = clock if day == before[0] else f"{day} {clock}"
            yield Head(message, _name(message), None if before == (day, clock) else time, empty=not found)
            before = day, clock
        for block in found:
            if isinstance(block, Exchange) and block.called:
                waiting.append(block)
            elif isinstance(block, Exchange):
                yield _answered(waiting, block)
            else:
                yield from _emptied(waiting)
                yield block
    yield from _emptied(waiting)


def _is_answer(block: Block) -> bool:
    return isinstance(block, Exchange) and not block.called


def _emptied(waiting: list[Exchange]) -> Iterator[Exchange]:
    yield from waiting
    waiting.clear()


def _answered(waiting: list[Exchange], answer: Exchange) -> Exchange:
    """The result in the call it answers, which waits no longer; alone if its call is not there."""
    for place, call in enumerate(waiting):
        if call.call_id is not None and call.call_id == answer.call_id:
            return replace(waiting.pop(place), result=answer.result, answered=answer.answered)
    return answer


def _name(message: SessionMessage) -> str | None:
    name = message.content.get("name") if message.format == OPENAI_CHAT and message.role != "tool" else None
    return name if isinstance(name, str) and name else None


def _blocks(message: SessionMessage) -> Iterator[Block]:
    for part in parts(message.content, message.format):
        kind = part["type"]
        if kind == "text" and isinstance(part.get("text"), str):
            if part["text"].strip():
                yield Text(part["text"])
        elif kind == "tool_call":
            yield Exchange(_word(part.get("name")), _id(part), part.get("arguments"))
        elif kind == "tool_result":
            name, result = _word(part.get("name")), part.get("content")
            yield Exchange(name, _id(part), result=result, called=False, answered=message.sequence)
        elif message.format == PARTS:
            yield _picture(part) or Data(kind, {key: each for key, each in part.items() if key != "type"})
        else:
            value = part["value"]
            known = message.format == OPENAI_CHAT
            yield (_picture(value) if known else None) or Data("data" if known else message.format, value)


def _id(part: dict[str, JSON]) -> str | None:
    call_id = part.get("tool_call_id")
    return call_id if isinstance(call_id, str) else None


def _word(value: JSON) -> str:
    return value if isinstance(value, str) and value else "tool"


def _picture(part: JSON) -> Picture | None:
    """The picture that a part holds; one that stands elsewhere is no picture of this page."""
    if not isinstance(part, dict) or part.get("type") not in {"image", "image_url"}:
        return None
    address = part.get("image_url", part.get("url"))
    if isinstance(address, dict):
        address = address.get("url")
    return Picture(address) if isinstance(address, str) and _PICTURE.fullmatch(address) else None


def visible(text: str) -> str:
    """A text with only line feeds, tabs and what can be seen or has a meaning in a language; the rest as signs."""
    return text.replace("\r\n", "\n").translate(_SIGNS)


def one_line(text: str) -> str:
    """A visible text on one line."""
    return " ".join(visible(text).split())


def indented(value: JSON, left_out: Counter[str]) -> tuple[str, bool]:
    """A value as a person reads it, and whether it is JSON.

    A string that is JSON is indented, if that changes no number and it is not too deep or too long (indenting could
    make it many times longer). Long embedded files are left out.
    """
    if isinstance(value, list) and value and all(_is_text(part) for part in value):
        value = "\n".join(part["text"] for part in value)
    if not isinstance(value, str):
        return visible(_dumped(_without_files(value, left_out))), True
    if len(value) <= MAX_INDENTED and value.lstrip()[:1] in {"{", "["}:
        try:
            read = _EXACT_DECODER.decode(value)
            check("value", read, MAX_INDENTED_DEPTH)
        except (ValueError, RecursionError):  # no JSON, or none that can be written again as it was
            return visible(value), False
        return visible(_dumped(_without_files(read, left_out))), True
    return visible(_without_files(value, left_out)), False


def _is_text(part: JSON) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and isinstance(part["text"], str)


def _exact(digits: str) -> float:
    number = float(digits)
    if repr(number) != digits:
        raise InvalidInputError("number", "would be written in another way")
    return number


_EXACT_DECODER = type(STRICT_DECODER)(
    object_pairs_hook=STRICT_DECODER.object_pairs_hook,
    parse_int=STRICT_DECODER.parse_int,
    parse_float=_exact,
    parse_constant=STRICT_DECODER.parse_constant,
)


def _dumped(value: JSON) -> str:
    short = dumps(value, ensure_ascii=False)
    if len(short) > MAX_INDENTED:
        return short
    try:
        check("value", value, MAX_INDENTED_DEPTH)
    except InvalidInputError:
        return short
    return dumps(value, ensure_ascii=False, indent=2)


def _without_files(value: JSON, left_out: Counter[str]) -> JSON:
    """The value with each long string that is encoded bytes told by its length."""
    if isinstance(value, dict):
        return {key: _without_files(each, left_out) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_files(each, left_out) for each in value]
    if isinstance(value, str) and len(value) > MAX_ENCODED and _ENCODED.fullmatch(value):
        left_out["embedded file"] += 1
        return f"… {len(value):,} characters of encoded data"
    return value


def pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """The code blocks of a visible text, each with its language, and what stands between them, with `None`."""
    start, opened = 0, None
    for found in _FENCE.finditer(text):
        if opened is None:
            yield text[start : found.start()].strip("\n"), None
            opened = found
        elif found[1].startswith(opened[1]) and not found[2].strip():
            yield text[opened.end() + 1 : max(found.start() - 1, opened.end() + 1)], opened[2].strip()
            opened = None
        else:
            continue
        start = min(found.end() + 1, len(text))
    if opened is not None:
        yield text[opened.end() + 1 :], opened[2].strip()
    elif start < len(text):
        yield text[start:].strip("\n"), None


def facts(session: Session, left_out: Counter[str]) -> list[tuple[str, str]]:
    """What a reader is told about a session before its messages: names with values."""
    left_out["session metadata object"] += bool(session.metadata)
    usage = session.usage
    known: list[tuple[str, object]] = [
        ("Session", session.session_id),
        ("Actor", session.actor_name),
        ("Workspace", session.workspace),
        ("Key", session.key),
        ("Begun", moment(session.created_at)),
        ("Messages", f"{session.last_sequence:,}"),
    ]
    if usage not in (TokenUsage(), NO_USAGE):
        known.append(("Tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"))
        known.append(("Cost", None if usage.cost is None else format(usage.cost, "f")))
    return [(name, one_line(str(value))) for name, value in known if value is not None]


def moment(at: datetime) -> str:
    """A time to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
