"""Verify a whole ledger: every namespace and every row, on one snapshot. It reports, and changes nothing.

Sessions, messages and records of token usage come as three streams in the order of the sessions' ids, and are merged
into one. What is kept is what one session needs, so a session of a million messages or a million sessions take no more
memory than a few.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import repeat
from typing import Any

from ulid import ULID

from sessionledger.domain.content import JSON, MAX_CONTENT_BYTES, MAX_METADATA_BYTES, canonical, check_format
from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.domain.ids import checked_id, session_id_for
from sessionledger.domain.models import (
    COST_PLACES,
    COUNTS,
    EXACT,
    MAX_TITLE,
    Session,
    SessionMessage,
    SessionSource,
    TokenUsage,
    UsageRecord,
    checked_count,
    checked_name,
    checked_word,
)
from sessionledger.domain.verification import Finding, Rule, VerificationReport
from sessionledger.infrastructure.database.drift import drift
from sessionledger.infrastructure.database.engine import Database
from sessionledger.infrastructure.database.repositories import WORKSPACE
from sessionledger.infrastructure.database.repositories.verification import VerificationRepository
from sessionledger.infrastructure.database.unit_of_work import UnitOfWork

MAX_FINDINGS = 1000
STEP = 500

Row = Any
"""A stored row, by the names of its columns; nothing about its values is sure."""

Follow = Callable[[int, int], None]
"""Is told, now and then, how many rows have been checked, and of how many."""

_ID_LENGTH = 26
_MINTED_SECONDS = 1.0
_DECODER = json.JSONDecoder()
_TOTALS = (*COUNTS, "cost")


def verify(database: Database, *, max_findings: int = MAX_FINDINGS, follow: Follow | None = None) -> VerificationReport:
    """See `sessionledger.verify`; for a `Database` that the application has."""
    checked_count("max_findings", max_findings)
    attempts: list[_Verification] = []

    def work(unit: UnitOfWork) -> None:
        attempts.append(_Verification(max_findings, follow))
        attempts[-1].run(unit)

    try:
        database.read(work)
    except StorageError as error:
        if not attempts or error.code not in database.dialect.checks.damaged:
            raise
        attempts[-1].break_off(error)
    return attempts[-1].report()


@dataclass(slots=True)
class _Seen:
    """What was seen of one session so far.

    Attributes:
        session_id: Its id.
        session: Its row; `None` where there is none.
        readable: The row as a session; `None` where it breaks a rule.
        highest: The highest sequence of its messages.
        sums: The sums of its records of token usage; `None` for a cost that no record has.
    """

    session_id: Any
    session: Row | None = None
    readable: Session | None = None
    highest: int = 0
    sums: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0) | {"cost": None})


class _Verification:
    """One verification, from its first row to its report."""

    def __init__(self, max_findings: int, follow: Follow | None) -> None:
        self._max_findings = max_findings
        self._follow = follow
        self._counts: Counter[str] = Counter()
        self._found: Counter[Rule] = Counter()
        self._findings: list[Finding] = []
        self._complete = True
        self._done = self._total = 0
        self._seen = _Seen(None)

    def run(self, unit: UnitOfWork) -> None:
        """Check everything there is."""
        ledger = VerificationRepository(unit.connection)
        differences = drift(unit.connection)
        for difference in differences:
            self._find("schema", difference.problem)
        for damage in ledger.damage():
            self._find("integrity", damage)
        if any(difference.unreadable for difference in differences):
            self._complete = False
            return
        with ledger.as_stored():
            self._total = ledger.count()
            for resource in self._followed(ledger.resources()):
                self._check_resource(resource)
            streams = (
                zip(repeat(self._take_session), ledger.sessions()),
                zip(repeat(self._take_message), ledger.messages()),
                zip(repeat(self._take_usage), ledger.usage_records()),
            )
            for take, row in self._followed(heapq.merge(*streams, key=lambda each: _place(each[1].session_id))):
                if row.session_id != self._seen.session_id:
                    self._finish_session()
                    self._seen = _Seen(row.session_id)
                take(row)
            self._finish_session()

    def break_off(self, error: StorageError) -> None:
        """The database could not read what is stored."""
        self._find("integrity", str(error))
        self._complete = False

    def report(self) -> VerificationReport:
        """What was found."""
        return VerificationReport(
            sessions=self._counts["sessions"],
            messages=self._counts["messages"],
            usage_records=self._counts["usage_records"],
            resources=self._counts["resources"],
            not_hashed=self._counts["not_hashed"],
            of_deleted_sessions=self._counts["of_deleted_sessions"],
            complete=self._complete,
            found=dict(self._found),
            findings=tuple(self._findings),
        )

    def _find(self, rule: Rule, problem: str, row: Row | None = None, *ids: str) -> None:
        self._found[rule] += 1
        if len(self._findings) < self._max_findings:
            self._findings.append(Finding(rule, problem, **{name: _shown(getattr(row, name)) for name in ids}))

    def _followed(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            yield row
            self._done += 1
            if self._follow is not None and (self._done % STEP == 0 or self._done == self._total):
                self._follow(self._done, self._total)

    # A row at a time

    def _check_resource(self, row: Row) -> None:
        self._counts["resources"] += 1
        try:
            checked_id("resource_id", row.resource_id)
            checked_name("namespace", row.namespace)
            checked_word("kind", row.kind)
            checked_name("name", row.name, MAX_TITLE)
            _time("created_at", row.created_at)
            _time("updated_at", row.updated_at)
            _value("aliases", row.aliases, MAX_METADATA_BYTES, list)
        except _NotCanonical as found:
            self._find("canonical", str(found), row, "resource_id")
        except InvalidInputError as error:
            self._find("value", str(error), row, "resource_id")

    def _take_session(self, row: Row) -> None:
        self._counts["sessions"] += 1
        self._seen.session = row
        try:
            self._seen.readable = _session(row)
        except _NotCanonical as found:
            self._find("canonical", str(found), row, "session_id")
        except InvalidInputError as error:
            self._find("value", str(error), row, "session_id")
        else:
            if row.key is not None and session_id_for(row.namespace, row.key) != row.session_id:
                self._find("key", "its key gives another id in its namespace", row, "session_id")
        workspace = (row.workspace_namespace, row.workspace_kind)
        if row.workspace is not None and workspace != (row.namespace, WORKSPACE):
            self._find("workspace", "its workspace is not there, or is another namespace's", row, "session_id")

    def _take_message(self, row: Row) -> None:
        self._counts["messages"] += 1
        ids = ("session_id", "message_id", "sequence")
        if self._seen.session is None:
            self._find("orphan_message", "there is no such session", row, *ids)
        if row.content_sha256 is None:
            self._counts["not_hashed"] += 1
        elif row.content_sha256 != _sha256(row.content):
            self._find("content_hash", "the stored content has another SHA-256", row, *ids)
        try:
            _check_message(row)
        except _NotCanonical as found:
            self._find("canonical", str(found), row, *ids)
        except InvalidInputError as error:
            self._find("value", str(error), row, *ids)
        if self._seen.session is not None and isinstance(row.sequence, int):
            self._take_sequence(row, row.sequence)

    def _take_sequence(self, row: Row, sequence: int) -> None:
        """Sequences come ascending."""
        highest = self._seen.highest
        if sequence == highest:
            self._find("sequence", f"the sequence {sequence} is there twice", row, "session_id", "message_id")
        elif sequence > highest + 1:
            missing = (
                f"the sequence {sequence - 1} is" if sequence == highest + 2 else f"{highest + 1} to {sequence - 1} are"
            )
            self._find("sequence", f"{missing} missing", row, "session_id")
        self._seen.highest = max(highest, sequence)

    def _take_usage(self, row: Row) -> None:
        self._counts["usage_records"] += 1
        record = None
        try:
            record = _usage_record(row)
        except _NotCanonical as found:
            self._find("canonical", str(found), row, "session_id", "usage_id")
        except InvalidInputError as error:
            self._find("value", str(error), row, "session_id", "usage_id")
        session = self._seen.session
        if session is None or row.namespace != session.namespace:
            self._counts["of_deleted_sessions"] += 1
            return
        for name in _TOTALS:
            if isinstance(count := getattr(row, name), int):
                self._seen.sums[name] = (self._seen.sums[name] or 0) + count
        if record is None or record.message_id is None or row.known_message_id is not None:
            return
        if _belongs(record, self._seen.readable):
            problem = "it names a message that its session never had"
            self._find("orphan_usage", problem, row, "session_id", "usage_id", "message_id")
        else:
            self._counts["of_deleted_sessions"] += 1

    def _finish_session(self) -> None:
        """All rows of the session were there."""
        session, highest, sums = self._seen.session, self._seen.highest, self._seen.sums
        if session is None:
            return
        if session.last_sequence != highest:
            problem = f"last_sequence is {_number(session.last_sequence)}, the highest sequence is {highest}"
            self._find("last_sequence", problem, session, "session_id")
        different = [
            f"{name} is {_number(getattr(session, name))}, its records sum to {_number(sums[name])}"
            for name in _TOTALS
            if getattr(session, name) != sums[name]
        ]
        if different:
            self._find("totals", "; ".join(different), session, "session_id")


class _NotCanonical(Exception):  # noqa: N818 - it becomes a finding, never an error for callers
    """Stored JSON that is none, or is written in another way than ours."""


def _session(row: Row) -> Session:
    source = (row.source_session_id, row.source_sha256)
    _unknown_fields(row)
    return Session(
        session_id=row.session_id,
        namespace=row.namespace,
        created_at=_time("created_at", row.created_at),
        updated_at=_time("updated_at", row.updated_at),
        key=row.key,
        title=row.title,
        actor_name=row.actor_name,
        metadata=_value("metadata", row.metadata, MAX_METADATA_BYTES, dict),
        workspace=row.workspace_name,
        last_sequence=row.last_sequence,
        usage=_usage(row),
        version=row.version,
        archived_at=None if row.archived_at is None else _time("archived_at", row.archived_at),
        source=None if source == (None, None) else SessionSource(*source),
    )


def _check_message(row: Row) -> None:
    SessionMessage(
        message_id=row.message_id,
        session_id=row.session_id,
        sequence=row.sequence,
        role=row.role,
        content=None,
        format=row.format,
        content_sha256="",
        created_at=_time("created_at", row.created_at),
        tool_call_id=row.tool_call_id,
    )
    _value("metadata", row.metadata, MAX_METADATA_BYTES, dict)
    _unknown_fields(row)
    check_format(_value("content", row.content, MAX_CONTENT_BYTES), row.format)


def _usage_record(row: Row) -> UsageRecord:
    checked_id("session_id", row.session_id)
    checked_name("namespace", row.namespace)
    _unknown_fields(row)
    return UsageRecord(
        usage_id=row.usage_id,
        usage=_usage(row),
        recorded_at=_time("recorded_at", row.recorded_at),
        message_id=row.message_id,
        actor_name=row.actor_name,
        model=row.model,
    )


def _usage(row: Row) -> TokenUsage:
    """Counts; those that are always reported are 0 where a record of an older release has none."""
    counts = {name: getattr(row, name) for name in COUNTS}
    counts |= {name: 0 for name in COUNTS[:2] if counts[name] is None}
    cost = None if row.cost is None else Decimal(checked_count("cost", row.cost)).scaleb(-COST_PLACES, EXACT)
    return TokenUsage(**counts, cost=cost)


def _unknown_fields(row: Row) -> None:
    if row.unknown_fields is not None:
        _value("unknown_fields", row.unknown_fields, MAX_METADATA_BYTES, dict)


def _value(name: str, text: object, max_bytes: int, kind: type = object) -> JSON:
    """Read stored JSON and hold it to the canonical form."""
    if text == "{}" and kind is not list:
        return {}
    if not isinstance(text, str):
        raise _NotCanonical(f"{name} is no text")
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _NotCanonical(f"{name} is no JSON") from None
    if not isinstance(value, kind):
        raise InvalidInputError(name, f"must be a JSON {'array' if kind is list else 'object'}")
    if canonical(name, value, max_bytes=max_bytes).text != text:
        raise _NotCanonical(f"{name} is not in the canonical form")
    return value


def _time(name: str, text: object) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)  # type: ignore[arg-type]  # what is no text is refused
    except (TypeError, ValueError):
        raise InvalidInputError(name, "must be a time") from None


def _sha256(text: object) -> str | None:
    """The SHA-256 of the very bytes that are stored; `None` for what is no text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest() if isinstance(text, str) else None


def _belongs(record: UsageRecord, session: Session | None) -> bool:
    """Whether a record cannot be one of a deleted session with the same id, which may have had the message.

    An id that was minted when its session was made cannot have been used before. An id can be used again where it comes
    from a key or an archive; it then tells another time than the session's, or the record is older than the session.
    """
    if session is None or record.recorded_at <= session.created_at:
        return False
    return abs(ULID.from_str(session.session_id).timestamp - session.created_at.timestamp()) <= _MINTED_SECONDS


def _place(session_id: object) -> tuple[bool, bytes]:
    """A session's id as the databases order it: by its bytes, what is no text behind."""
    if isinstance(session_id, bytes):
        return True, session_id
    return False, str(session_id).encode(errors="surrogateescape")


def _shown(value: object) -> Any:
    """An id or a sequence for a finding: no longer than an id is, should something else stand there."""
    return value if value is None or isinstance(value, int) else str(value)[:_ID_LENGTH]


def _number(value: object) -> str:
    """A count for a finding, and nothing that somebody wrote in its place."""
    return "nothing" if value is None else str(value) if isinstance(value, int) else "no integer"
