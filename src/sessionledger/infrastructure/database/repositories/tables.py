"""What every repository shares: the tables, the INSERT that tells what was new, and the load of many rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Executable,
    Table,
    bindparam,
    func,
    type_coerce,
)

from sessionledger.domain.errors import SessionLedgerError
from sessionledger.domain.models import COUNTS
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.tables import MESSAGES, METADATA, SESSIONS

_TABLES = METADATA.tables

MESSAGE_COLUMNS = [
    MESSAGES.c[name]
    for name in (
        "message_id",
        "session_id",
        "sequence",
        "role",
        "content",
        "tool_call_id",
        "metadata",
        "created_at",
        "format",
        "content_sha256",
    )
]
"""The columns of a message, as `rows.messages` reads them."""

USAGE_COLUMNS = [SESSIONS.c[name] for name in (*COUNTS, "cost")]
"""The totals of a session, as `rows.usage` reads them."""


def moved(*, usage: bool) -> dict[str, Any]:
    """What an append does to its session's row, for an UPDATE; without `usage` it leaves the totals alone."""
    values: dict[str, Any] = {
        "last_sequence": SESSIONS.c.last_sequence + bindparam("messages", type_=BigInteger()),
        "updated_at": bindparam("at", type_=DateTime(timezone=True)),
    }
    if usage:
        values |= {name: SESSIONS.c[name] + bindparam(f"{name}_more", type_=BigInteger()) for name in COUNTS}
        # NULL until a cost is reported.
        cost, more = type_coerce(SESSIONS.c.cost, BigInteger()), bindparam("cost_more", type_=BigInteger())
        values["cost"] = func.coalesce(cost + more, cost, more)
    return values


class PossibleReplay(Exception):  # noqa: N818 - a signal to `work.py`, never an error for callers
    """The ids may be stored already: undo this work, and answer with `answer_replay`.

    Attributes:
        refusal: What to raise if none of them is; `None` where one was seen.
    """

    def __init__(self, refusal: SessionLedgerError | None = None) -> None:
        super().__init__(refusal)
        self.refusal = refusal


@functools.cache
def insert_new(dialect: Dialect, table_name: str) -> Executable:
    """INSERT … ON CONFLICT (the primary key) DO NOTHING RETURNING the key's last column."""
    table = _TABLES[table_name]
    own = list(table.primary_key)[-1]
    statement: Executable = (
        dialect.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key)).returning(own)
    )
    return statement


def loader(connection: Connection, table: Table, columns: Sequence[str]) -> Callable[[Iterable[Sequence[Any]]], object]:
    """What stores many rows, none of whose keys is there, as fast as the database takes them.

    Args:
        connection: In the transaction in which it is used.
        table: The table.
        columns: The columns' names, in the order of each row's values, which go to the driver as they are.
    """
    dialect = dialect_of(connection)
    if dialect.copy is not None and dialect.copy.permitted(connection, table.name):
        return functools.partial(dialect.copy.load, connection, table.name, columns)
    if dialect.embedded:
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of our own
        return lambda rows: HeldConnection.of(connection).each(statement, list(rows))
    lean = sqlalchemy.table(table.name, *map(sqlalchemy.column, columns))  # without types: nothing is converted again

    def insert(rows: Iterable[Sequence[Any]]) -> None:
        connection.execute(sqlalchemy.insert(lean), [dict(zip(columns, row, strict=True)) for row in rows])

    return insert
