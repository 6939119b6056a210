"""What the tables of a database are, held against what this release's migrations make.

The models are those tables (a test compares the two on both databases), so a database is compared with the models, by
what it tells of itself. Other tables in it are the application's, and are not looked at. Names of constraints do not
count, those of indexes do: a migration drops an index by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import CheckConstraint, Connection, Inspector, Table, inspect

from sessionledger.infrastructure.database.tables import METADATA

_WRITTEN_BY_DATABASES = re.compile(r"::[a-z ]+|[()'\"\s]")


class Difference(NamedTuple):
    """One difference.

    Attributes:
        problem: What differs, by the names of tables, columns and indexes.
        unreadable: Whether the rows cannot be read as this release reads them.
    """

    problem: str
    unreadable: bool = False


def drift(connection: Connection) -> list[Difference]:
    """Return how the tables differ from those of this release; nothing is changed."""
    there = inspect(connection)
    names = set(there.get_table_names())
    found: list[Difference] = []
    for table in METADATA.sorted_tables:
        if table.name in names:
            found += _differences(there, table)
        else:
            found.append(Difference(f"the table {table.name} is missing", unreadable=True))
    return found


def _differences(there: Inspector, table: Table) -> Iterator[Difference]:
    yield from _columns(there, table)
    yield from _facts(f"the primary key of {table.name}", _primary_key(there, table))
    yield from _facts(f"a foreign key of {table.name}", _foreign_keys(there, table))
    yield from _facts(f"a check of {table.name}", _checks(there, table))
    yield from _facts(f"a unique constraint of {table.name}", _uniques(there, table))
    expected = {str(index.name): _index(tuple(index.columns.keys()), index.unique) for index in table.indexes}
    found = {
        str(index["name"]): _index(tuple(index.get("expressions", index["column_names"])), index["unique"], index)
        for index in there.get_indexes(table.name)
        if not index.get("duplicates_constraint")
    }
    yield from _named("index", table.name, found, expected)


def _columns(there: Inspector, table: Table) -> Iterator[Difference]:
    """Columns by type, with the collation, by nulls and by default."""
    dialect = there.dialect
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]  # it compiles no statement here
    expected = {
        column.name: (
            column.type.compile(dialect),
            bool(column.nullable),
            _plain(compiler.get_column_default_string(column)),
        )
        for column in table.c
    }
    found = {
        column["name"]: (column["type"].compile(dialect), column["nullable"], _plain(column["default"]))
        for column in there.get_columns(table.name)
    }
    for difference in _named("column", table.name, found, expected):
        yield difference._replace(unreadable=difference.problem.endswith("missing"))


def _named(kind: str, table: str, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[Difference]:
    """Tell what is missing, what is there besides, and what is another one, by name."""
    for name in sorted(expected.keys() - found.keys()):
        yield Difference(f"the {kind} {name} of {table} is missing")
    for name in sorted(found.keys() - expected.keys()):
        yield Difference(f"the {kind} {name} of {table} is none of this release")
    for name in sorted(expected.keys() & found.keys()):
        if found[name] != expected[name]:
            yield Difference(f"the {kind} {name} of {table} is made in another way")


def _facts(what: str, compared: tuple[set[Any], set[Any]]) -> Iterator[Difference]:
    found, expected = compared
    if expected - found:
        yield Difference(f"{what} is missing or another one")
    elif found - expected:
        yield Difference(f"{what} is none of this release")


def _primary_key(there: Inspector, table: Table) -> tuple[set[Any], set[Any]]:
    found = there.get_pk_constraint(table.name)["constrained_columns"]
    return {tuple(found)} if found else set(), {tuple(table.primary_key.columns.keys())}


def _foreign_keys(there: Inspector, table: Table) -> tuple[set[Any], set[Any]]:
    found = {
        (
            tuple(key["constrained_columns"]),
            key["referred_table"],
            tuple(key["referred_columns"]),
            key["options"].get("ondelete"),
        )
        for key in there.get_foreign_keys(table.name)
    }
    expected = {
        (
            tuple(key.column_keys),
            key.referred_table.name,
            tuple(element.column.name for element in key.elements),
            key.ondelete,
        )
        for key in table.foreign_key_constraints
    }
    return found, expected


def _checks(there: Inspector, table: Table) -> tuple[set[Any], set[Any]]:
    found = {_plain(check["sqltext"]) for check in there.get_check_constraints(table.name)}
    return found, {_plain(str(each.sqltext)) for each in table.constraints if isinstance(each, CheckConstraint)}


def _uniques(there: Inspector, table: Table) -> tuple[set[Any], set[Any]]:
    return {tuple(each["column_names"]) for each in there.get_unique_constraints(table.name)}, set()


def _index(columns: tuple[str | None, ...], unique: bool | None, found: Any = None) -> tuple[Any, ...]:
    options = (found or {}).get("dialect_options", {})
    partial = [value for name, value in options.items() if name.endswith("_where")]
    return columns, bool(unique), (found or {}).get("column_sorting", {}), partial


def _plain(rule: str | None) -> str | None:
    """A rule or a default without what a database adds when it writes it down: casts, brackets, quotes, spaces."""
    return None if rule is None else _WRITTEN_BY_DATABASES.sub("", rule).upper()
