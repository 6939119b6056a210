"""Many deploys start the upgrade of one new database at the same moment: all succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Connection

from harness import Found, Kind, control, fault, together
from sessionledger.infrastructure.database import Database, schema
from tables import difference, invalid_indexes, shape

FULL = {"rounds": 50, "processes": 10}


def upgrade(url: str, ready: Callable[[], Any]) -> str:
    """Upgrade when all are connected; return what went wrong, in words, or nothing."""
    try:
        with closing(Database(url)) as database:
            try:
                schema.current(database)
            finally:
                ready()
            schema.upgrade(database)
            database.verify()
    except Exception as error:  # noqa: BLE001 - the parent judges it
        return repr(error) or "an error without words"
    return ""


def upgrades_at_once(kind: Kind, found: Found, *, rounds: int, processes: int) -> None:
    """Count how many upgrades succeed, and in what state they leave the databases."""
    expected = shape(kind, kind.fresh())
    found |= {"upgrades": 0, "failed": 0, "databases_wrong": 0, "invalid_indexes": 0}
    for _ in range(rounds):
        url = kind.empty()
        answers = together([lambda ready, url=url: upgrade(url, ready)] * processes)
        found["upgrades"] += len(answers)
        found["failed"] += sum(answer != "" for answer in answers)
        found["databases_wrong"] += difference(shape(kind, url), expected) != ""
        found["invalid_indexes"] += invalid_indexes(kind, url)
        kind.drop(url)
        found["first_failure"] = found.get("first_failure") or next(filter(None, answers), None)


@fault("ten upgrades of a new database at once", short={"rounds": 2, "processes": 10}, full=FULL)
def upgrades_together(kind: Kind, found: Found, *, rounds: int, processes: int) -> None:
    upgrades_at_once(kind, found, rounds=rounds, processes=processes)
    failure = found.pop("first_failure")
    assert found["upgrades"] == rounds * processes
    assert not found["failed"], f"an upgrade failed: {failure}"
    assert not found["databases_wrong"], "a database is not what one upgrade alone makes"
    assert not found["invalid_indexes"], "an index is invalid"


@contextmanager
def unlocked(connection: Connection) -> Iterator[None]:
    """What plain Alembic does: nothing but a commit."""
    yield
    connection.commit()


@control(
    "without the lock",
    short={"rounds": 2, "processes": 10, "share": 0.1},
    full={"rounds": 10, "processes": 10, "share": 0.5},
)
def upgrades_together_unlocked(kind: Kind, found: Found, *, rounds: int, processes: int, share: float) -> None:
    with mock.patch.object(schema, "locked", unlocked):
        upgrades_at_once(kind, found, rounds=rounds, processes=processes)
    found.pop("first_failure")
    assert found["failed"] > found["upgrades"] * share, "too many upgrades succeed without the lock"
