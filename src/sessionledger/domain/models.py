"""Sessions, messages and token usage: frozen values that refuse to be wrong.

Every rule on a value is stated once, here; the database and both services rely on it. Times are aware and in UTC;
counts are integers from 0 to 2⁶³-1; `cost` is an exact `Decimal`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, TypeVar, cast

from sessionledger.domain.content import ANY_JSON, JSON, OPENAI_CHAT, PARTS, TEXT, is_text
from sessionledger.domain.errors import InvalidInputError
from sessionledger.domain.ids import checked_id
from sessionledger.domain.values import Value

MAX_COUNT = 2**63 - 1
MAX_NAME = 255
MAX_TITLE = 1000
MAX_WORD = 64
COST_PLACES = 10
MAX_COST = Decimal(MAX_COUNT).scaleb(-COST_PLACES)
"""922,337,203.6854775807: a cost is kept as a whole number of 10⁻¹⁰ units, so that sums are exact on every database."""

FIRST_TIME = datetime(1, 1, 2, tzinfo=UTC)
LAST_TIME = datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC)
"""A day within what Python has: PostgreSQL's driver reads times in the session's zone, and fails beyond it."""

EXACT = Context(prec=40)
"""For costs: the application's own decimal context may round to fewer digits than they have."""
_PLACES = Decimal(1).scaleb(-COST_PLACES)

COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_USUAL_WORDS = ROLES | {TEXT, PARTS, ANY_JSON, OPENAI_CHAT}
_WORD = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
_SHA256 = "[0-9a-f]{64}"

V = TypeVar("V")


def unchecked(kind: type[V]) -> Callable[..., V]:
    """A constructor of a frozen value with slots that checks nothing, for what was checked when it was stored.

    It takes every field, in order. A frozen dataclass sets each field through `object.__setattr__`, and then checks:
    1.9 µs for ten fields before any check, where this takes 0.3 µs (measured), and a page is fifty of them.
    """
    names = [each.name for each in fields(cast("Any", kind))]
    twin = type(kind.__name__, kind.__bases__, {"__slots__": names})
    lines = [
        f"def made({', '.join(names)}):",
        " value = new(twin)",
        *(f" value.{name} = {name}" for name in names),
        " value.__class__ = kind",  # Python allows it between classes with the same slots
        " return value",
    ]
    # As `@dataclass` makes a constructor; by `@dataclass` it took 0.9 ms of every start, and takes 0.2 (measured).
    scope: dict[str, Any] = {"new": object.__new__, "twin": twin, "kind": kind}
    exec("\n".join(lines), scope)  # noqa: S102 - the names of our own fields
    return cast("Callable[..., V]", scope["made"])


def now() -> datetime:
    """The time, aware and in UTC, as sessions and messages carry it."""
    return datetime.now(UTC)


def checked_name(field: str, value: object, limit: int = MAX_NAME) -> str:
    """Return `value` if it is a name: 1 to `limit` characters, none of which a database refuses.

    Raises:
        InvalidInputError: It is no string, empty, too long, or holds NUL or a lone surrogate.
    """
    if not isinstance(value, str) or not value:
        raise InvalidInputError(field, "must be a non-empty string")
    if len(value) > limit:
        raise InvalidInputError(field, f"must be at most {limit} characters long")
    if "\x00" in value or not is_text(value):
        raise InvalidInputError(field, "must not hold NUL or a lone surrogate")
    return value


def checked_optional_name(field: str, value: object, limit: int = MAX_NAME) -> str | None:
    """As `checked_name`, and `None` is allowed."""
    return None if value is None else checked_name(field, value, limit)


def checked_word(field: str, value: object) -> str:
    """Return `value` if it is a word: 1 to 64 letters, digits, `.`, `_`, `:` and `-`, starting with a letter or digit.

    Raises:
        InvalidInputError: It is not.
    """
    if isinstance(value, str) and value in _USUAL_WORDS:
        return value
    if not isinstance(value, str) or len(value) > MAX_WORD or not re.fullmatch(_WORD, value):
        raise InvalidInputError(field, f"must be a word of 1 to {MAX_WORD} letters, digits, '.', '_', ':' and '-'")
    return value


