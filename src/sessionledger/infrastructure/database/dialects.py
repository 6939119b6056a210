"""What differs between databases, on one page: opening, isolation, error codes, the lock of an upgrade.

A difference is a capability of a `Dialect`; nothing else in sessionledger asks for a database's name. Errors are told
apart by code (SQLSTATE, or SQLite's error name), never by message text.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import JSON, URL, Connection, Engine, String, cast, event, exc, func, make_url, text, type_coerce
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
from sessionledger.infrastructure.database import write_lock
from sessionledger.infrastructure.database.copying import COPY, Copy
from sessionledger.infrastructure.database.drivers import HeldConnection


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


@dataclass(frozen=True, eq=False)
class Dialect:
    """One kind of database.

    Attributes:
        system: What OpenTelemetry calls it.
        insert: The INSERT construct with ON CONFLICT.
        embedded: A file of the process's own, made and upgraded on first use.
        drivers: The names its drivers have in a URL, first the one for callers that block, then, for callers that
            await, its last; psycopg is both.
        time_in: A time as the driver takes it for a statement of our own (see `statements.py`).
        time_out: A time, aware and in UTC, from what the driver reads.
        each_text: The texts in a JSON array of them, as a query.
        unnested: Arrays as rows, with these columns and the number of the row; `None` where there are no arrays.
        duplicate: Codes of a key that is stored already.
        commits_alone: Whether an append is one statement here that commits by itself.
        begin_reading: The statement that begins a snapshot, where the driver does not begin one by itself.
        begin_writing: The statement that begins a transaction and takes its lock up front.
        take_write_lock: Runs it, and waits for other writers until it is told that nobody waits for the call.
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
    time_in: Callable[[datetime], Any]
    time_out: Callable[[Any], datetime]
    each_text: Callable[[Any], Any]
    duplicate: frozenset[str]
    commits_alone: Callable[[Connection], bool]
    take_write_lock: Callable[[HeldConnection, Callable[[], bool]], None]
    unnested: Callable[[Sequence[Any], Sequence[str], str], Any] | None = None
    begin_reading: str | None = None
    begin_writing: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    writing: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    copy: Copy | None = None


def _insert(name: str) -> Callable[..., Any]:
    """A dialect's INSERT; PostgreSQL's is a tenth of SQLAlchemy to import, which a file of SQLite's does not need."""
    return lambda table: import_module(f"sqlalchemy.dialects.{name}").insert(table)


@contextmanager
def _unfiltered(connection: Connection) -> Iterator[None]:
    """Until the transaction ends PostgreSQL refuses where row-level security would leave rows out without a word."""
    connection.exec_driver_sql("SET LOCAL row_security = off")
    yield


def _is_one_node(connection: Connection) -> bool:
    """On a cluster of Citus the planner makes the append's one statement six times slower than its two (measured)."""
    return connection.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'citus'")).first() is None


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
    insert=_insert("postgresql"),
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
    copy=COPY,
    time_in=lambda at: at,
    time_out=lambda at: at if at.tzinfo is UTC else at.astimezone(UTC),
    each_text=lambda array: sqlalchemy.select(func.json_array_elements_text(cast(array, JSON))),
    unnested=lambda arrays, columns, number: (
        func.unnest(*arrays).table_valued(*columns, with_ordinality=number).render_derived()
    ),
    duplicate=frozenset({"23505"}),
    commits_alone=_is_one_node,
    take_write_lock=lambda _, __: None,  # a statement takes the lock of the session's row
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
    insert=_insert("sqlite"),
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
    begin_writing=write_lock.BEGIN,
    take_write_lock=write_lock.take,
    time_in=lambda at: at.replace(tzinfo=None).isoformat(" ", "microseconds"),
    time_out=lambda at: datetime.fromisoformat(at).replace(tzinfo=UTC),
    each_text=lambda array: sqlalchemy.select(func.json_each(array).table_valued("value").c.value),
    duplicate=frozenset({"SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"}),
    commits_alone=lambda _: False,
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

_AUTOCOMMIT = "AUTOCOMMIT"
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
        # A statement that is sent alone commits by itself, in one round trip; `prepare` begins transactions. An engine
        # with this level is set back to it, where a level for one execution costs 60 to 80 µs (measured).
        if not chooses_transactions(options):
            options = {"isolation_level": _AUTOCOMMIT, **options}
        # Whatever PGCLIENTENCODING says, content is any text; and a server without an encoding would give bytes.
        options = {**options, "connect_args": {"client_encoding": "utf8", **options.get("connect_args", {})}}
    if not options.keys() & {"poolclass", "pool"}:
        # The connection that was used last: in turn, as is usual, five servers' processes are each cold when their turn
        # comes, and an append or a read of one caller took half as long again (measured).
        options = {"pool_use_lifo": True, **options}
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
        event.listen(engine, "begin", _begin_transaction)
        event.listen(engine, "connect", _use_utc)
        return
    path = _file_of(engine.url)

    @event.listens_for(engine, "do_connect")
    def refuse_to_create(*_: object) -> None:
        if path is not None and not path.exists():
            error = StorageUnavailableError(f"There is no database file {path}; run: {UPGRADE_COMMAND}")
            error.retryable = False
            raise error

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may lose the last commits at a power cut
        if path is not None:
            cursor.execute("PRAGMA busy_timeout")
            record.info[write_lock.PATIENCE] = cursor.fetchone()[0]
        cursor.close()


def _use_utc(connection: Any, _: object) -> None:
    """Let the driver read times in UTC: to convert fifty of them took 7 % of a read (measured)."""
    if connection.autocommit:  # else a rollback would undo it
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.close()


def _begin_transaction(connection: Connection) -> None:
    """SQLAlchemy takes it that PostgreSQL's driver begins; where that autocommits, BEGIN makes the transaction."""
    driver: Any = connection.connection.dbapi_connection
    if driver.autocommit and connection.get_execution_options().get("isolation_level") != _AUTOCOMMIT:
        connection.exec_driver_sql("BEGIN")


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


def served_by_threads(url: URL, options: Mapping[str, Any]) -> bool:
    """Whether a blocking engine can stand in for an awaiting one: for a file, unless an option may be of that kind."""
    if options.keys() & {"async_creator", "pool", "poolclass"}:
        return False
    return url.get_backend_name() == "sqlite" and _file_of(url) is not None


def _file_of(url: URL) -> Path | None:
    name = url.database
    return None if not name or name == ":memory:" or name.startswith("file:") else Path(name)


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
