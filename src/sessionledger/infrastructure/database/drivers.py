"""The driver's own cursor, below SQLAlchemy: its errors come as SQLAlchemy's, and its listeners are told.

`Connection.execute` takes 25 to 30 µs a statement more than the driver (measured), which is much beside an append of
200 µs. An application's instrumentation listens to SQLAlchemy's cursor events, so it sees these statements too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, exc


def rows(connection: Connection, text: str, parameters: Any) -> list[Any]:
    """Run SQL in the driver's own style, and return its rows as tuples; no transaction of SQLAlchemy's begins.

    Raises:
        DBAPIError: The driver's error, without values.
    """
    with _ran(connection, text, parameters) as cursor:
        found: list[Any] = cursor.fetchall()
        return found


def run(connection: Connection, text: str, execute: Callable[[Any], object] | None = None) -> None:
    """Run SQL that has neither values nor rows, such as BEGIN IMMEDIATE; raises as `rows`.

    Args:
        connection: The connection.
        text: The SQL.
        execute: Lets a cursor execute it, where that takes more than one try; listeners are told of one.
    """
    with _ran(connection, text, (), execute=execute):
        pass


def each(connection: Connection, text: str, parameters: list[Any]) -> int:
    """Run SQL once for each of these values, and return how many rows were changed; raises as `rows`.

    Many are for SQLite only. psycopg sends them as a pipeline, and a cancel in one waits for 5 s and loses the
    connection (measured).
    """
    if not parameters:
        return 0
    many = len(parameters) > 1
    with _ran(connection, text, parameters if many else parameters[0], many=many) as cursor:
        changed: int = cursor.rowcount
        return changed


@contextmanager
def _ran(
    connection: Connection,
    text: str,
    parameters: Any,
    *,
    many: bool = False,
    execute: Callable[[Any], object] | None = None,
) -> Iterator[Any]:
    driver: Any = connection.connection.dbapi_connection
    cursor, context = driver.cursor(), _Context(connection, text, many=many)
    try:
        for listener in connection.dispatch.before_cursor_execute:
            text, parameters = listener(connection, cursor, text, parameters, context, many)
        if execute is not None:
            execute(cursor)
        elif many:
            cursor.executemany(text, parameters)
        else:
            cursor.execute(text, parameters)
        for listener in connection.dispatch.after_cursor_execute:
            listener(connection, cursor, text, parameters, context, many)
        yield cursor
    except connection.dialect.loaded_dbapi.Error as error:
        raise wrapped(connection, text, error, context) from None
    finally:
        cursor.close()


class _Context:
    """What listeners get as SQLAlchemy's execution context: instrumentation hangs what it has begun, a span, on it."""

    def __init__(self, connection: Connection, text: str, *, many: bool = False) -> None:
        self.connection = self.root_connection = connection
        self.dialect = connection.dialect
        self.statement = text
        self.executemany = many
        self.compiled = None

    def handle_dbapi_exception(self, _: BaseException) -> None:
        """Do nothing; SQLAlchemy calls it."""


def wrapped(connection: Connection, text: str, error: Any, context: Any = None) -> exc.DBAPIError:
    """SQLAlchemy's error for one of the driver's; listeners are told.

    Where the connection is lost it is given up, and so is whatever the pool opened before: a server that went away has
    lost all of them.
    """
    context = context or _Context(connection, text)
    try:
        # Private, but there is no other way to all that SQLAlchemy does about an error.
        connection._handle_dbapi_exception(error, text, None, None, context)  # noqa: SLF001 - see above
    except exc.DBAPIError as found:
        return found
