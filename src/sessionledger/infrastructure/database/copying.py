"""Ways in for many rows at once: COPY on PostgreSQL, more memory for pages on SQLite."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from sessionledger.infrastructure.database import drivers

_ROWS_A_TURN = 100


@dataclass(frozen=True)
class Copy:
    """A faster way in for many rows than INSERT.

    Attributes:
        permitted: Whether it may be used on a table in this transaction.
        load: Store rows: takes a connection, a table's name, its columns' names and the rows.
    """

    permitted: Callable[[Connection, str], bool]
    load: Callable[[Connection, str, Sequence[str], Iterable[Sequence[Any]]], None]


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


COPY = Copy(_copy_permitted, _copy)


@contextmanager
def more_pages(connection: Connection) -> Iterator[None]:
    """While it is open, SQLite keeps up to 16 MiB of pages in memory instead of 2.

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
