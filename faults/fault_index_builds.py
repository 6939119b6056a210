"""Upgrades that are killed while the server makes or drops an index for them, and goes on with it, or dies at it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

import locks
from harness import Client, Found, Kind, control, fault
from points import run_until, sent
from sessionledger.infrastructure.database import schema
from tables import STEPS, at, concurrent, contents, copied, difference, invalid_indexes, shape, upgraded

WAYS = ("goes on", "dies")
ACTIVE = "SELECT pid FROM pg_stat_activity WHERE pid = %s AND state = 'active'"

Run = Callable[[], None]


def kill_in_build(url: str, run: Run) -> int:
    """Kill what runs while the server makes or drops an index for it; give the number of the server's process."""
    client = Client(lambda _: run())
    build = locks.waiting(url, "%INDEX CONCURRENTLY")
    client.kill()
    assert client.wait() == -9, "it ended before it was killed"
    assert locks.told(url, ACTIVE, build), "the server gave up the index"
    return build


def run_again(kind: Kind, url: str, way: str, run: Run, found: Found) -> int:
    """Kill a run in the middle of it beside a writer, run again, let the writer end; how that ended."""
    with psycopg.connect(url) as writer:
        writer.execute("LOCK TABLE sessions, session_messages, token_usage, resources IN ROW EXCLUSIVE MODE")
        build = kill_in_build(url, run)
        found["builds"] += 1
        if way == "dies":
            locks.terminate(url, build)
            found["left_invalid"] += invalid_indexes(kind, url)
        again = Client(lambda _: run())
        if way == "goes on":
            locks.waiting(url, "", beside=build)
        writer.rollback()
        return again.wait()


def builds_of(statements: list[str]) -> list[int]:
    """The numbers of the statements that make or drop an index beside writers."""
    return [number for number, statement in enumerate(statements, start=1) if concurrent(statement)]


def steps_with_builds(url: str) -> list[tuple[str | None, str]]:
    """The revisions that make or drop an index beside writers, by the SQL that they are written out as."""
    return [
        (before, target)
        for before, target in STEPS
        if any(map(concurrent, schema.sql(url, f"{before}:{target}" if before else target).splitlines()))
    ]


@fault(
    "an upgrade killed while the server makes an index",
    short={"builds": 1},
    full={"builds": 100},
    databases=("postgresql",),
)
def killed_index_build(kind: Kind, found: Found, *, builds: int) -> None:
    found |= {"builds": 0, "left_invalid": 0, "failed": 0, "wrong": 0, "first_wrong": ""}
    fresh = kind.fresh()
    expected = shape(kind, fresh)
    steps = steps_with_builds(fresh)
    for before, target in steps:
        template = at(kind, before, rows=3)
        with copied(kind, template) as url:
            numbers = builds_of(sent(lambda url=url, target=target: upgraded(url, target)))
            upgraded(url)
            rows = contents(kind, url)
        for made in range(len(numbers))[:builds]:
            for way in WAYS:
                with copied(kind, template) as url:
                    if made:  # those before it are done
                        run_until(lambda url=url: upgraded(url), numbers[made - 1], "after")
                    found["failed"] += run_again(kind, url, way, lambda url=url: upgraded(url), found) != 0
                    wrong = difference(shape(kind, url), expected)
                    wrong = wrong or ("" if contents(kind, url) == rows else "the rows are not the same")
                    found["wrong"] += wrong != ""
                    found["first_wrong"] = found["first_wrong"] or wrong
    first = found.pop("first_wrong")
    assert found["builds"] >= len(steps) * len(WAYS) > 0, "no revision makes an index beside writers"
    assert found["left_invalid"] == found["builds"] / len(WAYS), "a server that died left a valid index"
    assert not found["failed"], "a second run failed"
    assert not found["wrong"], f"a database is not what one upgrade alone makes of it: {first}"


@control("IF NOT EXISTS", short={}, full={}, databases=("postgresql",))
def killed_index_build_if_not_exists(kind: Kind, found: Found) -> None:
    found |= {"builds": 0, "left_invalid": 0, "failed": 0}
    url = kind.fresh()

    def careless() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_careless ON sessions (actor_name, version)")

    found["failed"] += run_again(kind, url, "dies", careless, found) != 0
    found["invalid_in_the_end"] = invalid_indexes(kind, url)
    assert not found["failed"], "the second run saw the invalid index"
    assert found["invalid_in_the_end"], "the second run made the index"
