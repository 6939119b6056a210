"""What a server tells of its locks, its indexes and what it is busy with, for scenarios that need a server."""

from __future__ import annotations

import time
from typing import Any

import psycopg

SECONDS = 30
_BESIDE = "datname = current_database() AND pid <> pg_backend_pid()"


def told(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, asked on a connection of its own: within one, the server's own view stands still."""
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def until(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query as soon as there are any."""
    deadline = time.monotonic() + SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while not (rows := connection.execute(query, values).fetchall()):
            assert time.monotonic() < deadline, f"nothing came of it in {SECONDS} seconds: {query} {values}"
            time.sleep(0.005)
    return rows


def waiting(url: str, statement: str, seconds: float = 0.0, *, beside: int = 0) -> int:
    """The process id of the server's whose statement begins so and has waited for a lock for so long; not `beside`."""
    return until(
        url,
        f"SELECT pid FROM pg_stat_activity WHERE {_BESIDE} AND wait_event_type = 'Lock'"
        " AND ltrim(query, E' \\n') LIKE %s AND clock_timestamp() - query_start > make_interval(secs => %s)"
        " AND pid <> %s",
        f"{statement}%",
        seconds,
        beside,
    )[0][0]


def terminate(url: str, process_id: int) -> None:
    """End a connection's session, as an administrator or a failover does."""
    assert told(url, "SELECT pg_terminate_backend(%s, 5000)", process_id) == [(True,)]


def invalid_indexes(url: str) -> list[str]:
    """The names of the indexes that serve no query."""
    query = (
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE NOT (indisvalid AND indisready AND indislive) ORDER BY 1"
    )
    return [name for (name,) in told(url, query)]


def upgrade_locks(url: str) -> int:
    """How many connections hold the lock of an upgrade."""
    query = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return len(told(url, query))


def fails(url: str, statement: str) -> None:
    """Run a statement that fails because of a duplicate, and so leaves an invalid index behind."""
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(statement)
        except psycopg.errors.UniqueViolation:
            return
    raise AssertionError(f"it did not fail: {statement}")


def run_on(url: str, statements: list[str]) -> list[str]:
    """Run statements one after another, as a shell does that goes on after an error; return the errors."""
    errors = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                errors.append(str(error))
    return errors