def checked_role(role: object, format: str) -> str:  # noqa: A002 - the design's word
    """Return `role` if it is one of the five, or a word of the format's framework.

    Raises:
        InvalidInputError: It is no word, or not one of the five in a format of our own.
    """
    word = checked_word("role", role)
    if word not in ROLES and format in {TEXT, PARTS, ANY_JSON}:
        raise InvalidInputError(
            "role", f"must be one of {', '.join(sorted(ROLES))}, or a word of the format's framework"
        )
    return word


def checked_sha256(field: str, value: object) -> str:
    """Return `value` if it is a SHA-256 as 64 lower-case hexadecimal digits.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, str) or not re.fullmatch(_SHA256, value):
        raise InvalidInputError(field, "must be 64 hexadecimal digits")
    return value


def checked_count(field: str, value: object, minimum: int = 0) -> int:
    """Return `value` if it is an integer from `minimum` to 2⁶³-1.

    Raises:
        InvalidInputError: It is not, or it is a bool.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInputError(field, "must be an integer")
    if not minimum <= value <= MAX_COUNT:
        raise InvalidInputError(field, f"must be from {minimum} to {MAX_COUNT}")
    return value


def checked_flag(field: str, value: object) -> bool:
    """Return `value` if it is `True` or `False`.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(field, "must be True or False")
    return value


def checked_cost(field: str, value: object) -> Decimal | None:
    """Return a cost as a `Decimal`; an int or a numeral in a string is taken exactly, a float is refused.

    Raises:
        InvalidInputError: It is no number, negative, above `MAX_COST`, or has more than 10 decimal places.
    """
    if value is None:
        return None
    if not isinstance(value, (Decimal, int, str)) or isinstance(value, bool):
        raise InvalidInputError(field, "must be a Decimal, an integer or a numeral in a string, because floats round")
    try:
        cost = Decimal(value)
    except InvalidOperation:
        raise InvalidInputError(field, "must be a number") from None
    if not cost.is_finite() or not 0 <= cost <= MAX_COST:
        raise InvalidInputError(field, f"must be from 0 to {MAX_COST}")
    rounded = cost.quantize(_PLACES, context=EXACT)
    if rounded != cost:
        raise InvalidInputError(field, f"must have at most {COST_PLACES} decimal places")
    return rounded.normalize(EXACT) if EXACT.remainder(rounded, 1) else rounded.quantize(Decimal(1), context=EXACT)


def checked_time(field: str, value: object) -> datetime:
    """Return an aware time in UTC.

    Raises:
        InvalidInputError: It is no datetime, has no time zone, or is before `FIRST_TIME` or after `LAST_TIME`.
    """
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidInputError(field, "must be a datetime with a time zone")
    with suppress(OverflowError):
        at = value if value.tzinfo is UTC else value.astimezone(UTC)  # as every time that we made or read is
        if FIRST_TIME <= at <= LAST_TIME:
            return at
    raise InvalidInputError(field, "must be a time from 0001-01-02 to 9999-12-30 in UTC")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TokenUsage(Value):
    """Tokens and what they cost: of one call to a model, or the totals of a session.

    Attributes:
        input_tokens: All tokens sent to the model.
        output_tokens: All tokens the model wrote.
        cached_input_tokens: The part of `input_tokens` read from the provider's cache; `None` if not reported.
        cache_write_tokens: Tokens written to the provider's cache; `None` if not reported.
        reasoning_tokens: The part of `output_tokens` spent on reasoning; `None` if not reported.
        cost: In the caller's currency, at most 10 decimal places; `None` if not reported.

    Raises:
        InvalidInputError: A count is no integer from 0 to 2⁶³-1, or the cost is no exact number from 0.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None

    def __post_init__(self) -> None:
        checked_count("input_tokens", self.input_tokens)
        checked_count("output_tokens", self.output_tokens)
        for name in COUNTS[2:]:
            if (value := getattr(self, name)) is not None:
                checked_count(name, value)
        object.__setattr__(self, "cost", checked_cost("cost", self.cost))

    @classmethod
    def of(cls, value: TokenUsage | Mapping[str, object]) -> TokenUsage:
        """Read a usage that may be a mapping with the same names.

        Raises:
            InvalidInputError: It is neither, or the mapping has other keys.
        """
        if isinstance(value, cls):
            return value
        names = [each.name for each in fields(cls)]
        if not isinstance(value, Mapping) or not set(value) <= set(names):
            raise InvalidInputError("usage", f"must be a TokenUsage or a mapping with keys of {', '.join(names)}")
        return cls(**value)  # type: ignore[arg-type]  # the values are checked by the constructor


