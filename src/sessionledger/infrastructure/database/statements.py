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
        self._compiled: dict[type, tuple[str, Sequence[str], bool, dict[str, Any]]] = {}

    def rows(self, held: HeldConnection, values: Mapping[str, Any]) -> list[Any]:
        """Run it with these values, and return its rows as tuples."""
        text, names, by_name, constants = self._text(held)
        if constants:
            values = {**constants, **values}
        return held.rows(text, values if by_name else [values[name] for name in names])

    def each(self, held: HeldConnection, rows: Sequence[Sequence[Any]]) -> int:
        """Run it once for each row, with values in the order of its parameters; return how many rows were changed."""
        text, names, by_name, _ = self._text(held)
        return held.each(text, [dict(zip(names, row, strict=True)) for row in rows] if by_name else list(rows))

    def _text(self, held: HeldConnection) -> tuple[str, Sequence[str], bool, dict[str, Any]]:
        """The SQL; the names of its parameters in order; whether the driver takes them by name; values of its own."""
        kind = type(held.dialect)
        if kind not in self._compiled:
            statement: Any = self._build(dialect_of(held))
            compiled = statement.compile(dialect=held.dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            names = compiled.positiontup or list(compiled.params)
            self._compiled[kind] = compiled.string, names, compiled.positiontup is None, constants
        return self._compiled[kind]
