"""Every exception of sessionledger. An error is a type with facts as attributes; its text names ids, never content.

::

    SessionLedgerError
    ├── InvalidInputError (also a ValueError)
    ├── SessionNotFoundError (also a LookupError)
    ├── SessionExistsError
    ├── MessageConflictError
    ├── UsageConflictError
    ├── SequenceConflictError
    ├── VersionConflictError
    ├── ArchiveError
    │   ├── ArchiveFormatError
    │   ├── ArchiveVersionError
    │   ├── ArchiveChecksumError
    │   ├── ArchiveLimitError
    │   └── ArchiveSignatureError
    └── StorageError
        ├── StorageUnavailableError
        ├── StorageFullError
        ├── CommitOutcomeUnknownError
        └── SchemaRevisionError
"""

from __future__ import annotations

from typing import Any

UPGRADE_COMMAND = "sessionledger db upgrade"


class SessionLedgerError(Exception):
    """The root: catch it to catch everything sessionledger raises on purpose.

    Attributes:
        retryable: Whether the same call, sent again later with the same ids, may succeed.
    """

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The default rebuilds an exception from its text alone, which our constructors do not take; without this an
        # error could not cross a process boundary (multiprocessing, concurrent.futures).
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[SessionLedgerError], args: tuple[Any, ...], facts: dict[str, Any]) -> SessionLedgerError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class InvalidInputError(SessionLedgerError, ValueError):
    """A value given by the caller breaks a rule of the contract; nothing has reached the database.

    Attributes:
        field: The name of the parameter or of the part of a value that is wrong, e.g. ``metadata``.
        problem: The rule it breaks, in words, without the value itself.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class SessionNotFoundError(SessionLedgerError, LookupError):
    """No such session in this namespace. A session of another namespace answers exactly the same.

    Attributes:
        session_id: The id that was asked for.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(f"There is no session {session_id}.")
        self.session_id = session_id


class SessionExistsError(SessionLedgerError):
    """The session id, or the id that the key gives, is taken.

    Attributes:
        session_id: The id that is taken.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id} exists already.")
        self.session_id = session_id


class MessageConflictError(SessionLedgerError):
    """A message id was sent again with other content, or a batch mixes stored and new messages.

    Attributes:
        session_id: The session.
        message_ids: The ids in conflict, in the order they were sent.
    """

    def __init__(self, session_id: str, message_ids: tuple[str, ...]) -> None:
        named = ", ".join(message_ids[:3]) + (" …" if len(message_ids) > 3 else "")
        super().__init__(f"Session {session_id} holds other content under {len(message_ids)} message id(s): {named}.")
        self.session_id = session_id
        self.message_ids = message_ids


class UsageConflictError(SessionLedgerError):
    """A usage id was sent again with other counts.

    Attributes:
        session_id: The session.
        usage_id: The id in conflict.
    """

    def __init__(self, session_id: str, usage_id: str) -> None:
        super().__init__(f"Session {session_id} has recorded other token usage under {usage_id}.")
        self.session_id = session_id
        self.usage_id = usage_id


class SequenceConflictError(SessionLedgerError):
    """Somebody else appended first: the session's last sequence is not the one the caller expected.

    Attributes:
        session_id: The session.
        expected: The last sequence the caller had seen.
        found: The last sequence there is.
    """

    def __init__(self, session_id: str, expected: int, found: int) -> None:
        super().__init__(f"Session {session_id} ends at sequence {found}, not at {expected}.")
        self.session_id = session_id
        self.expected = expected
        self.found = found


class VersionConflictError(SessionLedgerError):
    """Somebody else updated the session first.

    Attributes:
        session_id: The session.
        expected: The version the caller had seen.
        found: The version there is.
    """

    def __init__(self, session_id: str, expected: int, found: int) -> None:
        super().__init__(f"Session {session_id} is at version {found}, not at {expected}.")
        self.session_id = session_id
        self.expected = expected
        self.found = found


class ArchiveError(SessionLedgerError):
    """An archive cannot be read; nothing of it has been written."""


class ArchiveFormatError(ArchiveError):
    """The bytes are not an archive, or a line of it breaks a rule of the format.

    Attributes:
        rule: The rule that is broken, in words.
        line: The line's number, from 1; ``None`` where the file as a whole is meant.
    """

    def __init__(self, rule: str, line: int | None = None) -> None:
        super().__init__(f"The archive is not valid: {rule}" + (f" (line {line})." if line else "."))
        self.rule = rule
        self.line = line


class ArchiveVersionError(ArchiveError):
    """The archive's format version is newer than, or unknown to, this release.

    Attributes:
        found: The format version in the archive's header.
        supported: The newest format version this release reads.
    """

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"The archive has format version {found}; this release reads up to {supported}. Use a newer sessionledger."
        )
        self.found = found
        self.supported = supported


class ArchiveChecksumError(ArchiveError):
    """The archive was changed or damaged after it was written.

    Attributes:
        expected: The SHA-256 that the last line claims, 64 hexadecimal digits.
        found: The SHA-256 of the bytes before it.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"The archive says its SHA-256 is {expected}, but it is {found}: it was changed or damaged.")
        self.expected = expected
        self.found = found


