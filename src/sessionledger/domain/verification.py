"""What a verification of a whole ledger finds: typed rows of ids and rules, never content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal[
    "schema",
    "integrity",
    "value",
    "content_hash",
    "canonical",
    "sequence",
    "last_sequence",
    "totals",
    "orphan_message",
    "orphan_usage",
    "workspace",
    "key",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the ledger's rules want it.

    Attributes:
        rule: The rule that is broken, one fixed word: `schema` (the tables are not those that this release's migrations
            make), `integrity` (the database's own check of itself), `value` (a value that the contract refuses),
            `content_hash` (the SHA-256 of the stored content is another one), `canonical` (stored JSON that is not in
            the canonical form), `sequence` (a gap, or a sequence twice), `last_sequence` (a session's counter is not
            its highest sequence), `totals` (a session's totals are not the sum of its records of token usage),
            `orphan_message` (a message without a session), `orphan_usage` (a record that names a message which its
            session never had), `workspace` (a session's workspace names no workspace of its namespace), `key` (a
            session's key does not give its id).
        problem: What is wrong, in words: names of columns, counts and sequences, never a value that somebody wrote.
        session_id: The session, where one is meant.
        message_id: The message, where one is meant.
        usage_id: The record of token usage, where one is meant.
        resource_id: The resource, where one is meant.
        sequence: The message's sequence.
    """

    rule: Rule
    problem: str
    session_id: str | None = None
    message_id: str | None = None
    usage_id: str | None = None
    resource_id: str | None = None
    sequence: int | None = None

    def __str__(self) -> str:
        ids = [
            f"{name.removesuffix('_id')} {value}"
            for name in ("session_id", "message_id", "usage_id", "resource_id", "sequence")
            if (value := getattr(self, name)) is not None
        ]
        return ", ".join(ids) + (": " if ids else "") + self.problem


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What a verification looked at, and what it found.

    Attributes:
        sessions: How many sessions were checked.
        messages: How many messages.
        usage_records: How many records of token usage.
        resources: How many resources.
        not_hashed: How many of the messages have no hash, because a release that knew none appended them.
        of_deleted_sessions: How many of the records belong to sessions, or to messages, that were deleted: what was
            spent stays true.
        complete: Whether all rows could be read; `False` where tables or columns are missing, or the database broke
            off.
        found: How many findings there are, by rule.
        findings: The findings, at most as many as were asked for.
    """

    sessions: int
    messages: int
    usage_records: int
    resources: int
    not_hashed: int
    of_deleted_sessions: int
    complete: bool = True
    found: Mapping[Rule, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything was checked and nothing was found."""
        return self.complete and not self.found
