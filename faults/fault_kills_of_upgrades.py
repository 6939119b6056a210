"""Upgrades that are killed at any statement: after a second run the database is what one run alone makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config

from harness import Found, Kind, control, fault
from points import run_until, sent
from sessionledger.infrastructure.database import schema
from sessionledger.infrastructure.database.revision import REVISIONS, VERSION_TABLE
from tables import (
    STEPS,
    Rows,
    Shape,
    at,
    changed,
    columns,
    concurrent,
    contents,
    copied,
    difference,
    only,
    shape,
    upgraded,
)

HEAD = REVISIONS[-1]
EVERY = (*STEPS, (None, HEAD))
"""Each revision by itself, and the whole chain from nothing."""
ROWS = 3

Upgrade = Callable[[str, str], None]


@dataclass(frozen=True)
class Step:
    """An upgrade that is to be killed.

    Attributes:
        template: A database that is at the revision before it, with rows.
        target: The revision it goes to.
        upgrade: What upgrades.
        statements: What it sends when nobody kills it.
        shape: The schema of a fresh database of the newest revision.
        rows: What the rows of the template are after an unhindered upgrade to it.
    """

    template: str
    target: str
    upgrade: Upgrade
    statements: list[str]
    shape: Shape
    rows: Rows

    def points(self) -> list[tuple[int, str]]:
        """Each point, as the number of a statement and a moment; after one is before the next, but for the last."""
        last = len(self.statements)
        return [(number, moment) for number in range(1, last + 1) for moment in ("before", "during")] + [
            (last, "after")
        ]


def step_of(kind: Kind, before: str | None, target: str, upgrade: Upgrade) -> Step:
    """Upgrade unhindered, once to see what is sent and once as the example."""
    template = at(kind, before, rows=ROWS)
    with copied(kind, template) as url:
        statements = sent(lambda: upgrade(url, target))
    with copied(kind, template) as url:
        upgraded(url)
        rows, found = contents(kind, url), shape(kind, url)
    expected = shape(kind, kind.fresh())
    assert not difference(found, expected), difference(found, expected)
    assert not changed(contents(kind, template), only(rows, columns(template))), "the upgrade changed rows"
    return Step(template, target, upgrade, statements, expected, rows)


def killed(kind: Kind, step: Step, number: int, moment: str) -> tuple[int, str]:
    """Kill an upgrade at a point and run it again; say how the first one ended, and what is wrong after the second."""
    with copied(kind, step.template) as url:
        ended = run_until(lambda: step.upgrade(url, step.target), number, moment)
        try:
            step.upgrade(url, HEAD)
        except Exception as error:  # noqa: BLE001 - the fault judges it
            return ended, f"the second run failed: {error!r}"
        wrong = difference(shape(kind, url), step.shape)
        return ended, wrong or ("" if contents(kind, url) == step.rows else "the rows are not the same")


def kill_at(kind: Kind, found: Found, step: Step, points: list[tuple[int, str]]) -> None:
    """Kill at the points, and count what became of the databases."""
    for number, moment in points:
        ended, wrong = killed(kind, step, number, moment)
        assert ended == -9, f"not killed {moment} statement {number} of {step.target}: it ended with {ended}"
        found["kills"] += 1
        found["stuck"] += wrong.startswith("the second")
        found["wrong"] += wrong != ""
        found["first_wrong"] = found["first_wrong"] or (
            wrong and f"{moment} statement {number} of {step.target} ({step.statements[number - 1]}): {wrong}"
        )


def sample(step: Step, count: int) -> list[tuple[int, str]]:
    """Points that lie evenly apart, and the middle of each concurrent making or dropping of an index."""
    points = step.points()
    making = [point for point in points if point[1] == "during" and concurrent(step.statements[point[0] - 1])]
    return [*points[:: len(points) // count | 1], *making]  # odd, so that both moments are among them


def counted(found: Found) -> None:
    found |= {"statements": 0, "points": 0, "kills": 0, "stuck": 0, "wrong": 0, "first_wrong": ""}


@fault(
    "an upgrade killed at every statement", short={"steps": [(REVISIONS[1], HEAD)], "points": 8}, full={"steps": EVERY}
)
def killed_upgrade(
    kind: Kind, found: Found, *, steps: tuple[tuple[str | None, str], ...], points: int | None = None
) -> None:
    counted(found)
    for before, target in steps:
        step = step_of(kind, before, target, upgraded)
        found["statements"] += len(step.statements)
        found["points"] += len(step.points())
        kill_at(kind, found, step, sample(step, points) if points else step.points())
        assert killed(kind, step, len(step.statements) + 1, "before") == (0, ""), "there are more points"
    first = found.pop("first_wrong")
    assert not found["wrong"], first
    assert found["kills"] == found["points"] or points, "not every point"


@contextmanager
def plain_alembic() -> Iterator[Upgrade]:
    """What upgrades with our revisions and Alembic's own defaults: no lock, and on SQLite no transaction around DDL."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "env.py").write_text(PLAIN_ENVIRONMENT)
        config = Config()
        config.set_main_option("script_location", folder)
        config.set_main_option("version_locations", str(schema.migrations_folder() / "versions"))
        config.set_main_option("path_separator", "newline")

        def upgrade(url: str, target: str) -> None:
            config.attributes["url"] = url
            command.upgrade(config, target)

        yield upgrade


PLAIN_ENVIRONMENT = f"""
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, version_table={VERSION_TABLE!r})
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""


@control(
    "by plain Alembic",
    short={"steps": [(REVISIONS[0], REVISIONS[1])], "points": 8},
    full={"steps": STEPS},
    databases=("sqlite",),
)
def killed_upgrade_plain_alembic(
    kind: Kind, found: Found, *, steps: tuple[tuple[str | None, str], ...], points: int | None = None
) -> None:
    counted(found)
    with plain_alembic() as upgrade:
        for before, target in steps:
            step = step_of(kind, before, target, upgrade)
            found["statements"] += len(step.statements)
            found["points"] += len(step.points())
            kill_at(kind, found, step, sample(step, points) if points else step.points())
    del found["wrong"], found["first_wrong"]
    assert found["stuck"], "every second run reached the newest revision"
