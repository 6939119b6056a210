"""Indexes on tables that are in use, for migrations that do little else.

PostgreSQL builds and drops them `CONCURRENTLY`, outside a transaction, so that writers go on. A build that fails or is
killed leaves an invalid index under the name: writers keep it up to date, no query reads from it, and `IF NOT EXISTS`
takes it for the index. So an invalid one is dropped first, and the revision is not stamped before the index is valid.
SQLite builds a plain index inside the one transaction of the upgrade.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from alembic import op
from sqlalchemy import inspect, text
from sqlalchemy.exc import PendingRollbackError

from sessionledger.domain.errors import StorageError
from sessionledger.infrastructure.database import dialects, schema
from sessionledger.infrastructure.database.dialects import Beside

_USUAL = "btree"
"""The kind of index that databases make where none is named, and do not tell of."""


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
            _build(beside, table, name, columns, unique=unique)
    for name in indexes:  # in the transaction that stamps the revision: no stamp without the indexes
        _refuse_invalid(beside, table, name)


def replace_index(table: str, name: str, columns: Sequence[str], *, using: str) -> None:
    """Build an index anew as one of another kind, beside readers and writers; nothing is done for one of this kind.

    Until it is built there is none: this is for an index that no call waits for. Where a database has but one kind,
    nothing is done.

    Args:
        table: The table.
        name: The index.
        columns: Its columns.
        using: The kind.

    Raises:
        StorageError: It is not valid after it was built. The revision is not stamped: the upgrade can be run again.
    """
    context = op.get_context()
    dialect = dialects.dialect_of(context)
    if dialect.beside is None:
        return
    option = f"{dialect.system}_using"
    with _alone(dialect.beside):
        if context.as_sql or _options(table, name).get(option, _USUAL) != using:
            _drop(dialect.beside, table, name)
        _build(dialect.beside, table, name, columns, **{option: using})
    _refuse_invalid(dialect.beside, table, name)


def drop_indexes(table: str, names: Iterable[str]) -> None:
    """Drop indexes beside readers and writers; nothing is done for one that is gone."""
    context = op.get_context()
    beside = dialects.dialect_of(context).beside
    with _alone(beside) if beside else nullcontext():
        for name in names:
            if context.as_sql or _state(table, name) is not None:
                op.drop_index(name, table, if_exists=context.as_sql, **(beside.index_options if beside else {}))


def _build(beside: Beside, table: str, name: str, columns: Sequence[str], **options: Any) -> None:
    """Build one that is not there, or not valid."""
    state = _state(table, name)
    if state is False:
        _drop(beside, table, name)
    if not state:
        written_out = op.get_context().as_sql
        op.create_index(name, table, list(columns), if_not_exists=written_out, **options, **beside.index_options)


def _drop(beside: Beside, table: str, name: str) -> None:
    # It may go while we wait for it: the server goes on with what a killed upgrade has asked of it.
    op.drop_index(name, table, if_exists=True, **beside.index_options)


def _refuse_invalid(beside: Beside, table: str, name: str) -> None:
    if op.get_context().as_sql:
        op.execute(beside.refuse_invalid.format(table=table, name=name))
    elif not _state(table, name):
        raise StorageError(f"The index {name} is not valid after it was built; run the upgrade again")


def _options(table: str, name: str) -> Mapping[str, Any]:
    """What a database tells of an index besides its columns; nothing where there is none."""
    found = {index["name"]: index for index in inspect(op.get_bind()).get_indexes(table)}
    return found[name].get("dialect_options", {}) if name in found else {}


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
