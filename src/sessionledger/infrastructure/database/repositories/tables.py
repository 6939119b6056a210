"""What every repository shares: the tables, the INSERT that tells what was new, and the load of many rows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table, TypeDecorator, insert

from sessionledger.domain.errors import SessionLedgerError
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.models import Model

_TABLES = Model.metadata.tables
RESOURCES = _TABLES["resources"]
SESSIONS = _TABLES["sessions"]
MESSAGES = _TABLES["session_messages"]
USAGE = _TABLES["token_usage"]


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


def load(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Store many rows with the same columns, none of whose keys is there, as fast as the database takes them."""
    if not rows:
        return
    copy = dialect_of(connection).copy
    if copy is None or not copy.permitted(connection, table.name):
        connection.execute(insert(table), rows)
        return
    columns = [table.c[name] for name in rows[0]]
    stored = [
        (column.name, column.type.process_bind_param if isinstance(column.type, TypeDecorator) else None)
        for column in columns
    ]
    dialect = connection.dialect
    copy.load(
        connection,
        table.name,
        [column.name for column in columns],
        ([row[name] if make is None else make(row[name], dialect) for name, make in stored] for row in rows),
    )
