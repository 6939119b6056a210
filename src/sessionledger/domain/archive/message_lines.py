"""A message's line as an export writes it: made, and read, without a tree of its JSON.

Most lines of most archives are messages, and most are written just so: keys in order, content and metadata in their
canonical form, nothing escaped in the other fields. Such a line is cut apart by one pattern behind its content, and its
content is proved by its hash. Whatever is written otherwise is left to `records.py`, which says what is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any

from sessionledger.domain.archive import records
from sessionledger.domain.archive.limits import ArchiveLimits
from sessionledger.domain.archive.records import MessageRecord, trusted_message
from sessionledger.domain.content import (
    JSON,
    MAX_CONTENT_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_METADATA_BYTES,
    MAX_VALUES,
    canonical_text,
    check,
    check_format,
    check_values,
)
from sessionledger.domain.models import checked_time

_CONTENT = '{"content":'
_LONGEST = 1024 * 1024
"""Characters of a line that is read here: it is in memory twice meanwhile, and a longer one gains nothing."""

_FIELDS = (
    r',"content_sha256":"([0-9a-f]{64})"'
    rf',"created_at":"({records.TIME})"'
    r',"format":"([A-Za-z0-9][A-Za-z0-9._:-]{0,63})"'
    r',"message_id":"([0-7][0-9A-HJKMNP-TV-Z]{25})"'
    r',"metadata":(\{\}|\{.*\})'
    r',"record":"message"'
    r',"role":"([A-Za-z0-9][A-Za-z0-9._:-]{0,63})"'
    r',"sequence":([1-9][0-9]{0,17})'
    r',"session_id":"([0-7][0-9A-HJKMNP-TV-Z]{25})"'
    r',"tool_call_id":(null|"[^"\\\x00-\x1f]{1,255}")'
    r"\}\n"
)
_REST = re.compile(_FIELDS, re.ASCII | re.DOTALL)
# Any mark up to the next quote: with a class of marks instead it takes twice as long.
_WITH_STRING = re.compile(rf'{_CONTENT}("[^"]*+"){_FIELDS}'.replace("{", r"\{", 1), re.ASCII | re.DOTALL)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def _integer(numeral: str) -> int:
    if len(numeral) > MAX_DIGITS:
        raise ValueError
    return int(numeral)


_decode = json.JSONDecoder(parse_int=_integer).raw_decode


def line_of(message: MessageRecord) -> str:
    """A message's line, made around the texts that are canonical already.

    Decoding and encoding them took 2.5 s for 100,000 messages from PostgreSQL, this takes 0.9 s (measured). Roles,
    formats, ids and hashes are words that need no escapes.
    """
    call = message.tool_call_id
    return (
        f'{_CONTENT}{message.content},"content_sha256":"{message.content_sha256}",'
        f'"created_at":"{message.created_at.isoformat()}","format":"{message.format}",'
        f'"message_id":"{message.message_id}","metadata":{message.metadata},"record":"message",'
        f'"role":"{message.role}","sequence":{message.sequence},"session_id":"{message.session_id}",'
        f'"tool_call_id":{"null" if call is None else canonical_text(call)}}}\n'
    )


def can_be_read_so(limits: ArchiveLimits) -> bool:
    """Whether these limits allow what every line that is read here may hold: the levels and digits of any content."""
    return limits.depth > MAX_DEPTH and limits.digits >= MAX_DIGITS


def message_of(line: str, *, values: int | None, plain: bool = False) -> MessageRecord | None:
    """Read a message's line; `None` where the long way has to.

    Args:
        line: The line.
        values: How many values it may hold; `None` where the line was read before, so that its hash is known to be that
            of canonical content.
        plain: Whether it is known that no string in it holds a control character.
    """
    if len(line) > _LONGEST or not line.startswith(_CONTENT):
        return None
    try:
        fields = _with_string(line, values) if plain else None
        if fields is None and (fields := _with_any(line, values)) is None:
            return None
        content, claimed, created_at, format_name, message_id, metadata, role, sequence, session_id, call = fields
        if metadata != "{}" and not _is_canonical_metadata(metadata):
            return None
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is not UTC or not MINYEAR < at.year < MAXYEAR:
            at = checked_time("created_at", at)
    except (ValueError, RecursionError):
        return None
    tool_call_id = None if call == "null" else call[1:-1]
    return trusted_message(
        message_id, session_id, int(sequence), role, content, format_name, claimed, at, tool_call_id, metadata, None
    )


def _with_string(line: str, values: int | None) -> tuple[str | Any, ...] | None:
    """The fields of a line without control characters whose content is a string without escapes: canonical as it is.

    Nothing is decoded: 4.7 µs for a kilobyte, where the decoder and a pattern behind it took 6.7 (measured).
    """
    found = _WITH_STRING.fullmatch(line)
    if found is None or "\\" in found[1]:
        return None
    fields = found.groups()
    if values is not None:
        check_format(fields[0], fields[3])
        if len(line) > values or _hash(fields[0]) != fields[1]:
            return None
    return fields


def _with_any(line: str, values: int | None) -> tuple[str | Any, ...] | None:
    """The fields of a line whose content is any canonical value."""
    if values is not None:
        check_values("the line", line, values)
    value, end = _decode(line, len(_CONTENT))
    rest = _REST.fullmatch(line, end)
    if rest is None:
        return None
    content = line[len(_CONTENT) : end]
    if values is not None:
        if _proved(content, value, rest[3]) != rest[1]:
            return None
    elif not _is_plain(content, value) and _hash(content) != rest[1]:
        return None
    return content, *rest.groups()


def canonical_sha256(content: str, format_name: str) -> str | None:
    """The SHA-256 of a content's text; `None` where it is not canonical, or not what its format promises."""
    try:
        value, end = _decode(content)
        return _proved(content, value, format_name) if end == len(content) else None
    except (ValueError, RecursionError):
        return None


def _proved(text: str, value: JSON, format_name: str) -> str | None:
    check_format(value, format_name)
    check_values("content", text, MAX_VALUES)
    data = text.encode()
    if len(data) > MAX_CONTENT_BYTES or not _is_canonical(text, value):
        return None
    return hashlib.sha256(data).hexdigest()


def _is_canonical(text: str, value: JSON) -> bool:
    """Whether the text is what the value is written as; so it has no key twice, no NaN and no spaces."""
    if _is_plain(text, value):
        return True
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check("content", value, MAX_DEPTH)
    return _encode(value) == text


def _is_plain(text: str, value: JSON) -> bool:
    """Whether it is a string without escapes, which has one form only; the decoder lets no control character pass."""
    return isinstance(value, str) and len(value) + 2 == len(text)


def _is_canonical_metadata(text: str) -> bool:
    value, end = _decode(text)
    return end == len(text) and len(text.encode()) <= MAX_METADATA_BYTES and _is_canonical(text, value)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
