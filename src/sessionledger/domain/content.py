"""Content: canonical JSON, the content hash, and the neutral view of every format.

The canonical form is part of the contract: sorted keys, no spaces, UTF-8, numbers as Python's `json` writes them, NUL
and lone surrogates as JSON escapes. It is what is stored, what is hashed, and what an archive carries, byte for byte.
The limits are those of an archive's line (8 MiB, depth 64, 40 digits a number, 250,000 values), so that whatever can be
appended can also be exported and imported.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # typeshed lacks the first
from typing import Any

from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.values import Value

JSON = Any
"""A JSON value: `None`, a bool, an int, a finite float, a str, a list of JSON values, or a dict of them by str."""

MAX_CONTENT_BYTES = 7 * 1024 * 1024
MAX_METADATA_BYTES = 64 * 1024
MAX_DEPTH = 60
MAX_DIGITS = 40
_TOO_LARGE = 10**MAX_DIGITS
MAX_VALUES = 200_000
"""Elements of lists and members of objects in one content; they, not the bytes, are what memory goes to."""

TEXT = "text"
PARTS = "parts"
ANY_JSON = "json"
OPENAI_CHAT = "openai.chat"

# Compiled where they are first needed: patterns like these took 1.3 ms of every start (measured).
_SPLIT_PAIR = "[\ud800-\udbff][\udc00-\udfff]"
# As far as the next mark that is in no string. Possessive, and whatever comes it matches, so nothing is tried twice: a
# string of 16,000 escaped quotes without an end took 16 s before, a closed one of 5 MB 320 MiB.
_TO_MARK = r'(?s:[^",\[{]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)*+(?:([,\[{])|\Z)'


@dataclass(slots=True, eq=False, repr=False)  # not frozen: that takes 0.3 µs more, and a message has two
class CanonicalJSON(Value):
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
        return sha256_of(self.text)


def sha256_of(text: str) -> str:
    """The SHA-256 of a text in UTF-8: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(field: str, value: JSON, *, max_bytes: int = MAX_CONTENT_BYTES) -> CanonicalJSON:
    """Put a JSON value into its canonical form.

    Args:
        field: What the value is called in an error.
        value: The JSON value.
        max_bytes: How long the canonical text may be, in bytes of UTF-8.

    Raises:
        InvalidInputError: The value is no JSON (a tuple, a key that is no string, NaN …) or exceeds a limit.
    """
    if type(value) is str:  # as most content is
        text = encode_basestring(value)
    else:
        check(field, value, MAX_DEPTH)
        text = _dumps(value)
    if not text.isascii():
        if not is_text(text) and re.search(_SPLIT_PAIR, text):
            # Written as escapes and read back, the two would be one character: not what was sent.
            raise InvalidInputError(field, "must not hold a surrogate pair as two characters; join them")
        text = _escaped(text)
    if 4 * len(text) > max_bytes and len(text.encode()) > max_bytes:
        raise InvalidInputError(field, f"must be at most {max_bytes} bytes of JSON")
    if len(text) > MAX_VALUES:
        check_values(field, text, MAX_VALUES)
    return CanonicalJSON(value, text)


def canonical_text(value: JSON) -> str:
    """The canonical text of a value whose parts have been checked before."""
    return _escaped(_dumps(value))


def _encoder() -> Callable[[JSON], str]:
    """What writes canonical JSON: the standard library's encoder in C, made once.

    `JSONEncoder.encode` makes one for each value, half of the time of a small object (measured). It is without the
    search for circles, which `check` has found before: they are deeper than any limit.
    """
    standard = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    if c_make_encoder is None:  # a Python without it
        return standard.encode
    encode = c_make_encoder(None, standard.default, encode_basestring, None, ":", ",", True, False, False)
    return lambda value: "".join(encode(value, 0))


_dumps = _encoder()


