"""How a database would run a statement, as its EXPLAIN tells it: what it finds by which index, and what it sorts."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import make_url

from sessionledger.infrastructure.database import SessionModel

_TABLES = [SessionModel.metadata.tables[name] for name in ("resources", "sessions", "session_messages", "token_usage")]
GROWING = frozenset(table.name for table in _TABLES)
"""The tables whose rows grow in number with use; the others have a handful."""

INDEXES = {
    str(index.name): ", ".join(column.name for column in index.columns)
    for table in _TABLES
    for index in (table.primary_key, *table.indexes)
}
"""The columns of each index, by its name."""


@dataclass
class Plan:
    """What a statement does with the tables that grow.

    Attributes:
        text: What the database said.
        searches: The tables whose rows it finds by an index, with the index's columns: `sessions by session_id`.
        scans: The tables that it reads whole, or along a whole index: `sessions along created_at`.
        sorts: The tables whose rows it sorts.
    """

    text: str
    searches: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)
    sorts: set[str] = field(default_factory=set)

    def read(self, table: str, index: str | None, *, found: bool) -> None:
        """Note that a table is read; whether rows of it are found by the index, or all are read in its order."""
        if index is None:
            self.scans.add(table)
        elif found:
            self.searches.add(f"{table} by {INDEXES[index]}")
        else:
            self.scans.add(f"{table} along {INDEXES[index]}")


def explain_sqlite(url: str, statement: str, values: Any) -> Iterator[Plan]:
    """The plan of a statement."""
    with contextlib.closing(sqlite3.connect(make_url(url).database)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    yield _of_sqlite([(parent, line) for _, parent, _, line in rows])


def _of_sqlite(lines: Iterable[tuple[int, str]]) -> Plan:
    lines = list(lines)
    plan = Plan("\n".join(line for _, line in lines))
    for parent, line in lines:
        if line.startswith("USE TEMP B-TREE FOR"):
            beside = " ".join(other for place, other in lines if place == parent)
            plan.sorts |= {table for table in GROWING if re.search(rf"\b{table}\b", beside)}
        elif found := re.match(r"(SEARCH|SCAN) (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line):
            how, table, index = found.groups()
            if table in GROWING:
                name = index and re.sub("^sqlite_autoindex_(.+)_1$", r"pk_\1", index)
                plan.read(table, name, found=how == "SEARCH")
    return plan


def explain_postgresql(url: str, statement: str, values: Any) -> Iterator[Plan]:
    """The plans of a statement: for these values, and for any values, to which a prepared one may change."""
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        told = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values).fetchone()
        yield _of_postgresql(told[0][0]["Plan"])
    with psycopg.connect(url, autocommit=True) as connection:
        told = connection.execute(f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {_numbered(statement)}").fetchone()
        yield _of_postgresql(told[0][0]["Plan"])


def _of_postgresql(top: dict[str, Any]) -> Plan:
    plan = Plan("\n".join(_lines(top)))
    _walk(top, plan)
    return plan


def _walk(node: dict[str, Any], plan: Plan) -> set[str]:
    """Note what a node does; return the tables that grow which it reads, by itself or below it."""
    tables = set().union(*(_walk(child, plan) for child in node.get("Plans", ())))
    kind, table = node["Node Type"], node.get("Relation Name")
    if kind == "Sort":  # an incremental one sorts rows of the same time only, among those that come in order
        plan.sorts |= tables
    elif table in GROWING and kind.endswith("Scan"):
        tables.add(table)
        for each in [each for each in _below(node) if "Index Name" in each] or [node]:
            plan.read(table, each.get("Index Name"), found="Index Cond" in each)
    return tables


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A scan's own nodes: itself, and those that make its bitmap."""
    yield node
    for child in node.get("Plans", ()):
        if child["Node Type"].startswith("Bitmap"):
            yield from _below(child)


def _lines(node: dict[str, Any], depth: int = 0) -> Iterator[str]:
    told = (node.get(name) for name in ("Relation Name", "Index Name", "Index Cond", "Filter", "Sort Key"))
    yield "  " * depth + ", ".join([node["Node Type"], *(str(each) for each in told if each)])
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


def _numbered(statement: str) -> str:
    """A statement of the driver's with the server's own parameters: `$1` for `%(name)s`."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1] or f"place {len(names)}"
        return f"${names.setdefault(name, len(names) + 1)}"

    return re.sub(r"%%|%\((\w+)\)s|%s", number, statement)


EXPLAIN = {"sqlite": explain_sqlite, "postgresql": explain_postgresql}
"""How the databases of a kind tell the plans of a statement."""
