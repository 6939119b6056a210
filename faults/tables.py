"""The tables past the library: what the database's own catalogue says, every row, rows to plant, and copies."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    TableClause,
    column,
    create_engine,
    insert,
    inspect,
    make_url,
    table,
    update,
)

import locks
from databases import SQLite
from harness import Kind
from sessionledger.infrastructure.database import Database, schema
from sessionledger.infrastructure.database.revision import REVISIONS, VERSION_TABLE

Rows = dict[str, list[dict[str, Any]]]
Shape = list[tuple[Any, ...]]

STEPS = tuple(zip((None, *REVISIONS), REVISIONS, strict=False))
"""Every revision with the one before it."""

# All there is in a database but its rows, as its own catalogue tells it.
_SHAPES = {
    "sqlite": (
        "SELECT type, name, tbl_name, sql FROM sqlite_master",
        "PRAGMA journal_mode",
        "PRAGMA integrity_check",
        "PRAGMA foreign_key_check",
    ),
    "postgresql": (
        "SELECT relname, relkind, relpersistence, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        """
        SELECT attrelid::regclass::text AS belongs_to, attname,
               row_number() OVER (PARTITION BY attrelid ORDER BY attnum) AS place,
               format_type(atttypid, atttypmod), attnotnull,
               pg_get_expr(adbin, adrelid) AS default_value, attcollation::regcollation::text AS sorted_as
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        """,
        """
        SELECT conrelid::regclass::text AS belongs_to, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        """,
        """
        SELECT pg_get_indexdef(indexrelid), indisvalid, indisready, indislive, indisunique
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
        """,
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    ),
}


def shape(kind: Kind, url: str) -> Shape:
    """The tables, columns, types, defaults, constraints and indexes with their validity, and the revision."""
    with kind.asked(url) as ask:
        found = [tuple(row.values()) for query in _SHAPES[kind.name] for row in ask(query)]
        if VERSION_TABLE in {row["name"] for row in ask(kind.tables)}:
            found += [("revision", row["version_num"]) for row in ask(f"SELECT * FROM {VERSION_TABLE}")]
    return sorted(found, key=repr)


def difference(found: Shape, expected: Shape) -> str:
    """What is not as expected, in words; empty where all is."""
    missing = [fact for fact in expected if fact not in found]
    extra = [fact for fact in found if fact not in expected]
    return f"missing {missing}, not expected {extra}" if found != expected else ""


def invalid_indexes(kind: Kind, url: str) -> int:
    """How many indexes the database does not use, because their making was cut short."""
    return 0 if isinstance(kind, SQLite) else len(locks.invalid_indexes(url))  # SQLite knows no such state


def concurrent(statement: str) -> bool:
    """Whether a statement makes or drops an index while others write."""
    makes = "CREATE INDEX CONCURRENTLY", "CREATE UNIQUE INDEX CONCURRENTLY"
    return statement.lstrip().startswith((*makes, "DROP INDEX CONCURRENTLY"))


def contents(kind: Kind, url: str) -> Rows:
    """Every row of every table of ours, in an order that depends on nothing but the rows."""
    with kind.asked(url) as ask:
        names = sorted({row["name"] for row in ask(kind.tables)} - {VERSION_TABLE})
        tables = {name: ask(f"SELECT * FROM {name}") for name in names}
    return {name: sorted((dict(sorted(row.items())) for row in rows), key=repr) for name, rows in tables.items()}


def only(rows: Rows, columns: dict[str, set[str]]) -> Rows:
    """Rows without the tables and columns that are not asked for."""
    return {
        table: sorted(({name: row[name] for name in row if name in columns[table]} for row in found), key=repr)
        for table, found in rows.items()
        if table in columns
    }


def changed(before: Rows, after: Rows) -> int:
    """How many rows are missing, or no longer what they were, value by value."""
    return sum(
        len({repr(row) for row in found} - {repr(row) for row in after.get(table, [])})
        for table, found in before.items()
    )


def columns(url: str) -> dict[str, set[str]]:
    """The columns of every table of ours."""
    with _past(url) as connection:
        return _columns(connection)


def _columns(connection: Connection) -> dict[str, set[str]]:
    found = inspect(connection).get_multi_columns()
    return {name: {column["name"] for column in each} for (_, name), each in found.items() if name != VERSION_TABLE}


@contextmanager
def _past(url: str) -> Iterator[Connection]:
    """A transaction past the library."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def upgraded(url: str, target: str = "head") -> None:
    """Upgrade a database, unhindered."""
    with closing(Database(url)) as database:
        schema.upgrade(database, target)