def _size(value: object) -> str:
    """What a `repr` tells of content: its size, because an application's log is no place for a conversation."""
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, (list, Mapping)):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__name__}>"


def add_usage(first: TokenUsage, second: TokenUsage) -> TokenUsage:
    """The sum, as a session's totals are: a count that was not reported adds nothing, a cost is `None` until one is.

    Raises:
        InvalidInputError: A sum is beyond 2⁶³-1, or the cost beyond `MAX_COST`.
    """
    costs = [usage.cost for usage in (first, second) if usage.cost is not None]
    counts = {name: (getattr(first, name) or 0) + (getattr(second, name) or 0) for name in COUNTS}
    return TokenUsage(**counts, cost=functools.reduce(EXACT.add, costs) if costs else None)


NO_USAGE = TokenUsage(0, 0, 0, 0, 0)
"""The totals of a session that has used nothing."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UsageRecord(Value):
    """A record of the append-only ledger of token usage.

    Attributes:
        usage_id: A ULID, unique in its session; that of a message's usage is the message's id.
        usage: What was used.
        recorded_at: When, by the sender's clock.
        message_id: The message that the model wrote.
        actor_name: Who the session was with or for.
        model: The model that was called.
        imported: Whether it came with an archive, as history: it adds nothing to what this ledger spent.
    """

    usage_id: str
    usage: TokenUsage
    recorded_at: datetime
    message_id: str | None = None
    actor_name: str | None = None
    model: str | None = None
    imported: bool = False

    def __post_init__(self) -> None:
        checked_id("usage_id", self.usage_id)
        if self.message_id is not None:
            checked_id("message_id", self.message_id)
        checked_optional_name("actor_name", self.actor_name)
        checked_optional_name("model", self.model)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UsageSum(Value):
    """Token usage of an actor and a model, added up.

    Attributes:
        actor_name: Whose sessions; `None` where a session has no actor.
        model: The model that was called; `None` where none was given.
        imported: Whether it came with archives: history of another ledger, not spent here.
        usage: The sum; a count that was never reported is 0, a cost `None`.
        records: How many records it is the sum of.
        sessions: Of how many sessions.
    """

    actor_name: str | None
    model: str | None
    imported: bool
    usage: TokenUsage
    records: int
    sessions: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SessionSource(Value):
    """Where an imported session came from.

    Attributes:
        session_id: Its id in the archive.
        sha256: The archive's digest, 64 hexadecimal digits.
    """

    session_id: str
    sha256: str

    def __post_init__(self) -> None:
        checked_id("session_id", self.session_id)
        checked_sha256("sha256", self.sha256)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Session(Value):
    """One conversation. Its `repr` tells its id, last sequence and version, and nothing that a person wrote.

    Attributes:
        session_id: A ULID.
        namespace: The tenant it belongs to.
        key: The caller's own name for it; the id is derived from it. `None` if it was made without one.
        title: For people, at most 1,000 characters.
        actor_name: Who the conversation is with or for, e.g. an agent's name.
        metadata: The caller's own JSON object, at most 64 KiB.
        workspace: The name of the workspace it belongs to.
        last_sequence: The sequence of its last message, and so their number; 0 when it is empty.
        usage: The sum of all recorded token usage.
        version: 1 when made, one more with each `update`; appending leaves it.
        created_at: When it was made.
        updated_at: When it was last appended to or updated.
        archived_at: When it was archived; `None` while it is active.
        source: Where it was imported from; `None` if it was made here.
    """

    session_id: str
    namespace: str
    created_at: datetime
    updated_at: datetime
    key: str | None = None
    title: str | None = None
    actor_name: str | None = None
    metadata: dict[str, JSON] = field(default_factory=dict)
    workspace: str | None = None
    last_sequence: int = 0
    usage: TokenUsage = TokenUsage()
    version: int = 1
    archived_at: datetime | None = None
    source: SessionSource | None = None

    def __post_init__(self) -> None:
        checked_id("session_id", self.session_id)
        checked_name("namespace", self.namespace)
        checked_optional_name("key", self.key)
        checked_optional_name("title", self.title, MAX_TITLE)
        checked_optional_name("actor_name", self.actor_name)
        checked_optional_name("workspace", self.workspace, MAX_TITLE)
        checked_count("last_sequence", self.last_sequence)
        checked_count("version", self.version, minimum=1)
        if not isinstance(self.metadata, dict):
            raise InvalidInputError("metadata", "must be a JSON object (a dict with string keys)")
        object.__setattr__(self, "created_at", checked_time("created_at", self.created_at))
        object.__setattr__(self, "updated_at", checked_time("updated_at", self.updated_at))
        if self.archived_at is not None:
            object.__setattr__(self, "archived_at", checked_time("archived_at", self.archived_at))

    def __repr__(self) -> str:
        return f"Session(session_id={self.session_id!r}, last_sequence={self.last_sequence}, version={self.version})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SessionMessage(Value):
    """One stored entry of a session. Its `repr` tells ids and the size of the content, never the content.

    Attributes:
        message_id: A ULID, unique in its session.
        session_id: The session it belongs to.
        sequence: Its place in the session: 1, 2, 3 … without gaps, given by the database.
        role: `system`, `developer`, `user`, `assistant`, `tool`, or a framework's own word.
        content: Its JSON value, equal to what was appended.
        format: How `content` is to be read: `text`, `parts`, `json`, `openai.chat`, or a framework's own format.
        content_sha256: The SHA-256 of the canonical content, 64 hexadecimal digits.
        created_at: When it was sent, by the sender's clock. For people: the order is `sequence`.
        tool_call_id: Of a tool's answer: the call it answers.
        metadata: The caller's own JSON object, at most 64 KiB.
    """

    message_id: str
    session_id: str
    sequence: int
    role: str
    content: JSON
    format: str
    content_sha256: str
    created_at: datetime
    tool_call_id: str | None = None
    metadata: dict[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_id("message_id", self.message_id)
        checked_id("session_id", self.session_id)
        checked_count("sequence", self.sequence, minimum=1)
        checked_word("role", self.role)
        checked_word("format", self.format)
        checked_optional_name("tool_call_id", self.tool_call_id)
        object.__setattr__(self, "created_at", checked_time("created_at", self.created_at))

    def __repr__(self) -> str:
        return (
            f"SessionMessage(message_id={self.message_id!r}, session_id={self.session_id!r}, "
            f"sequence={self.sequence}, role={self.role!r}, format={self.format!r}, content={_size(self.content)})"
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class NewMessage(Value):
    """A message to append; what is left out is filled in by the service. Its `repr` tells sizes only.

    Attributes:
        role: One of the five roles, or a framework's own word where `format` is the framework's.
        content: Any JSON value of at most 7 MiB.
        format: `None` means `text` for a string, `parts` for a list of objects with a `type`, else `json`.
        tool_call_id: Of a tool's answer: the call it answers.
        metadata: The caller's own JSON object, at most 64 KiB.
        usage: What the call to the model that wrote this message used.
        model: The model that wrote it; kept with the usage.
        message_id: A ULID, the idempotency key. `None` means a new one.
    """

    role: str
    content: JSON
    format: str | None = None
    tool_call_id: str | None = None
    metadata: Mapping[str, JSON] | None = None
    usage: TokenUsage | Mapping[str, object] | None = None
    model: str | None = None
    message_id: str | None = None

    def __repr__(self) -> str:  # nothing has been checked yet: any part might hold the content by mistake
        return f"NewMessage(content={_size(self.content)}, metadata={_size(self.metadata)})"

    @classmethod
    def of(cls, value: NewMessage | Mapping[str, object]) -> NewMessage:
        """Read a message that may be a mapping with the same names.

        Raises:
            InvalidInputError: It is neither, has other keys, or lacks `role` or `content`.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or not {"role", "content"} <= value.keys() <= _MESSAGE_KEYS.keys():
            names = ", ".join(each.name for each in fields(cls))
            raise InvalidInputError(
                "messages", f"must be NewMessage objects or mappings with role, content and keys of {names}"
            )
        return _new_message(*map(value.get, _MESSAGE_KEYS))  # the values are checked when the message is drafted


_MESSAGE_KEYS = {each.name: None for each in fields(NewMessage)}
_new_message = unchecked(NewMessage)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SessionPage(Value):
    """One page of a listing; iterate over it for its sessions.

    Attributes:
        sessions: The sessions, in the order asked for.
        next_cursor: Where the next page starts; `None` on the last page.
    """

    sessions: tuple[Session, ...]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Session]:
        return iter(self.sessions)

    def __len__(self) -> int:
        return len(self.sessions)
