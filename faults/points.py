"""The points at which a process may be killed: before, during and after every statement and every COMMIT it sends."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from harness import Client


def die() -> int:
    """Kill this process; the answer is for SQLite, which calls this while a statement runs."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


class Points:
    """Counts the statements and COMMITs of this process, from now on and on every engine.

    Args:
        told: Is told each of them.
        at: The number of the one that kills the process, from 1; 0 for none.
        moment: Where at it.
    """

    def __init__(self, told: Callable[[str], None], at: int = 0, moment: str = "before") -> None:
        self._told = told
        self._at = (at, moment)
        self._number = 0
        event.listen(Engine, "before_cursor_execute", self._before_statement)
        event.listen(Engine, "after_cursor_execute", lambda *_: self._after())
        DefaultDialect.do_commit = lambda _, connection: self._commit(connection.driver_connection)

    def _before_statement(
        self, _connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool
    ) -> None:
        self._before(cursor.connection, statement, parameters[0] if executemany else parameters)

    def _commit(self, connection: Any) -> None:
        self._before(connection, "COMMIT", ())
        connection.commit()
        self._after()

    def _before(self, connection: Any, statement: str, parameters: Any) -> None:
        self._number += 1
        self._told(statement)
        if self._at == (self._number, "before"):
            die()
        if self._at == (self._number, "during"):
            _send_and_die(connection, statement, parameters)

    def _after(self) -> None:
        if self._at[0] == self._number:  # "during" too: SQLite had done it before it called us
            die()


def _send_and_die(connection: Any, statement: str, parameters: Any) -> None:
    """Leave a server alone with a statement; or be killed at SQLite's first step of it."""
    if isinstance(connection, sqlite3.Connection):
        connection.set_progress_handler(die, 1)
        return
    idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    begin = "BEGIN; " if idle and not connection.autocommit else ""
    connection.pgconn.send_query((begin + psycopg.ClientCursor(connection).mogrify(statement, parameters)).encode())
    while connection.pgconn.flush():
        pass
    die()


def sent(run: Callable[[], None]) -> list[str]:
    """Every statement and COMMIT that a run sends, in a process of its own."""

    def told(say: Callable[[Any], None]) -> None:
        Points(say)
        run()

    client = Client(told)
    statements = list(client.said())
    assert client.wait() == 0, "the unhindered run failed"
    return statements


def run_until(run: Callable[[], None], number: int, moment: str) -> int:
    """Run in a process of its own, to be killed at a point; how it ended."""

    def killed(_: Callable[[Any], None]) -> None:
        Points(lambda _: None, number, moment)
        run()

    return Client(killed).wait()
