"""W8: how long a fresh process takes until it has a connected service, against SQLAlchemy with the same driver.

Measured inside the process, from its first line: the interpreter's own start is on both sides, and would only make the
ratio look better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from statistics import median

import fresh
import real_databases
from interleaved import Goal, Part, Took
from transfers import Memory

_BEGIN = "import time; began = time.perf_counter()\nimport sys\n"
_END = (
    "\nseconds = time.perf_counter() - began\nimport json\n"
    + fresh.MEMORY
    + "print(json.dumps([seconds, resident('VmHWM')]))"
)
_OURS = "import sessionledger\nsessions = sessionledger.connect(sys.argv[1])"
_FLOOR = """import sqlalchemy
engine = sqlalchemy.create_engine(sys.argv[1])
with engine.connect() as connection:
    connection.execute(sqlalchemy.text("SELECT 1"))"""
_OURS_AWAITING = """import asyncio, sessionledger
async def main():
    return await sessionledger.connect_async(sys.argv[1])
sessions = asyncio.run(main())"""
_FLOOR_AWAITING = """import asyncio, sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
async def main():
    async with create_async_engine(sys.argv[1]).connect() as connection:
        await connection.execute(sqlalchemy.text("SELECT 1"))
asyncio.run(main())"""
DRIVERS = {"sqlite": ("sqlite", "sqlite+aiosqlite"), "postgresql": ("postgresql+psycopg", "postgresql+psycopg")}


class Starts:
    """Starts of fresh processes on one kind of database, and the memory they took."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._url = real_databases.fresh(kind)
        self._seen: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def parts(self) -> Iterator[Part]:
        """The parts, each on an upgraded database."""
        blocking, awaiting = (f"{driver}:{self._url.partition(':')[2]}" for driver in DRIVERS[self.kind])
        name, against = "a connected service in a fresh process", "SQLAlchemy, the same driver, one SELECT"
        yield self._part(name, _OURS, _FLOOR, Goal(1.1), url=blocking, against=against)
        yield self._part(f"{name}, async", _OURS_AWAITING, _FLOOR_AWAITING, url=awaiting, against=against)
        if self.kind == "sqlite":  # no database is opened
            imports = "import sessionledger", "import sqlalchemy"
            yield self._part("the import alone", *imports, database="none", against=imports[1])

    def memory(self) -> Iterator[Memory]:
        """The most memory of such a process; the median of all rounds."""
        for (database, name), sides in self._seen.items():
            ours, floor = (round(median(sides[side]) / fresh.MIB, 1) for side in ("ours", "floor"))
            yield Memory("W8", database, f"{name}, the whole process", ours, floor, "", None)

    def _part(self, name: str, ours: str, floor: str, goal: Goal | None = None, **where: str) -> Part:
        """A part whose sides are programs, which are given a URL and measure themselves."""
        database, against = where.get("database", self.kind), where["against"]
        acts = [
            partial(self._start, (database, name), side, _BEGIN + program + _END, url)
            for side, program, url in (("ours", ours, self._url), ("floor", floor, where.get("url", "")))
        ]
        return Part("W8", database, name, *acts, goal, 1, against=against)

    def _start(self, key: tuple[str, str], side: str, program: str, url: str) -> Took:
        seconds, most = fresh.run(program, url)
        self._seen[key][side].append(most)
        return Took(seconds)
