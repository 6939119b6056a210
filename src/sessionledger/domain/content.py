"""Content: canonical JSON, the content hash, and the neutral view of every format.

The canonical form is part of the contract: sorted keys, no spaces, UTF-8, numbers as Python's `json` writes them, NUL
and lone surrogates as JSON escapes. It is what is stored, what is hashed, and what an archive carries, byte for byte.
The limits are those of an archive's line (8 MiB, depth 64, 40 digits a number), so that whatever can be appended can
also be exported and imported.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sessionledger.domain.errors import InvalidInputError

JSON = Any
"""A JSON value: `None`, a bool, an int, a finite float, a str, a list of JSON values, or a dict of them by str."""

MAX_CONTENT_BYTES = 7 * 1024 * 1024
MAX_METADATA_BYTES = 64 * 1024
MAX_DEPTH = 60
MAX_DIGITS = 40

TEXT = "text"
PARTS = "parts"
ANY_JSON = "json"
OPENAI_CHAT = "openai.chat"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclass(frozen=True, slots=True)
class CanonicalJSON:
    """A JSON value in its canonical form.

    Attributes:
        value: The value itself.
        text: Its canonical text.
    """

    value: JSON = field(repr=False)
    text: str = field(repr=False)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the canonical text in UTF-8: 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def canonical(field: str, value: JSON, *, max_bytes: int = MAX_CONTENT_BYTES) -> CanonicalJSON:
    """Put a JSON value into its canonical form.

    Args:
        field: What the value is called in an error.
        value: The JSON value.
        max_bytes: How long the canonical text may be, in bytes of UTF-8.

    Raises:
        InvalidInputError: The value is no JSON (a tuple, a key that is no string, NaN …) or exceeds a limit.
    """
    check(field, value, MAX_DEPTH)
    text = _dumps(value)
    if not text.isascii():
        if _SPLIT_PAIR.search(text):
            # Written as escapes and read back, the two would be one character: not what was sent.
            raise InvalidInputError(field, "must not hold a surrogate pair as two characters; join them")
        text = _escaped(text)
    if len(text.encode()) > max_bytes:
        raise InvalidInputError(field, f"must be at most {max_bytes} bytes of JSON")
    return CanonicalJSON(value, text)


def canonical_text(value: JSON) -> str:
    """The canonical text of a value whose parts have been checked before."""
    return _escaped(_dumps(value))


def _dumps(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _escaped(text: str) -> str:
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def canonical_object(field: str, value: object) -> CanonicalJSON:
    """Put metadata, a JSON object of at most 64 KiB, into its canonical form; `None` means an empty object.

    Raises:
        InvalidInputError: The value is no JSON object or is too long.
    """
    if value is None:
        return _EMPTY_OBJECT
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, "must be a JSON object (a dict with string keys)")
    return canonical(field, dict(value), max_bytes=MAX_METADATA_BYTES)


_EMPTY_OBJECT = CanonicalJSON({}, "{}")


def check(field: str, value: JSON, levels: int) -> None:
    """Hold a value to the rules of JSON and to the limits, at most `levels` of lists and objects deep.

    Raises:
        InvalidInputError: It breaks a rule; the error names `field`.
    """
    _check(field, value, levels, levels)


def _check(field: str, value: JSON, levels: int, left: int) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if abs(value) >= 10**MAX_DIGITS:
            raise InvalidInputError(field, f"must not hold a number of more than {MAX_DIGITS} digits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(field, "must not hold NaN or an infinity")
    elif left == 0:
        raise InvalidInputError(field, f"must not be nested deeper than {levels} levels")
    elif isinstance(value, list):
        for element in value:
            _check(field, element, levels, left - 1)
    elif isinstance(value, dict):
        for key, element in value.items():
            if not isinstance(key, str):
                raise InvalidInputError(field, "must have strings as the keys of every object")
            _check(field, element, levels, left - 1)
    else:
        raise InvalidInputError(field, f"must be a JSON value; {type(value).__name__} is none")


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise InvalidInputError("JSON", "must not have the same key twice in one object")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:  # and a sign
        raise InvalidInputError("JSON", f"must not hold a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidInputError("JSON", "must not hold a number beyond what a double can be")
    return value


def _constant(_: str) -> None:
    raise InvalidInputError("JSON", "must not hold NaN or an infinity")


STRICT_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_constant
)
"""Reads JSON strictly: no key twice, no NaN, no integer too long; a number with a point is read as a double."""


def parse(field: str, text: str) -> JSON:
    """Read one JSON value strictly.

    Raises:
        InvalidInputError: It is no JSON, is nested too deeply, has a key twice, or holds NaN or a number out of bounds.
    """
    try:
        return STRICT_DECODER.decode(text)
    except InvalidInputError as error:
        raise InvalidInputError(field, error.problem) from None
    except json.JSONDecodeError:
        raise InvalidInputError(field, "must be one valid JSON value") from None
    except RecursionError:
        raise InvalidInputError(field, "is nested too deeply") from None


def default_format(content: JSON) -> str:
    """The format of content that comes without one: `text` for a string, `parts` for a list of parts, else `json`."""
    if isinstance(content, str):
        return TEXT
    return PARTS if _is_parts(content) else ANY_JSON


def check_format(content: JSON, format: str) -> None:  # noqa: A002 - `format` is the design's word
    """Hold content to the shape its format promises, for the formats that sessionledger knows.

    Raises:
        InvalidInputError: `text` that is no string, `parts` that is no list of objects with a `type`, or an
            `openai.chat` message that is no object with a `role`.
    """
    if format == TEXT and not isinstance(content, str):
        raise InvalidInputError("content", "must be a string in the format text")
    if format == PARTS and not _is_parts(content):
        raise InvalidInputError("content", "must be a list of objects with a type in the format parts")
    if format == OPENAI_CHAT and not (isinstance(content, dict) and isinstance(content.get("role"), str)):
        raise InvalidInputError("content", "must be an object with a role in the format openai.chat")


def _is_parts(content: JSON) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    )


def parts(content: JSON, format: str) -> list[dict[str, JSON]]:  # noqa: A002 - `format` is the design's word
    """The neutral view of a message: whatever the format, a list of parts.

    A part is an object with a `type`: `text` (`text`), `tool_call` (`tool_call_id`, `name`, `arguments` as the model
    wrote them), `tool_result` (`tool_call_id`, `name`, `content`), or `data` (`value`: anything this release cannot
    read more closely). Nothing is left out: what is not understood is in a `data` part.
    """
    if format == TEXT:
        return [{"type": "text", "text": content}]
    if format == PARTS:
        return list(content)
    if format == OPENAI_CHAT:
        return list(_openai_chat_parts(content))
    return [{"type": "data", "value": content}]


def _openai_chat_parts(item: dict[str, JSON]) -> Iterable[dict[str, JSON]]:
    """Read a message of the OpenAI chat format: https://platform.openai.com/docs/api-reference/chat."""
    content = item.get("content")
    if item["role"] == "tool":
        yield {
            "type": "tool_result",
            "tool_call_id": item.get("tool_call_id"),
            "name": item.get("name"),
            "content": content,
        }
    elif isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        for part in content:
            is_text = isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            yield {"type": "text", "text": part["text"]} if is_text else {"type": "data", "value": part}
    elif content is not None:
        yield {"type": "data", "value": content}
    for call in item.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield {
                "type": "tool_call",
                "tool_call_id": call.get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments"),
            }
        else:
            yield {"type": "data", "value": call}
    rest = {
        key: value
        for key, value in item.items()
        if key not in {"role", "content", "name", "tool_call_id", "tool_calls"}
    }
    if any(value is not None for value in rest.values()):
        yield {"type": "data", "value": rest}
