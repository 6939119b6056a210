"""What every repository shares: the tables, and the INSERT that tells what was new."""

from __future__ import annotations

import functools

from sqlalchemy import Executable

from sessionledger.domain.errors import SessionLedgerError
from sessionledger.infrastructure.database.dialects import Dialect
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