class ArchiveLimitError(ArchiveError):
    """The archive is larger than the reader allows.

    Attributes:
        limit: What is limited, e.g. ``bytes a line``.
        allowed: How much of it the reader allows.
    """

    def __init__(self, limit: str, allowed: int) -> None:
        super().__init__(f"The archive exceeds the limit of {allowed} {limit}.")
        self.limit = limit
        self.allowed = allowed


class ArchiveSignatureError(ArchiveError):
    """The archive's signature is missing where one is required, not valid, or not by a trusted key.

    Attributes:
        reason: What is wrong, in one word: `missing` (there is none), `malformed` (no signature file, or a damaged
            one), `unknown_form` (a context or an algorithm that this release does not know), `untrusted` (a stranger's
            key), `wrong` (the key that is named did not make it) or `other_archive` (a good one, of another archive).
        problem: The same in words.
        key_id: The key that the signature names; `None` where it is missing or cannot be read.
        expected: For `other_archive`, the SHA-256 that was signed; else `None`.
        found: For `other_archive`, the SHA-256 of this archive; else `None`.
    """

    def __init__(
        self,
        reason: str,
        problem: str,
        key_id: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        super().__init__(f"The archive's signature is not accepted: {problem}.")
        self.reason = reason
        self.problem = problem
        self.key_id = key_id
        self.expected = expected
        self.found = found


class StorageError(SessionLedgerError):
    """The database failed or refused.

    The driver's own error is not chained: its text may quote the row that failed, and so a message (measured on
    PostgreSQL: 5 of 5 errors did). What tells errors apart is kept as facts.

    Attributes:
        code: The database's own code: an SQLSTATE, or an SQLite error name such as ``SQLITE_BUSY``; ``None`` where
            the driver gave none.
        ids: The ids minted for the call that failed; sending the same ids again is always safe.
    """

    text = "The database refused the statement"

    def __init__(self, detail: str | None = None, *, code: str | None = None, ids: tuple[str, ...] = ()) -> None:
        super().__init__(detail or self.text)
        self.code = code
        self.ids = ids

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.code})" if self.code else str(self.args[0])


class StorageUnavailableError(StorageError):
    """The database could not be reached or stayed busy until the deadline; nothing was committed."""

    retryable = True
    text = (
        "The database cannot be reached, or refuses the login or the name; check that it runs and that the URL is right"
    )


class StorageFullError(StorageError):
    """The disk or the quota is full; nothing was committed. Make room and send the same ids again."""

    text = "The database has no space left"


class CommitOutcomeUnknownError(StorageError):
    """The connection was lost around COMMIT: the write may or may not have happened.

    Send the same call with the same ids again: what is stored already is found, never stored twice.
    """

    retryable = True
    text = "The answer to COMMIT was lost, so the write may have happened; send the same ids again"


class SchemaRevisionError(StorageError):
    """The database's tables are missing, older or newer than this release, or not ours.

    Attributes:
        found: The revision found; ``None`` where the database has no tables of ours.
        expected: The revision this release works with.
        upgradable: Whether an upgrade with this release mends it.
    """

    def __init__(self, found: str | None, expected: str, advice: str | None = None) -> None:
        self.upgradable = advice is None
        advice = advice or f"Run: {UPGRADE_COMMAND}"
        state = f"is at schema revision {found}" if found else "has no sessionledger tables"
        super().__init__(f"The database {state}; this release needs {expected}. {advice}")
        self.found = found
        self.expected = expected
