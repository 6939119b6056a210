"""SQLite: all that it is and needs, with its file and its write lock; the value at the end is the summary."""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, String, event, func, type_coerce
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from sessionledger.domain.errors import UPGRADE_COMMAND, StorageError, StorageUnavailableError
from sessionledger.infrastructure.database.dialects.dialect import CallCancelledError, Checks, Dialect
from sessionledger.infrastructure.database.drivers import HeldConnection

_PATIENCE = "sessionledger_patience"
"""In a pooled connection's `info`: for how many milliseconds it waits for another writer."""


def _file_of(url: URL) -> Path | None:
    name = url.database
    return None if not name or name == ":memory:" or name.startswith("file:") else Path(name)


def _engine_options(url: URL, options: Mapping[str, Any], awaiting: bool) -> Mapping[str, Any]:
    if sqlite3.sqlite_version_info < (3, 35):
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed (RETURNING)")
    if url.database in {None, "", ":memory:"}:
        # One connection for all threads, each waiting for its turn: with more, each would have its own database.
        pool = AsyncAdaptedQueuePool if awaiting else QueuePool
        options = {"poolclass": pool, "pool_size": 1, "max_overflow": 0, **options}
    # How long SQLite itself waits for another writer, in seconds, before the retry sleeps and tries again.
    return {
        **options,
        "connect_args": {"timeout": 10, "check_same_thread": False, **options.get("connect_args", {})},
    }


def _prepare(engine: Engine) -> None:
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
            record.info[_PATIENCE] = cursor.fetchone()[0]
        cursor.close()


def _insert(table: Any) -> Any:
    from sqlalchemy.dialects import sqlite  # which a server does not need

    return sqlite.insert(table)


@contextmanager
def _undecoded(connection: Connection) -> Iterator[None]:
    """SQLite keeps whatever bytes it was given as text; its driver raises where they are not UTF-8."""
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda stored: stored.decode(errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str


_LONGEST_PAUSE, _SHORTEST_PAUSE, _HALVED_EVERY = 0.020, 0.002, 0.040  # seconds

_BEGIN = "BEGIN IMMEDIATE"
# A deferred BEGIN that reads and then writes gets SQLITE_BUSY_SNAPSHOT at once, whatever the timeout.


def _take_write_lock(held: HeldConnection, cancelled: Callable[[], bool]) -> None:
    """Begin a transaction that holds the write lock; on an engine that is not ours it waits as the driver does."""
    patience = held.info.get(_PATIENCE)
    if patience is None:
        held.run(_BEGIN)
        return
    held.driver.execute("PRAGMA busy_timeout = 0")
    try:
        held.run(_BEGIN, lambda cursor: _wait(cursor, patience / 1000, cancelled))
    finally:
        held.driver.execute(f"PRAGMA busy_timeout = {patience:d}")


def _wait(cursor: sqlite3.Cursor, seconds: float, cancelled: Callable[[], bool]) -> None:
    """Wait for other writers: whoever has waited longest looks most often.

    SQLite's own wait looks less and less often (1, 2, 5, 10 … 100 ms), so that among many writers new ones always win.
    Here the pause begins at 20 ms and halves with every 40 ms of waiting, down to 2 ms. Of 32 processes that append to
    one file, next to `sqlite3` with SQLite's wait, whose worst is 2.1 s: from 10 ms down to 4 ms 0.40 of its throughput
    and a worst wait of 0.23 s; from 20 to 2 ms 0.62 and 0.17 s, in five later rounds 0.50 and 0.32 s; from 30 to 4 ms
    0.36 and 0.33 s (W6, 3 rounds each).
    """
    began = time.monotonic()
    while True:
        if cancelled():
            raise CallCancelledError
        try:
            cursor.execute(_BEGIN)
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - began
            if getattr(error, "sqlite_errorname", None) != "SQLITE_BUSY" or waited > seconds:
                raise
        else:
            return
        pause = max(_SHORTEST_PAUSE, _LONGEST_PAUSE * 0.5 ** (waited / _HALVED_EVERY))
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that two do not look at the same time


@contextmanager
def _more_pages(connection: Connection) -> Iterator[None]:
    """While it is open, up to 16 MiB of pages are kept in memory instead of 2.

    Ids of an import come in no order, so each new one changes another page of its index: 6 MiB for 100,000 messages,
    whose pages were written out and read again all the time. (100,000 rows: 2.0 to 2.2 s of processor time with 2 MiB,
    1.5 to 1.7 s with 16 MiB, and 1.5 s where the ids ascend.)
    """
    [pages] = connection.exec_driver_sql("PRAGMA cache_size").one()
    connection.exec_driver_sql("PRAGMA cache_size = -16384")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(f"PRAGMA cache_size = {pages:d}")


SQLITE = Dialect(
    system="sqlite",
    embedded=True,
    drivers=("sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"),
    file_of=_file_of,
    engine_options=_engine_options,
    prepare=_prepare,
    insert=_insert,
    time_in=lambda at: at.replace(tzinfo=None).isoformat(" ", "microseconds"),
    time_out=lambda at: datetime.fromisoformat(at).replace(tzinfo=UTC),
    each_text=lambda array: sqlalchemy.select(func.json_each(array).table_valued("value").c.value),
    commits_alone=lambda _: False,
    loading=_more_pages,
    begin_reading="BEGIN",
    begin_writing=_BEGIN,
    take_write_lock=_take_write_lock,
    duplicate=frozenset({"SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"}),
    overflow=frozenset({"SQLITE_CONSTRAINT_CHECK"}),
    busy=frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}),
    lost=re.compile("(?!)"),
    full=frozenset({"SQLITE_FULL"}),
    advice={
        "SQLITE_CANTOPEN": "The database file cannot be opened; check its folder and rights",
        "SQLITE_CORRUPT": "The database file is damaged; restore it, or export what can be read",
        "SQLITE_NOTADB": "The file is no SQLite database; give another path, then run: " + UPGRADE_COMMAND,
        "SQLITE_READONLY": "The database is read-only; check the rights of the file and its folder",
        "SQLITE_READONLY_DBMOVED": "The database file was moved or deleted while it was open",
        "SQLITE_READONLY_DIRECTORY": "The database's folder is read-only; check its rights",
    },
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
