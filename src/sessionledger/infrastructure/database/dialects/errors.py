"""A driver's error as one of ours, told apart by code (SQLSTATE, or SQLite's error name), never by message text."""

from __future__ import annotations

from sqlalchemy import exc

from sessionledger.domain.errors import (
    CommitOutcomeUnknownError,
    InvalidInputError,
    SessionLedgerError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from sessionledger.domain.models import MAX_COUNT
from sessionledger.infrastructure.database.dialects.dialect import Dialect


def overflow(error: exc.StatementError, dialect: Dialect) -> InvalidInputError | None:
    """Our error where the driver's says that a total would go beyond what a column holds; else `None`."""
    return InvalidInputError("usage", f"takes a total beyond {MAX_COUNT}") if _code(error) in dialect.overflow else None


def refused(error: exc.StatementError, dialect: Dialect) -> bool:
    """Whether the database refused a row or a total, so that a longer way can tell why."""
    return _code(error) in dialect.duplicate | dialect.overflow


def _code(error: exc.StatementError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)


def translated(error: Exception, dialect: Dialect, *, committing: bool) -> SessionLedgerError | None:
    """Our error for a driver's, by its code; `None` for an exception that is not the database's.

    Args:
        error: What was raised.
        dialect: The kind of database.
        committing: Whether COMMIT had been sent.
    """
    if isinstance(error, exc.TimeoutError):
        failure: StorageError = StorageUnavailableError("No connection of the pool came free in time")
        failure.retryable = False
        return failure
    if not isinstance(error, exc.StatementError):
        return None
    code = _code(error)
    if (refusal := overflow(error, dialect)) is not None:
        return refusal
    if code in dialect.full:
        return StorageFullError(code=code)
    if code in dialect.busy:
        return StorageUnavailableError("The database is busy with another transaction; try again", code=code)
    if code is not None and code in dialect.advice:
        return StorageError(dialect.advice[code], code=code)
    # A refused or broken connection comes as an OperationalError without any code: psycopg knows none for a server that
    # is away, nor for one that refuses the login or has no database of this name.
    # Without a code an embedded database says that a text is no UTF-8, and quotes it.
    lost = dialect.lost.fullmatch(code) if code else isinstance(error, exc.OperationalError) and not dialect.embedded
    if lost or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        return CommitOutcomeUnknownError(code=code) if committing else StorageUnavailableError(code=code)
    return StorageError(code=code)
