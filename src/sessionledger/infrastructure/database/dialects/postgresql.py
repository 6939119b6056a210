"""PostgreSQL: all that it is and needs; the value at the end is the summary.

This module is imported for SQLite too, so psycopg and SQLAlchemy's own module for PostgreSQL stay out of it.
"""

from __future__ import annotations

import re
import types
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import sqlalchemy
from sqlalchemy import JSON, URL, Connection, Engine, cast, event, func, text

from sessionledger.infrastructure.database import drivers
from sessionledger.infrastructure.database.dialects.dialect import Beside, Checks, Copy, Dialect

_AUTOCOMMIT = "AUTOCOMMIT"
_ROWS_A_TURN = 100


def chooses_transactions(options: Mapping[str, Any]) -> bool:
    """Whether an engine's options may make it commit each statement by itself.

    Then a write asks for a transaction, as it does on an application's engine; elsewhere it need not pay for that.
    """
    chosen = options.keys() & {"isolation_level", "execution_options", "creator", "async_creator"}
    return bool(chosen) or "autocommit" in options.get("connect_args", {})


def _engine_options(_: URL, options: Mapping[str, Any], __: bool) -> Mapping[str, Any]:
    # A statement that is sent alone commits by itself, in one round trip; `_prepare` begins transactions. An engine
    # with this level is set back to it, where a level for one execution costs 60 to 80 µs (measured).
    own: dict[str, Any] = {} if chooses_transactions(options) else {"isolation_level": _AUTOCOMMIT}
    own["pool_reset_on_return"] = None  # `_reset` does
    if not options.keys() & {"pool", "poolclass", "pool_size", "max_overflow"}:
        # SQLAlchemy's five and ten more, all of them kept: each of the ten is opened for one call and closed after it,
        # and a hundred tasks that append had half the throughput (measured).
        own |= {"pool_size": 15, "max_overflow": 0}
    # Whatever PGCLIENTENCODING says, content is any text; and a server without an encoding would give bytes.
    return {**own, **options, "connect_args": {"client_encoding": "utf8", **options.get("connect_args", {})}}


def _prepare(engine: Engine) -> None:
    event.listen(engine, "begin", _begin_transaction)
    event.listen(engine, "connect", _use_utc)
    event.listen(engine, "reset", _reset)


def _begin_transaction(connection: Connection) -> None:
    """SQLAlchemy takes it that PostgreSQL's driver begins; where that autocommits, BEGIN makes the transaction."""
    driver: Any = connection.connection.dbapi_connection
    if driver.autocommit and connection.get_execution_options().get("isolation_level") != _AUTOCOMMIT:
        connection.exec_driver_sql("BEGIN")


def _use_utc(connection: Any, _: object) -> None:
    """Let the driver read times in UTC: to convert fifty of them took 7 % of a read (measured)."""
    if connection.autocommit:  # else a rollback would undo it
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.close()


def _reset(driver: Any, record: Any, state: Any) -> None:
    """Roll back what is left open, and nothing else: where nothing is, psycopg's rollback takes 10 µs (measured)."""
    if state.asyncio_safe and record.driver_connection.pgconn.transaction_status:  # 0 is that of no transaction
        driver.rollback()


def _insert(table: Any) -> Any:
    # A tenth of SQLAlchemy to import, which a file of SQLite's does not need.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def _is_one_node(connection: Connection) -> bool:
    """On a cluster of Citus the planner makes the append's one statement six times slower than its two (measured)."""
    return connection.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'citus'")).first() is None


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
        raise drivers.wrapped(connection, statement, error) from None
    except Exception:  # what gives the rows has raised, and the driver has told the server that no more will come
        raise
    except BaseException:  # a cancel: what the driver was about to say is not known, so nothing more can be asked of it
        connection.invalidate()
        raise


async def _copy_awaiting(driver: Any, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for number, row in enumerate(rows, 1):
            await copy.write_row(row)
            if number % _ROWS_A_TURN == 0:  # as long as the server takes what comes, psycopg never waits
                await _turn()


@types.coroutine
def _turn() -> Generator[None]:
    """Give an event loop a turn, as `asyncio.sleep(0)` does; that module takes long to import where nobody awaits."""
    yield


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
    embedded=False,
    drivers=("postgresql", "postgresql+psycopg", "postgresql+psycopg_async", "postgresql"),
    file_of=lambda _: None,
    engine_options=_engine_options,
    prepare=_prepare,
    insert=_insert,
    time_in=lambda at: at,
    time_out=lambda at: at if at.tzinfo is UTC else at.astimezone(UTC),
    each_text=lambda array: sqlalchemy.select(func.json_array_elements_text(cast(array, JSON))),
    unnested=lambda arrays, columns, number: (
        func.unnest(*arrays).table_valued(*columns, with_ordinality=number).render_derived()
    ),
    copy=Copy(_copy_permitted, _copy),
    commits_alone=_is_one_node,
    take_write_lock=lambda _, __: None,  # a statement takes the lock of the session's row
    # Not READ ONLY as well: SQLAlchemy gives such a connection back as READ WRITE, and so undoes a server's own
    # default_transaction_read_only. What a reader might write is never committed.
    reading={"isolation_level": "REPEATABLE READ"},
    writing={"isolation_level": "READ COMMITTED"},
    duplicate=frozenset({"23505"}),
    overflow=frozenset({"22003", "23514"}),
    busy=frozenset({"40001", "40P01", "55P03", "53300"}),
    lost=re.compile("08...|57P0[123]"),
    full=frozenset({"53100"}),
    advice={
        "25006": "The database is read-only; connect to the primary",
        "42501": "The database user lacks a right on the tables, or row-level security keeps rows from it; grant it",
        "57014": "The statement ran longer than statement_timeout allows, or an administrator cancelled it",
    },
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
    beside=_BESIDE,
)
