"""Reading conversations in the OpenAI chat format from a file: pure, strict, one conversation in memory at a time.

A file is a JSON array of conversations, or conversations one after the other (JSON Lines); plain or gzip, told by its
magic bytes. A conversation is an object with its messages under one key, or the list of messages itself. The whole
message object becomes a message's content in the format `openai.chat`, so nothing of it is lost.

Errors name the conversation and the message by number, never their content.
"""

import codecs
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from sessionledger.domain.content import (
    JSON,
    MAX_METADATA_BYTES,
    OPENAI_CHAT,
    STRICT_DECODER,
    canonical,
    canonical_object,
    check_format,
    parts,
)
from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.models import NewMessage, checked_optional_name, checked_word

MAX_BYTES = 512 * 1024 * 1024
MAX_CONVERSATION = 64 * 1024 * 1024
MAX_RATIO = 200
RATIO_FREE_BYTES = 1024 * 1024

_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of a file.

    Attributes:
        number: Its place in the file, from 1.
        messages: Its messages, without message ids.
        metadata: What else the conversation's object holds, as far as it fits into a session's metadata.
        left_out: The names of what does not fit, the biggest first.
    """

    number: int
    messages: tuple[NewMessage, ...]
    metadata: dict[str, JSON]
    left_out: tuple[str, ...] = ()

    @property
    def title(self) -> str | None:
        """The first line of what the user says first, for a list of sessions."""
        for message in self.messages:
            if message.role != "user":
                continue
            for part in parts(message.content, OPENAI_CHAT):
                if part["type"] == "text" and (text := part["text"].strip()):
                    line = text.splitlines()[0].replace("\x00", "").encode("utf-8", "ignore").decode()
                    return (line if len(line) <= 100 else f"{line[:99]}…") or None
        return None


@dataclass(slots=True)
class ConversationFile:
    """A file of conversations; iterate over it, as often as needed, for its conversations.

    Attributes:
        file: A binary file open for reading that can seek; it is read from its start and left open.
        messages_key: The key under which a conversation's object holds its messages.
        sha256: The SHA-256 of the file's bytes, decompressed; known once it has been read to its end.
    """

    file: BinaryIO
    messages_key: str = "messages"
    sha256: str | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Conversation]:
        """Read the conversations.

        Raises:
            InvalidInputError: The file is no JSON of this form or exceeds a limit; the error names the place.
        """
        self.file.seek(0)
        for number, value in enumerate(_values(self._characters()), start=1):
            yield _conversation(number, value, self.messages_key)

    def _characters(self) -> Iterator[str]:
        digest = hashlib.sha256()
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            for chunk in _bytes(self.file):
                digest.update(chunk)
                yield decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise InvalidInputError("file", "must be UTF-8") from None
        self.sha256 = digest.hexdigest()


def _bytes(file: BinaryIO) -> Iterator[bytes]:
    """The file's bytes, decompressed, within the limits."""
    compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    source = gzip.GzipFile(fileobj=file) if compressed else file
    size = 0
    try:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > MAX_BYTES:
                raise InvalidInputError("file", f"must be at most {MAX_BYTES} bytes, decompressed")
            if compressed and size > RATIO_FREE_BYTES and size > MAX_RATIO * file.tell():
                raise InvalidInputError("file", f"must not grow more than {MAX_RATIO} times when decompressed")
            yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InvalidInputError("file", "is damaged: its gzip data cannot be read to the end") from None


class _Text:
    """The characters of a file as a window that moves on and grows where a value needs it."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._ended = False
        self.window = ""
        self.at = 0

    def grow(self) -> bool:
        """Drop what is read, at least double what is not, and say whether anything came."""
        pieces = [self.window[self.at :]]
        wanted, got = max(len(pieces[0]), 1), 0
        while got < wanted and not self._ended:
            piece = next(self._source, None)
            self._ended = piece is None
            pieces.append(piece or "")
            got += len(pieces[-1])
        self.window, self.at = "".join(pieces), 0
        return got > 0

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self.at < len(self.window) and self.window[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.window):
                return self.window[self.at]
            if not self.grow():
                return ""


def _values(source: Iterator[str]) -> Iterator[JSON]:
    """The elements of one JSON array, or the values that stand one after the other."""
    text = _Text(source)
    first = text.peek()
    if not first:
        raise InvalidInputError("file", "is empty")
    array = first == "["
    text.at += array
    number = 0
    while (following := text.peek()) and not (array and following == "]" and number == 0):
        number += 1
        yield _value(text, number)
        if array:
            following = text.peek()
            if following != ",":
                break
            text.at += 1
    if array:
        if text.peek() != "]":
            raise InvalidInputError("file", f"must be a whole JSON array; it goes wrong after conversation {number}")
        text.at += 1
        if text.peek():
            raise InvalidInputError("file", "must end where its JSON array ends")


def _value(text: _Text, number: int) -> JSON:
    place = f"conversation {number}"
    if text.peek() not in ("{", "["):
        raise InvalidInputError(place, "must be a JSON object or a list of messages")
    while True:
        try:
            value, text.at = STRICT_DECODER.raw_decode(text.window, text.at)
        except json.JSONDecodeError:
            if len(text.window) - text.at > MAX_CONVERSATION:
                raise InvalidInputError(place, f"must be valid JSON of at most {MAX_CONVERSATION} bytes") from None
            if not text.grow():
                raise InvalidInputError(place, "must be valid JSON") from None
        except RecursionError:
            raise InvalidInputError(place, "is nested too deeply") from None
        except InvalidInputError as error:
            raise InvalidInputError(place, error.problem) from None
        else:
            return value


def _conversation(number: int, value: JSON, messages_key: str) -> Conversation:
    place = f"conversation {number}"
    others: dict[str, JSON] = {}
    items = value
    if isinstance(value, dict):
        if messages_key not in value:
            raise InvalidInputError(
                place, f"must hold its messages under the key {messages_key}; give its own key with --messages-key"
            )
        others = {key: each for key, each in value.items() if key != messages_key}
        items = value[messages_key]
    if not isinstance(items, list):
        raise InvalidInputError(place, "must hold its messages as a list")
    messages = tuple(_message(f"{place}, message {at}", item) for at, item in enumerate(items, start=1))
    metadata, left_out = _fitting(place, others)
    return Conversation(number, messages, metadata, left_out)


def _message(place: str, item: JSON) -> NewMessage:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        raise InvalidInputError(place, "must be an object with a role")
    try:
        check_format(item, OPENAI_CHAT)
        canonical("content", item)
        role = checked_word("role", item["role"])
        tool_call_id = checked_optional_name("tool_call_id", item.get("tool_call_id"))
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error.field}", error.problem) from None
    return NewMessage(role=role, content=item, format=OPENAI_CHAT, tool_call_id=tool_call_id)


def _fitting(place: str, others: dict[str, JSON]) -> tuple[dict[str, JSON], tuple[str, ...]]:
    """Keep what fits into a session's metadata; the biggest values are left out first."""
    try:
        sizes = {key: len(canonical(key, {key: each}).text.encode()) for key, each in others.items()}
        left_out: list[str] = []
        for key in sorted(sizes, key=lambda each: sizes[each], reverse=True):
            if sum(sizes.values()) <= MAX_METADATA_BYTES:
                break
            left_out.append(key)
            del sizes[key]
        return dict(canonical_object("metadata", {key: others[key] for key in sizes}).value), tuple(left_out)
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: its metadata", error.problem) from None
