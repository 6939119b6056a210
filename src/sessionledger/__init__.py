"""The durable record of conversations with AI agents: never lost, never doubled, never out of order.

Importing this package imports no database library; `connect` and `connect_async` do. What archives and verification
need is imported when it is asked for: a service that only keeps conversations needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionledger.domain.errors import (
    ArchiveChecksumError,
    ArchiveError,
    ArchiveFormatError,
    ArchiveLimitError,
    ArchiveSignatureError,
    ArchiveVersionError,
    CommitOutcomeUnknownError,
    InvalidInputError,
    MessageConflictError,
    SchemaRevisionError,
    SequenceConflictError,
    SessionExistsError,
    SessionLedgerError,
    SessionNotFoundError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UsageConflictError,
    VersionConflictError,
)
from sessionledger.domain.ids import message_id_for, new_id, session_id_for
from sessionledger.domain.models import (
    NewMessage,
    Session,
    SessionMessage,
    SessionPage,
    SessionSource,
    TokenUsage,
    UsageSum,
)
from sessionledger.domain.service import AsyncSessionService, SessionService

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionledger.application.services import AsyncPersistentSessionService, PersistentSessionService
    from sessionledger.domain.archive import (
        ArchiveLimits,
        ArchiveProgress,
        ArchiveReader,
        ArchiveReceipt,
        ImportReceipt,
        SigningKey,
        TrustedKey,
    )
    from sessionledger.domain.verification import Finding, VerificationReport

__version__ = "0.1.0"

__all__ = [
    "ArchiveChecksumError",
    "ArchiveError",
    "ArchiveFormatError",
    "ArchiveLimitError",
    "ArchiveLimits",
    "ArchiveProgress",
    "ArchiveReader",
    "ArchiveReceipt",
    "ArchiveSignatureError",
    "ArchiveVersionError",
    "AsyncSessionService",
    "CommitOutcomeUnknownError",
    "Finding",
    "ImportReceipt",
    "InvalidInputError",
    "MessageConflictError",
    "NewMessage",
    "SchemaRevisionError",
    "SequenceConflictError",
    "Session",
    "SessionExistsError",
    "SessionLedgerError",
    "SessionMessage",
    "SessionNotFoundError",
    "SessionPage",
    "SessionService",
    "SessionSource",
    "SigningKey",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "TokenUsage",
    "TrustedKey",
    "UsageConflictError",
    "UsageSum",
    "VerificationReport",
    "VersionConflictError",
    "connect",
    "connect_async",
    "message_id_for",
    "new_id",
    "session_id_for",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sessionledger.domain import archive, verification

        return getattr(archive, name, None) or getattr(verification, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def connect(
    url: str, *, namespace: str = "default", group_commit: bool = False, **options: Any
) -> PersistentSessionService:
    """Open a database and return its session service.

    An SQLite file is made and upgraded on first use. A server is never migrated by itself: it is verified, and the
    error prints the command to run.

    Args:
        url: Of the database, e.g. `sqlite:///agent.db` or `postgresql://user@host/name`.
        namespace: The tenant the service is bound to.
        group_commit: Whether appends that come while another one is being committed go together into the next commit:
            for many threads or tasks that share the service.
        options: `retry_seconds`, and what SQLAlchemy's `create_engine` takes.

    Raises:
        InvalidInputError: The URL or the namespace is none, or `group_commit` is neither `True` nor `False`.
        SchemaRevisionError: The server's tables are missing, older, newer or not ours.
        StorageError: The database cannot be reached or opened.
        ImportError: The driver is not installed; the text names the extra to install.
    """
    from sessionledger.application.services import PersistentSessionService

    return PersistentSessionService.connect(url, namespace=namespace, group_commit=group_commit, **options)


async def connect_async(
    url: str, *, namespace: str = "default", group_commit: bool = False, **options: Any
) -> AsyncPersistentSessionService:
    """As `connect`, for callers that await; needs the extra `async`."""
    from sessionledger.application.services import AsyncPersistentSessionService

    return await AsyncPersistentSessionService.connect(url, namespace=namespace, group_commit=group_commit, **options)


def verify(
    url: str, *, max_findings: int = 1000, follow: Callable[[int, int], None] | None = None, **options: Any
) -> VerificationReport:
    """Check a whole ledger, every namespace and every row, on one snapshot; change nothing.

    Content hashes are computed again from the stored text, sequences and totals are counted again, values are held to
    the contract, and the tables to this release's migrations. Writers may go on beside it. Memory is bounded, whatever
    the ledger holds.

    Args:
        url: Of the database, e.g. `sqlite:///agent.db` or `postgresql://user@host/name`.
        max_findings: How many findings the report holds; all of them are counted.
        follow: Is told, now and then, how many rows have been checked, and of how many.
        options: `retry_seconds`, and what SQLAlchemy's `create_engine` takes.

    Raises:
        InvalidInputError: The URL or `max_findings` is none.
        SchemaRevisionError: The tables are missing, older, newer or not ours.
        StorageError: The database cannot be reached or opened.
        ImportError: The driver is not installed; the text names the extra to install.
    """
    from contextlib import closing

    from sessionledger.application.services import verification
    from sessionledger.infrastructure.database import Database

    with closing(Database(url, **options)) as database:
        return verification.verify(database, max_findings=max_findings, follow=follow)
