"""A connection out of the pool, and the driver's own cursor on it, below SQLAlchemy.

`Connection.execute` takes 25 to 30 µs a statement more than the driver, and `Engine.connect` 5 to 9 µs more than the
pool (measured): much, beside an append of 200 µs. So SQLAlchemy's `Connection` is made where something needs one: a
transaction, a statement of SQLAlchemy's, an error. The driver's errors come as SQLAlchemy's, and listeners are told:
an application's instrumentation, which listens to SQLAlchemy's events, sees these statements too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, exc


class HeldConnection:
    """A connection that a call holds, from its engine's pool or of the caller's own.

    Args:
        engine: The engine.
        connection: The caller's connection; `None` takes one from the pool.

    Attributes:
        dialect: SQLAlchemy's dialect.
        driver: The driver's connection.

    Raises:
        DBAPIError: No connection can be had.
    """

    __slots__ = ("_connection", "_engine", "_listeners", "_pooled", "_watched", "dialect", "driver")

    def __init__(self, engine: Engine, connection: Connection | None = None) -> None:
        self._engine = engine
        self.dialect = engine.dialect
        if connection is None and engine.dispatch.engine_connect:  # somebody is told of each, and may set it up
            connection = engine.connect()
        self._connection = connection
        listeners: Any = (connection or engine).dispatch
        self._listeners = listeners
        self._watched = bool(listeners.before_cursor_execute or listeners.after_cursor_execute)
        self._pooled: Any = _pooled(engine) if connection is None else connection.connection
        self.driver: Any = self._pooled.dbapi_connection

    @classmethod
    def of(cls, connection: Connection) -> HeldConnection:
        """The caller's connection, which stays the caller's."""
        return cls(connection.engine, connection)

    @property
    def info(self) -> Mapping[Any, Any]:
        """What the pool remembers with the driver's connection."""
        found: Mapping[Any, Any] = self._pooled.info
        return found

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's connection over this one."""
        if self._connection is None:
            self._connection = Connection(self._engine, self._pooled)
        return self._connection

    def begin(self) -> None:
        """Begin a transaction: SQLAlchemy's where it has a part in it, else without the 12 µs that takes (measured)."""
        listeners = self._listeners
        if self._connection is not None or listeners.begin or listeners.commit or listeners.rollback:
            self.connection.begin()
        else:
            self.dialect.do_begin(self._pooled)

    def commit(self) -> None:
        """Commit the transaction; raises as `rows`."""
        self._end("commit")

    def rollback(self) -> None:
        """Roll the transaction back; raises as `rows`."""
        self._end("rollback")

    def _end(self, how: str) -> None:
        if self._connection is not None and self._connection.in_transaction():
            getattr(self._connection, how)()
            return
        try:
            getattr(self.dialect, f"do_{how}")(self._pooled)
        except BaseException as error:  # noqa: BLE001 - a cancel too: the connection of a COMMIT broken off is given up
            raise wrapped(self.connection, None, error) from None

    def use(self, options: Mapping[str, Any]) -> None:
        """Use these execution options until it is closed.

        Given to the engine, its own `isolation_level` would win; and it would be set while SQLAlchemy opens the
        connection, where a cancel leaves it checked out for ever: 1 in 320 cancelled reads ended in its warning of a
        garbage collector.
        """
        try:
            self.connection.execution_options(**options)
        except BaseException:
            self.connection.invalidate()  # the pool does not know yet what there is to be set back
            raise

    def close(self) -> None:
        """Give it back to the pool."""
        (self._connection or self._pooled).close()

    def rows(self, text: str, parameters: Any) -> list[Any]:
        """Run SQL in the driver's own style, and return its rows as tuples; no transaction of SQLAlchemy's begins.

        Raises:
            DBAPIError: The driver's error, without values.
        """
        cursor = self._executed(text, parameters)
        try:
            found: list[Any] = cursor.fetchall()
        except self.dialect.loaded_dbapi.Error as error:
            raise wrapped(self.connection, text, error) from None
        finally:
            cursor.close()
        return found

    def run(self, text: str, execute: Callable[[Any], object] | None = None) -> None:
        """Run SQL that has neither values nor rows, such as BEGIN IMMEDIATE; raises as `rows`.

        Args:
            text: The SQL.
            execute: Lets a cursor execute it, where that takes more than one try; listeners are told of one.
        """
        self._executed(text, (), execute=execute).close()

    def each(self, text: str, parameters: list[Any]) -> int:
        """Run SQL once for each of these values, and return how many rows were changed; raises as `rows`.

        Many are for SQLite only. psycopg sends them as a pipeline, and a cancel in one waits for 5 s and loses the
        connection (measured).
        """
        if not parameters:
            return 0
        many = len(parameters) > 1
        cursor = self._executed(text, parameters if many else parameters[0], many=many)
        changed: int = cursor.rowcount
        cursor.close()
        return changed

    def _executed(
        self, text: str, parameters: Any, *, many: bool = False, execute: Callable[[Any], object] | None = None
    ) -> Any:
        """A cursor that has executed it; whoever listens was told."""
        cursor, context, listeners = self.driver.cursor(), None, self._listeners
        try:
            if self._watched:
                context = _Context(self.connection, text, many=many)
                for listener in listeners.before_cursor_execute:
                    text, parameters = listener(context.connection, cursor, text, parameters, context, many)
            if execute is not None:
                execute(cursor)
            elif many:
                cursor.executemany(text, parameters)
            else:
                cursor.execute(text, parameters)
            if context is not None:
                for listener in listeners.after_cursor_execute:
                    listener(context.connection, cursor, text, parameters, context, many)
        except self.dialect.loaded_dbapi.Error as error:
            cursor.close()
            raise wrapped(self.connection, text, error, context) from None
        except BaseException:
            cursor.close()
            raise
        return cursor


def _pooled(engine: Engine) -> Any:
    """A connection from the pool; an error comes as it does from `Engine.connect`."""
    try:
        return engine.raw_connection()
    except engine.dialect.loaded_dbapi.Error as error:
        Connection._handle_dbapi_exception_noconnection(error, engine.dialect, engine)  # noqa: SLF001 - see `wrapped`
        raise


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


def wrapped(connection: Connection, text: str | None, error: Any, context: Any = None) -> exc.DBAPIError:
    """SQLAlchemy's error for one of the driver's; listeners are told. One of another kind is raised again.

    Where the connection is lost it is given up, and so is whatever the pool opened before: a server that went away has
    lost all of them.
    """
    if context is None and text is not None:
        context = _Context(connection, text)
    try:
        # Private, but there is no other way to all that SQLAlchemy does about an error.
        connection._handle_dbapi_exception(error, text, None, None, context)  # noqa: SLF001 - see above
    except exc.DBAPIError as found:
        return found
