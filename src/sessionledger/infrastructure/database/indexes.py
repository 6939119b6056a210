"""Indexes on tables that are in use, for migrations that do nothing else.

PostgreSQL builds and drops them `CONCURRENTLY`, outside a transaction, so that writers go on. A build that fails or is
killed leaves an invalid index under the name: writers keep it up to date, no query reads from it, and `IF NOT EXISTS`
takes it for the index. So an invalid one is dropped first, and the revision is not stamped before the index is valid.
SQLite builds a plain index inside the one transaction of the upgrade.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from alembic import op
from sqlalchemy import inspect, text
from sqlalchemy.exc import PendingRollbackError

from sessionledger.domain.errors import StorageError
from sessionledger.infrastructure.database import dialects, schema
from sessionledger.infrastructure.database.dialects import Beside


def create_indexes(table: str, indexes: Mapping[str, Sequence[str]], *, unique: bool = False) -> None:
    """Build indexes beside writers; nothing is done for one that is there and valid.

    Args:
        table: The table.
        indexes: The columns of each index, by its name.
        unique: Whether they are unique.

    Raises:
        StorageError: One is not valid after it was built. The revision is not stamped: the upgrade can be run again.
    """
    context = op.get_context()
    beside = dialects.dialect_of(context).beside
    if beside is None:
        for name, columns in indexes.items():
            if _state(table, name) is None:
                op.create_index(name, table, list(columns), unique=unique)
        return
    with _alone(beside):
        for name, columns in indexes.items():
            state = _state(table, name)
            if state is False:
                op.drop_index(name, table, **beside.index_options)
            if not state:
                op.create_index(
                    name, table, list(columns), unique=unique, if_not_exists=context.as_sql, **beside.index_options
                )
    for name in indexes:  # in the transaction that stamps the revision: no stamp without the indexes
        if context.as_sql:
            op.execute(beside.refuse_invalid.format(table=table, name=name))
        elif not _state(table, name):
            raise StorageError(f"The index {name} is not valid after it was built; run the upgrade again")


def drop_indexes(table: str, names: Iterable[str]) -> None:
    """Drop indexes beside readers and writers; nothing is done for one that is gone."""
    context = op.get_context()
    beside = dialects.dialect_of(context).beside
    with _alone(beside) if beside else nullcontext():
        for name in names:
            if context.as_sql or _state(table, name) is not None:
                op.drop_index(name, table, if_exists=context.as_sql, **(beside.index_options if beside else {}))


def _state(table: str, name: str) -> bool | None:
    """Whether a table's index is valid; `None` if it has none of this name, or nobody can be asked."""
    context = op.get_context()
    if context.as_sql:
        return None
    connection = op.get_bind()
    beside = dialects.dialect_of(context).beside
    if beside is None:
        return True if any(index["name"] == name for index in inspect(connection).get_indexes(table)) else None
    found: bool | None = connection.execute(text(beside.index_is_valid), {"table": table, "name": name}).scalar()
    return found


@contextmanager
def _alone(beside: Beside) -> Iterator[None]:
    """Outside a transaction, and without `lock_timeout`.

    A concurrent build waits for every transaction that is older, and that counts as waiting for a lock: with a short
    `lock_timeout` it would never end beside one long transaction. Nobody queues behind it, so it may take its time.
    """
    try:
        with op.get_context().autocommit_block():
            op.execute(beside.lock_timeout.format(seconds=0))
            yield
            op.execute(beside.lock_timeout.format(seconds=schema.LOCK_TIMEOUT_SECONDS))
    except PendingRollbackError as second:
        # Where the connection is lost, the block's own COMMIT hides the error that says so.
        raise (second.__context__ or second) from None
