"""Statements that are called all the time: written with SQLAlchemy, compiled once, run on the driver's own cursor.

Values go to the driver as they are: whoever calls gives what the database keeps (times by `Dialect.time_in`), and reads
tuples in the order of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable

from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection


class Statement:
    """One statement, for each kind of database.

    Args:
        build: Gives the statement for a dialect; every value in it is a `bindparam` with a name.
    """

    def __init__(self, build: Callable[[Dialect], Executable]) -> None:
        self._build = build
        self._compiled: dict[type, tuple[str, Sequence[str] | None, dict[str, Any]]] = {}

    def rows(self, held: HeldConnection, values: Mapping[str, Any]) -> list[Any]:
        """Run it with these values, and return its rows as tuples."""
        text, names, constants = self._text(held)
        if constants:
            values = {**constants, **values}
        return held.rows(text, values if names is None else [values[name] for name in names])

    def each(self, held: HeldConnection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for each of these values, and return how many rows were changed."""
        text, names, _ = self._text(held)
        every = list(rows) if names is None else [[row[name] for name in names] for row in rows]
        return held.each(text, every)

    def _text(self, held: HeldConnection) -> tuple[str, Sequence[str] | None, dict[str, Any]]:
        """The SQL; the order of its parameters, or `None` where the driver takes them by name; values of its own."""
        kind = type(held.dialect)
        if kind not in self._compiled:
            statement: Any = self._build(dialect_of(held))
            compiled = statement.compile(dialect=held.dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            self._compiled[kind] = compiled.string, compiled.positiontup, constants
        return self._compiled[kind]
