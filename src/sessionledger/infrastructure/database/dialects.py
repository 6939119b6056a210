"""What differs between databases, on one page: opening, isolation, error codes, the lock of an upgrade.

A difference is a capability of a `Dialect`; nothing else in sessionledger asks for a database's name. Errors are told
apart by code (SQLSTATE, or SQLite's error name), never by message text.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, String, event, exc, func, make_url, text, type_coerce
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


@dataclass(frozen=True)
class Beside:
    """What an upgrade needs that runs beside a service, in several transactions.

    Attributes:
        take_lock: The statement that tries for the lock of an upgrade.
        give_lock: The statement that gives it back.
        no_limits: The statement that takes away a role's own limits of idleness and of transactions, and makes the
            database refuse where row-level security would leave rows out.
        lock_timeout: The statement that limits how long a statement waits for a lock; 0 is no limit.
        statement_timeout: The statement that limits how long a statement runs.
        lock_table: The statement that keeps everybody else away from a table until the transaction ends.
        index_options: What makes an index be built, or dropped, beside writers.
        index_is_valid: The query for whether the index `name` of `table` is valid; no row where there is none.
        refuse_invalid: The statement that fails unless it is, for SQL that is written out.
    """

    take_lock: str
    give_lock: str
    no_limits: str
    lock_timeout: str
    statement_timeout: str
    lock_table: str
    index_options: Mapping[str, Any]
    index_is_valid: str
    refuse_invalid: str


@dataclass(frozen=True)
class Checks:
    """What a verification needs, which trusts nothing that is stored.

    Attributes:
        own: The queries by which the database checks itself, with `{tables}` for ours; each row is a text that tells of
            damage.
        damaged: Codes of stored bytes that the database cannot read.
        time_text: A stored time as a text of ISO 8601, whatever was written.
        as_stored: While it is open, every row comes back as it is stored, or the database refuses; text too, where the
            driver would raise.
    """

    own: tuple[str, ...]
    damaged: frozenset[str]
    time_text: Callable[[Any], Any]
    as_stored: Callable[[Connection], AbstractContextManager[None]]


@dataclass(frozen=True)
class Copy:
    """A faster way in for many rows than INSERT.

    Attributes:
        permitted: Whether it may be used on a table in this transaction.
        load: Store rows: takes a connection, a table's name, its columns' names and the rows.
    """

    permitted: Callable[[Connection, str], bool]
    load: Callable[[Connection, str, Sequence[str], Iterable[Sequence[Any]]], None]


@dataclass(frozen=True, eq=False)
class Dialect:
    """One kind of database.

    Attributes:
        system: What OpenTelemetry calls it.
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
        beside: What an upgrade beside a running service needs; `None` where an upgrade is one transaction that takes
            the write lock up front.
        checks: What a verification needs.
        copy: A faster way in for many rows; `None` where there is none.
    """

    system: str
    insert: Callable[..., Any]
    embedded: bool
    drivers: tuple[str, ...]
    busy: frozenset[str]
    lost: re.Pattern[str]
    full: frozenset[str]
    overflow: frozenset[str]
    advice: Mapping[str, str]
    checks: Checks
    begin_reading: str | None = None
    begin_writing: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    writing: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    copy: Copy | None = None


@contextmanager
def _unfiltered(connection: Connection) -> Iterator[None]:
    """Until the transaction ends PostgreSQL refuses where row-level security would leave rows out without a word."""
    connection.exec_driver_sql("SET LOCAL row_security = off")
    yield


def _copy_permitted(connection: Connection, table: str) -> bool:
    """PostgreSQL has no COPY into a table whose policies hold this user."""
    return not connection.execute(text("SELECT row_security_active(:name)"), {"name": table}).scalar_one()


def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY … FROM STDIN: 20,000 messages in 0.2 s, where INSERT of 500 rows at a time took 0.5 s (measured)."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    driver: Any = connection.connection.dbapi_connection
    try:
        if connection.dialect.is_async:
            driver.run_async(lambda awaiting: _copy_awaiting(awaiting, statement, rows))
            return
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        lost = connection.dialect.is_disconnect(error, driver, None)
        if lost:
            connection.invalidate(error)
        raise exc.DBAPIError.instance(
            statement, None, error, connection.dialect.loaded_dbapi.Error, True, lost, connection.dialect
        ) from None
    except BaseException:  # a cancel: what the driver was about to say is not known, so nothing more can be asked of it
        connection.invalidate()
        raise


async def _copy_awaiting(driver: Any, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            await copy.write_row(row)


_INDEXES = "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"

_BESIDE = Beside(
    # Sixty-four bits that mean sessionledger; advisory locks are per database already, hashtext adds the schema.
    # Where search_path names none that is there, CREATE TABLE says so; without a lock there would be 300 s of waiting.
    take_lock="SELECT pg_try_advisory_lock(1936025970, hashtext(coalesce(current_schema(), '')))",
    give_lock="SELECT pg_advisory_unlock(1936025970, hashtext(coalesce(current_schema(), '')))",
    # By their names, because releases differ in which of them there are. An idle_session_timeout would end the
    # connection that holds the lock in the middle of a long upgrade, and the next upgrade would start beside it. With
    # row_security on, an owner who is held to policies saw no rows, and a downgrade dropped them unseen.
    no_limits=(
        "SELECT set_config(name, '0', false) FROM pg_settings"
        " WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout',"
        " 'row_security')"
    ),
    lock_timeout="SET lock_timeout = '{seconds}s'",
    statement_timeout="SET statement_timeout = '{seconds}s'",
    lock_table="LOCK TABLE {table}",
    index_options={"postgresql_concurrently": True},
    index_is_valid=f"SELECT indisvalid {_INDEXES} WHERE indrelid = to_regclass(:table) AND relname = :name",
    refuse_invalid=(
        f"DO $$ BEGIN IF NOT EXISTS (SELECT 1 {_INDEXES} WHERE indrelid = to_regclass('{{table}}')"
        " AND relname = '{name}' AND indisvalid)"
        " THEN RAISE EXCEPTION 'The index {name} is not valid; drop it and build it again'; END IF; END $$"
    ),
)

POSTGRESQL = Dialect(
    system="postgresql",
    insert=postgresql.insert,
    embedded=False,
    drivers=("postgresql", "postgresql+psycopg", "postgresql+psycopg_async", "postgresql"),
    busy=frozenset({"40001", "40P01", "55P03", "53300"}),
    lost=re.compile("08...|57P0[123]"),
    full=frozenset({"53100"}),
    overflow=frozenset({"22003", "23514"}),
    advice={
        "25006": "The database is read-only; connect to the primary",
        "42501": "The database user lacks a right on the tables, or row-level security keeps rows from it; grant it",
        "57014": "The statement ran longer than statement_timeout allows, or an administrator cancelled it",
    },
    # Not READ ONLY as well: SQLAlchemy gives such a connection back as READ WRITE, and so undoes a server's own
    # default_transaction_read_only. What a reader might write is never committed.
    reading={"isolation_level": "REPEATABLE READ"},
    writing={"isolation_level": "READ COMMITTED"},
    beside=_BESIDE,
    copy=Copy(_copy_permitted, _copy),
    checks=Checks(
        own=(
            (
                "SELECT 'the index ' || pg_class.relname || ' of ' || ours.relname || ' is not valid'"
                f" {_INDEXES} JOIN pg_class AS ours ON ours.oid = indrelid WHERE NOT indisvalid"
                " AND pg_table_is_visible(ours.oid) AND ours.relname IN ({tables})"
            ),
        ),
        damaged=frozenset({"XX001", "XX002"}),
        time_text=lambda column: func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        as_stored=_unfiltered,
    ),
)


@contextmanager
def _undecoded(connection: Connection) -> Iterator[None]:
    """SQLite keeps whatever bytes it was given as text; its driver raises where they are not UTF-8."""
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda stored: stored.decode(errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str


SQLITE = Dialect(
    system="sqlite",
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
    checks=Checks(
        own=(
            "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
            # A message without a session is told by its ids, so only other tables are asked for theirs.
            (
                "SELECT count(*) || ' row(s) of ' || \"table\" || ' refer to nothing in ' || parent"
                ' FROM pragma_foreign_key_check WHERE parent IN ({tables}) AND "table" NOT IN ({tables})'
                ' GROUP BY "table", parent'
            ),
        ),
        damaged=frozenset({"SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_SEQUENCE"}),
        time_text=lambda column: type_coerce(column, String),
        as_stored=_undecoded,
    ),
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
        InvalidInputError: It is no URL, names another kind of database or driver, or holds a password where SQLAlchemy
            would print it: in its query, or behind an @ of its own.
    """
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if isinstance(url, str) else url)
    except (exc.ArgumentError, ValueError, AttributeError):
        raise InvalidInputError("url", "must be a database URL, such as sqlite:///agent.db") from None
    dialect = _DIALECTS.get(parsed.get_backend_name())
    if dialect is None or parsed.drivername not in dialect.drivers:
        raise InvalidInputError("url", "must start with sqlite: or postgresql: (the driver is psycopg 3)")
    if dialect.embedded and (parsed.host or parsed.username or parsed.password):
        raise InvalidInputError("url", "must name a file behind three slashes, such as sqlite:///agent.db")
    if not dialect.embedded and "@" in f"{parsed.host}{parsed.database}":
        # What is behind the first @ is taken for the host, and so for no secret: errors and engines would show it.
        raise InvalidInputError("url", "must have one @ only; write one in a password as %40")
    if any("password" in name.lower() for name in parsed.query):
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
    else:
        # Whatever PGCLIENTENCODING says, content is any text; and a server without an encoding would give bytes.
        options = {**options, "connect_args": {"client_encoding": "utf8", **options.get("connect_args", {})}}
    try:
        return make(url, hide_parameters=True, **options)
    except ModuleNotFoundError as missing:
        extra = "async" if missing.name in {"aiosqlite", "greenlet"} else "postgres"
        raise ImportError(f"{missing.name} is not installed; run: pip install 'sessionledger[{extra}]'") from None


def chooses_transactions(options: Mapping[str, Any]) -> bool:
    """Whether an engine's options may make it commit each statement by itself.

    Then a write asks for a transaction, as it does on an application's engine; elsewhere it need not pay for that.
    """
    chosen = options.keys() & {"isolation_level", "execution_options", "creator", "async_creator"}
    return bool(chosen) or "autocommit" in options.get("connect_args", {})


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


def overflow(error: exc.StatementError, dialect: Dialect) -> InvalidInputError | None:
    """Our error where the driver's says that a total would go beyond what a column holds; else `None`."""
    return InvalidInputError("usage", f"takes a total beyond {MAX_COUNT}") if _code(error) in dialect.overflow else None


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
