"""Every row of the ledger, of all namespaces, as it is stored: for a verification, which trusts nothing.

Rows come in batches in an order that is total. First the keys and sizes of the next rows are read, behind the last row
of the ones before (keyset); then the rows themselves, as many at a time as are short enough together. So memory stays
bounded whatever a session holds. Nothing is decoded: what cannot be read is what is looked for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    Text,
    bindparam,
    func,
    literal,
    select,
    text,
    tuple_,
    type_coerce,
)

from sessionledger.domain.models import COUNTS
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.tables import MESSAGES, RESOURCES, SESSIONS, USAGE

ROWS = 500
CHARACTERS = 2 * 1024 * 1024
"""How many keys are read at once, and how many characters of content and metadata; a longer row comes alone."""

_TABLES = (RESOURCES, SESSIONS, MESSAGES, USAGE)


class VerificationRepository:
    """All tables, read only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = dialect_of(connection)

    def as_stored(self) -> AbstractContextManager[None]:
        """Read text as it is stored while this is open, also where its bytes are no text."""
        return self._dialect.checks.as_stored(self._connection)

    def damage(self) -> Iterator[str]:
        """What the database finds when it checks itself."""
        ours = ", ".join(f"'{table.name}'" for table in _TABLES)
        for statement in self._dialect.checks.own:
            yield from self._connection.execute(text(statement.format(tables=ours))).scalars()

    def count(self) -> int:
        """How many rows there are."""
        return sum(self._connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES)

    def resources(self) -> Iterator[Row[Any]]:
        """Every resource, by id."""
        return self._rows("resources")

    def sessions(self) -> Iterator[Row[Any]]:
        """Every session, by id, with its workspace's name, namespace and kind."""
        return self._rows("sessions")

    def messages(self) -> Iterator[Row[Any]]:
        """Every message, by session and sequence."""
        return self._rows("messages")

    def usage_records(self) -> Iterator[Row[Any]]:
        """Every record of token usage, by session and id, with whether its message is there (`known_message_id`)."""
        return self._rows("usage_records")

    def _rows(self, name: str) -> Iterator[Row[Any]]:
        query = _query(self._dialect, name)
        keys = self._connection.execute(query.first).all()
        while keys:
            for first, count in _batches(keys):
                yield from self._connection.execute(query.rows, {**query.named(first), "count": count}).all()
            keys = self._connection.execute(query.following, query.named(keys[-1])).all()


def _batches(keys: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], int]]:
    """The first key of each batch that is read at once, and how many rows it has."""
    first, characters = 0, 0
    for at, key in enumerate(keys):
        if at > first and characters + key.size > CHARACTERS:
            yield keys[first], at - first
            first, characters = at, 0
        characters += key.size
    yield keys[first], len(keys) - first


class _Query(NamedTuple):
    """How a table is read.

    Attributes:
        key: The columns of the order.
        first: The keys and sizes of the first rows.
        following: Those of the rows behind a key.
        rows: So many of the rows from a key on.
    """

    key: tuple[str, ...]
    first: Select[Any]
    following: Select[Any]
    rows: Select[Any]

    def named(self, key: Row[Any]) -> dict[str, Any]:
        """A key as parameters."""
        return {f"key_{name}": value for name, value in zip(self.key, key, strict=False)}


@functools.cache
def _query(dialect: Dialect, name: str) -> _Query:
    rows, key, size = _QUERIES[name](dialect)
    columns = [rows.selected_columns[each] for each in key]
    place, given = tuple_(*columns), tuple_(*(bindparam(f"key_{each}") for each in key))
    keys = select(*columns, func.coalesce(size, 0).label("size")).order_by(*columns).limit(ROWS)
    # By their number, not up to a key: PostgreSQL took the primary key's index for such a range, and read the whole
    # session for each batch.
    batch = rows.where(place >= given).order_by(*columns).limit(bindparam("count"))
    return _Query(key, keys, keys.where(place > given), batch)


def _raw(dialect: Dialect, table: Any, json: str, times: Sequence[str]) -> list[Any]:
    """A table's columns without what the driver or a column type makes of them."""
    special: dict[str, Any] = {json: type_coerce(table.c[json], Text)} if json else {}
    special |= {name: dialect.checks.time_text(table.c[name]) for name in times}
    special |= {"cost": type_coerce(table.c.cost, BigInteger)} if "cost" in table.c else {}
    return [special[column.name].label(column.name) if column.name in special else column for column in table.c]


def _resource_rows(dialect: Dialect) -> tuple[Select[Any], tuple[str, ...], Any]:
    columns = _raw(dialect, RESOURCES, "aliases", ("created_at", "updated_at"))
    return select(*columns), ("resource_id",), func.length(RESOURCES.c.aliases)


def _length(table: Any, *names: str) -> Any:
    return sum((func.coalesce(func.length(table.c[name]), 0) for name in (*names, "unknown_fields")), literal(0))


def _session_rows(dialect: Dialect) -> tuple[Select[Any], tuple[str, ...], Any]:
    columns = _raw(dialect, SESSIONS, "metadata", ("created_at", "updated_at", "archived_at"))
    named = [RESOURCES.c[name].label(f"workspace_{name}") for name in ("namespace", "kind", "name")]
    joined = SESSIONS.outerjoin(RESOURCES, RESOURCES.c.resource_id == SESSIONS.c.workspace)
    return select(*columns, *named).select_from(joined), ("session_id",), _length(SESSIONS, "metadata")


def _message_rows(dialect: Dialect) -> tuple[Select[Any], tuple[str, ...], Any]:
    columns = _raw(dialect, MESSAGES, "metadata", ("created_at",))
    content = type_coerce(MESSAGES.c.content, Text).label("content")
    query = select(*(content if column.name == "content" else column for column in columns))
    size = _length(MESSAGES, "content", "metadata")
    # The id makes the order total where a sequence is there twice; the index gives the order but for that.
    return query, ("session_id", "sequence", "message_id"), size


def _usage_rows(dialect: Dialect) -> tuple[Select[Any], tuple[str, ...], Any]:
    columns = _raw(dialect, USAGE, "", ("recorded_at",))
    wanted = [column for column in columns if column.name in {*_USAGE, *COUNTS}]
    same = (MESSAGES.c.session_id == USAGE.c.session_id) & (MESSAGES.c.message_id == USAGE.c.message_id)
    # A lookup a row: joined, PostgreSQL without statistics read all messages for each batch.
    known = select(MESSAGES.c.message_id).where(same).correlate(USAGE).limit(1).scalar_subquery()
    query = select(*wanted, known.label("known_message_id"))
    return query, ("session_id", "usage_id"), _length(USAGE)


_USAGE = (
    *("session_id", "usage_id", "message_id", "actor_name", "namespace", "model", "cost", "recorded_at"),
    "unknown_fields",
)

_QUERIES = {
    "resources": _resource_rows,
    "sessions": _session_rows,
    "messages": _message_rows,
    "usage_records": _usage_rows,
}