def current(url: str) -> str | None:
    """The revision of a database."""
    with closing(Database(url)) as database:
        return schema.current(database)


@contextmanager
def copied(kind: Kind, url: str) -> Iterator[str]:
    """A copy of a database that nobody has open, for as long as it is needed."""
    if isinstance(kind, SQLite):
        copy = kind.empty()
        shutil.copyfile(kind.path(url), kind.path(copy))
    else:
        copy = kind.empty(make_url(url).database)
    try:
        yield copy
    finally:
        kind.drop(copy)


def at(kind: Kind, revision: str | None, *, rows: int = 0, tokens: int = 5) -> str:
    """A new database at a revision; with rows, they are stored in each table of the first revision that has it.

    Args:
        kind: The kind of database.
        revision: The revision; `None` for an empty database.
        rows: How many rows in each table.
        tokens: What each session has cost before there was a ledger of it.
    """
    url = kind.empty()
    if revision is not None:
        upgraded(url, revision)
        if rows:
            plant(url, TABLES, range(rows), tokens)
    return url


# Rows. Every session has one message, one record of usage and a workspace of its own.

TABLES = ("resources", "sessions", "session_messages", "token_usage")
EARLY, LATE = datetime(2026, 3, 1, 9, 30, 0, 123456, UTC), datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def id_of(letter: str, number: int) -> str:
    """The id of the row of a number in the table of a letter."""
    return f"01HZX3V9QK2M4N5{letter}{number:010d}"


def row(name: str, number: int, tokens: int) -> dict[str, object]:
    """A row with every column that a release may write; a revision takes those it knows."""
    content = f'"Where is parcel {number}? 📦"'
    counts = {"input_tokens": tokens, "output_tokens": tokens, "cached_input_tokens": 1, "cache_write_tokens": 2}
    counts |= {"reasoning_tokens": 3, "cost": 4_000_000_000}
    session = {"session_id": id_of("S", number), "namespace": "default", "actor_name": f"bot {number % 7}"}
    return {
        "resources": {
            "resource_id": id_of("R", number),
            "namespace": "default",
            "kind": "workspace",
            "name": f"office {number}",
            "aliases": '["depot"]',
            "created_at": EARLY,
            "updated_at": LATE,
        },
        "sessions": session
        | {"metadata": f'{{"n":{number}}}', "last_sequence": 1, "created_at": EARLY, "updated_at": LATE}
        | {"title": f"Parcel {number}", "key": f"case {number}", "workspace": id_of("R", number)}
        | {"version": 1 + number % 3, "archived_at": LATE if number % 2 else None}
        | {"source_session_id": id_of("A", number), "source_sha256": f"{number:064x}", "unknown_fields": '{"b":1}'}
        | counts,
        "session_messages": {
            "message_id": id_of("M", number),
            "session_id": id_of("S", number),
            "sequence": 1,
            "role": "user",
            "content": content,
            "tool_call_id": f"call_{number}",
            "metadata": '{"a":1}',
            "created_at": EARLY,
            "format": "acme.chat",
            "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "unknown_fields": '{"c":1}',
        },
        "token_usage": session
        | {"usage_id": id_of("T", number), "message_id": id_of("M", number), "model": "small", "recorded_at": LATE}
        | counts
        | {"imported": False, "unknown_fields": '{"d":1}'},
    }[name]


def _table(name: str, names: Iterable[str]) -> TableClause:
    return table(name, *(column(each, DateTime(timezone=True) if each.endswith("_at") else None) for each in names))


def change(url: str, name: str, number: int, **values: object) -> None:
    """Change a row, past the library."""
    key, value = next(iter(row(name, number, 0).items()))
    with _past(url) as connection:
        found = _table(name, [key, *values])
        done = connection.execute(update(found).where(found.c[key] == value).values(values))
        assert done.rowcount == 1, f"{name} has no row {number}"


def plant(url: str, names: Iterable[str], numbers: Iterable[int], tokens: int = 5) -> None:
    """Store rows in those tables that there are, past the library, with every column they have."""
    with _past(url) as connection:
        there = _columns(connection)
        for name in (name for name in names if name in there):
            known = row(name, 0, tokens)
            unknown = there[name] - known.keys()
            assert not unknown, f"{name}: no values are known for {unknown}; write them into tables.row"
            rows = [row(name, number, tokens) for number in numbers]
            kept = [{each: values[each] for each in there[name]} for values in rows]
            connection.execute(insert(_table(name, there[name])), kept)