def is_text(value: str) -> bool:
    """Whether a string has a form in UTF-8; one that holds surrogates has none."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(text: str) -> str:
    # All at once: one by one, the surrogates of a line of 8 MiB took 0.8 s.
    return text if is_text(text) else text.encode("utf-8", "backslashreplace").decode()


def canonical_object(field: str, value: object) -> CanonicalJSON:
    """Put metadata, a JSON object of at most 64 KiB, into its canonical form; `None` means an empty object.

    Raises:
        InvalidInputError: The value is no JSON object or is too long.
    """
    if value is None:
        return CanonicalJSON({}, "{}")
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, "must be a JSON object (a dict with string keys)")
    return canonical(field, dict(value), max_bytes=MAX_METADATA_BYTES)


def check(field: str, value: JSON, levels: int) -> None:
    """Hold a value to the rules of JSON and to the limits, at most `levels` of lists and objects deep.

    Raises:
        InvalidInputError: It breaks a rule; the error names `field`.
    """
    try:
        _check(field, value, levels, levels)
    except RecursionError:  # where more levels are allowed than Python can walk down
        raise InvalidInputError(field, "is nested too deeply") from None


def _check(field: str, value: JSON, levels: int, left: int) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
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


def check_values(field: str, text: str, most: int) -> None:
    """Refuse JSON text of too many values before it becomes objects in memory.

    Every value but the first follows a comma or an opening bracket, so counting these bounds their number.

    Raises:
        InvalidInputError: It has more than `most` values.
    """
    if len(text) > most and sum(map(text.count, ",[{")) >= most and _marks(text, most) >= most:
        raise InvalidInputError(field, f"must not hold more than {most} values")


def _marks(text: str, most: int) -> int:
    """How many commas and opening brackets there are outside of strings; none is looked for beyond `most`."""
    return sum(found.lastindex is not None for found in islice(re.finditer(_TO_MARK, text), most))


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise InvalidInputError("JSON", "must not have the same key twice in one object")
    return value


def _constant(_: str) -> None:
    raise InvalidInputError("JSON", "must not hold NaN or an infinity")


@functools.cache
def _strict_decoder(digits: int) -> json.JSONDecoder:
    def limited(numeral: str) -> str:
        if len(numeral) > digits and sum(map(str.isdigit, numeral)) > digits:
            raise InvalidInputError("JSON", f"must not hold a number of more than {digits} digits")
        return numeral

    def real(numeral: str) -> float:
        value = float(limited(numeral))
        if not math.isfinite(value):
            raise InvalidInputError("JSON", "must not hold a number beyond what a double can be")
        return value

    return json.JSONDecoder(
        object_pairs_hook=_unique,
        parse_int=lambda numeral: int(limited(numeral)),
        parse_float=real,
        parse_constant=_constant,
    )


STRICT_DECODER = _strict_decoder(MAX_DIGITS)
"""Reads JSON strictly: no key twice, no NaN, no number too long; a number with a point is read as a double."""


def parse(field: str, text: str, *, digits: int = MAX_DIGITS, depth: int | None = None) -> JSON:
    """Read one JSON value strictly; its numbers have at most so many digits, and it is at most so many levels deep.

    Raises:
        InvalidInputError: It is no JSON, is nested too deeply, has a key twice, or holds NaN or a number out of bounds.
    """
    try:
        value = _strict_decoder(digits).decode(text)
    except InvalidInputError as error:
        raise InvalidInputError(field, error.problem) from None
    except ValueError:  # also of an integer of more digits than Python reads, where so many are allowed
        raise InvalidInputError(field, "must be one valid JSON value") from None
    except RecursionError:
        raise InvalidInputError(field, "is nested too deeply") from None
    if depth is not None and text.count("[") + text.count("{") > depth:  # else it cannot be deeper
        check(field, value, depth)
    return value


_scan: Callable[[str, int], tuple[JSON, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed has it not


def decoded(text: str) -> JSON:
    """Read canonical text that was stored, without the checks of `parse`.

    Raises:
        ValueError: It is no JSON.
    """
    if text == "{}":  # as metadata is most of the time
        return {}
    try:
        value, end = _scan(text, 0)  # without the search for white space around it: a quarter of the time of `loads`
    except StopIteration:
        end = -1
    except (TypeError, RecursionError):
        raise ValueError from None
    return value if end == len(text) else json.loads(text)


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
