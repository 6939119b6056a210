"""What differs between databases, on one page: opening, isolation, error codes, the lock of an upgrade.

A difference is a capability of a `Dialect`; nothing else in sessionledger asks for a database's name. Errors are told
apart by code (SQLSTATE, or SQLite's error name), never by message text.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from sessionledger.domain.errors import (
    UPGRADE_COMMAND,
    CommitOutcomeUnknownError,
    InvalidInputError,
    SessionLedgerError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from sessionledger.domain.models import MAX_COUNT


@dataclass(frozen=True, eq=False)
class Dialect:
    """One kind of database.

    Attributes:
        insert: The INSERT construct with ON CONFLICT.
        embedded: A file of the process's own, made and upgraded on first use.
        drivers: The names its drivers have in a URL, first the one for callers that block, then, for callers that
            await, its last; psycopg is both.
        begin_reading: The statement that begins a snapshot, where the driver does not begin one by itself.
        begin_writing: The statement that begins a transaction and takes its lock up front.
        reading: Execution options of a snapshot.
        writing: Execution options of a writing transaction on an application's engine, which may autocommit.
        busy: Codes of a database that another transaction keeps busy: nothing was committed, try again.
        lost: Codes of a connection that is lost: around COMMIT the outcome is unknown, otherwise try again.
        full: Codes of a disk or quota without space.
        overflow: Codes of a total beyond 2⁶³-1.
        advice: What to do, by code, where trying again does not help.
        advisory_lock: The statements that try for, and give back, the lock of an upgrade; `None` where an upgrade is
            one transaction that takes the write lock up front.
    """

    insert: Callable[..., Any]
    embedded: bool
    drivers: tuple[str, ...]
    busy: frozenset[str]
    lost: re.Pattern[str]
    full: frozenset[str]
    overflow: frozenset[str]
    advice: Mapping[str, str]
    begin_reading: str | None = None
    begin_writing: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    writing: Mapping[str, Any] = field(default_factory=dict)
    advisory_lock: tuple[str, str] | None = None


POSTGRESQL = Dialect(
    insert=postgresql.insert,
    embedded=False,
    drivers=("postgresql", "postgresql+psycopg", "postgresql+psycopg_async", "postgresql"),
    busy=frozenset({"40001", "40P01", "55P03", "53300"}),
    lost=re.compile("08...|57P0[123]"),
    full=frozenset({"53100"}),
    overflow=frozenset({"22003", "23514"}),
    advice={
        "25006": "The database is read-only; connect to the primary",
        "42501": "The database user lacks a right on the tables; grant it",
    },
    # Not READ ONLY as well: SQLAlchemy gives such a connection back as READ WRITE, and so undoes a server's own
    # default_transaction_read_only. What a reader might write is never committed.
    reading={"isolation_level": "REPEATABLE READ"},
    writing={"isolation_level": "READ COMMITTED"},
    # Sixty-four bits that mean sessionledger; advisory locks are per database already, hashtext adds the schema.
    advisory_lock=(
        "SELECT pg_try_advisory_lock(1936025970, hashtext(current_schema()))",
        "SELECT pg_advisory_unlock(1936025970, hashtext(current_schema()))",
    ),
)

SQLITE = Dialect(
    insert=sqlite.insert,
    embedded=True,
    drivers=("sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"),
    busy=frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}),
    lost=re.compile("(?!)"),
    full=frozenset({"SQLITE_FULL"}),
    overflow=frozenset({"SQLITE_CONSTRAINT_CHECK"}),
    advice={
        "SQLITE_CANTOPEN": "The database file cannot be opened; check its folder and rights",
        "SQLITE_CORRUPT": "The database file is damaged; restore it, or export what can be read",
        "SQLITE_NOTADB": "The file is no SQLite database; give another path, then run: " + UPGRADE_COMMAND,
        "SQLITE_READONLY": "The database is read-only; check the rights of the file and its folder",
        "SQLITE_READONLY_DBMOVED": "The database file was moved or deleted while it was open",
        "SQLITE_READONLY_DIRECTORY": "The database's folder is read-only; check its rights",
    },
    begin_reading="BEGIN",
    # A deferred BEGIN that reads and then writes gets SQLITE_BUSY_SNAPSHOT at once, whatever the timeout.
    begin_writing="BEGIN IMMEDIATE",
)

_DIALECTS = {"postgresql": POSTGRESQL, "sqlite": SQLITE}


def dialect_of(bind: Any) -> Dialect:
    """The dialect of an engine or a connection.

    Raises:
        InvalidInputError: sessionledger does not know this kind of database.
    """
    try:
        return _DIALECTS[bind.dialect.name]
    except KeyError:
        raise InvalidInputError("database", "must be SQLite or PostgreSQL") from None


def checked_url(url: str | URL, *, awaiting: bool = False) -> URL:
    """Read a database URL and choose the driver; `postgres://` is taken for `postgresql://`.

    Args:
        url: The URL.
        awaiting: Whether for callers that await.

    Raises:
        InvalidInputError: It is no URL, names another kind of database or driver, or holds a password in its query,
            where SQLAlchemy would print it.
    """
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if isinstance(url, str) else url)
    except (exc.ArgumentError, ValueError, AttributeError):
        raise InvalidInputError("url", "must be a database URL, such as sqlite:///agent.db") from None
    dialect = _DIALECTS.get(parsed.get_backend_name())
    if dialect is None or parsed.drivername not in dialect.drivers:
        raise InvalidInputError("url", "must start with sqlite: or postgresql: (the driver is psycopg 3)")
    if "password" in parsed.query:
        raise InvalidInputError("url", "must hold a password before the @, not in the query")
    return parsed.set(drivername=dialect.drivers[-1 if awaiting else 0])


def create(make: Callable[..., Any], url: URL, options: Mapping[str, Any]) -> Any:
    """Make an engine (with `create_engine` or `create_async_engine`) whose errors show no values.

    Raises:
        ImportError: The driver is not installed; the text names the extra to install.
    """
    if url.get_backend_name() == "sqlite":
        if sqlite3.sqlite_version_info < (3, 35):
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed (RETURNING)")
        if _file_of(url) is None and url.database in {None, "", ":memory:"}:
            # One connection for all threads, each waiting for its turn: with more, each would have its own database.
            options = {
                "poolclass": QueuePool if make is sqlalchemy.create_engine else AsyncAdaptedQueuePool,
                "pool_size": 1,
                "max_overflow": 0,
                **options,
            }
        # How long SQLite itself waits for another writer, in seconds, before the retry sleeps and tries again.
        options = {
            **options,
            "connect_args": {"timeout": 10, "check_same_thread": False, **options.get("connect_args", {})},
        }
    try:
        return make(url, hide_parameters=True, **options)
    except ModuleNotFoundError as missing:
        extra = "async" if missing.name in {"aiosqlite", "greenlet"} else "postgres"
        raise ImportError(f"{missing.name} is not installed; run: pip install 'sessionledger[{extra}]'") from None


def prepare(engine: Engine) -> None:
    """Set up an engine that we made, so that its connections keep the promises."""
    if engine.dialect.name != "sqlite":
        return
    path = _file_of(engine.url)

    @event.listens_for(engine, "do_connect")
    def refuse_to_create(*_: object) -> None:
        if path is not None and not path.exists():
            error = StorageUnavailableError(f"There is no database file {path}; run: {UPGRADE_COMMAND}")
            error.retryable = False
            raise error

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may lose the last commits at a power cut
        cursor.close()


def create_file(engine: Engine) -> None:
    """Make the empty file of an embedded database, readable by its owner only, if it is missing.

    Raises:
        StorageError: It cannot be made.
    """
    path = _file_of(engine.url) if dialect_of(engine).embedded else None
    if path is not None and not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StorageError(f"The database file {path} cannot be made; check its folder: {error.strerror}") from None


def _file_of(url: URL) -> Path | None:
    name = url.database
    return None if not name or name == ":memory:" or name.startswith("file:") else Path(name)


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
    cause = error.orig
    code: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    if code in dialect.overflow:
        return InvalidInputError("usage", f"takes a total beyond {MAX_COUNT}")
    if code in dialect.full:
        return StorageFullError(code=code)
    if code in dialect.busy:
        return StorageUnavailableError("The database is busy with another transaction; try again", code=code)
    if code is not None and code in dialect.advice:
        return StorageError(dialect.advice[code], code=code)
    # A refused or broken connection comes as an OperationalError without any code: psycopg knows none for a server that
    # is away, nor for one that refuses the login or has no database of this name.
    lost = dialect.lost.fullmatch(code) if code else isinstance(error, exc.OperationalError)
    if lost or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        return CommitOutcomeUnknownError(code=code) if committing else StorageUnavailableError(code=code)
    return StorageError(code=code)
