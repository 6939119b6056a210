"""COPY: PostgreSQL's way in for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from sessionledger.infrastructure.database import drivers


class Copy(NamedTuple):
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
    except BaseException:  # a cancel: what the driver was about to say is not known, so nothing more can be asked of it
        connection.invalidate()
        raise


async def _copy_awaiting(driver: Any, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            await copy.write_row(row)


COPY = Copy(_copy_permitted, _copy)
