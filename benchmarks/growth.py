"""Cost as it grows: bytes, log, pages, rows, connections and memory, on both databases.

    python benchmarks/growth.py [--quick] [--only PART …] [--appends N] [--json FILE] [--publish]

Counts and sizes are the same on any machine; times are only compared in interleaved runs. The full form appends a
million messages under each of four workloads and fillfactors of `sessions` (`growth_updates.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent / "features"))

import growth_postgresql
import growth_processes
import growth_sqlite
import growth_updates
import postgresql
import real_databases
from interleaved import measure
from report import table

SETTINGS = real_databases.SETTINGS | {"autovacuum": "on", "autovacuum_naptime": "1s"}
PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "performance" / "growth.json"

Found = dict[str, Any]


def postgresql_costs(arguments: argparse.Namespace) -> Found:
    """Bytes, log, pages and rows on PostgreSQL."""
    lengths = growth_postgresql.QUICK_LENGTHS if arguments.quick else growth_postgresql.LENGTHS
    sessions, appends = (200, 200) if arguments.quick else (2_000, 1_000)
    filled = growth_postgresql.Filled(real_databases.fresh("postgresql"), lengths, sessions)
    return {
        "storage": growth_postgresql.storage(filled),
        "touched": [asdict(each) for each in growth_postgresql.touched(filled)],
        "log": [asdict(each) for each in growth_postgresql.log(filled, appends)],
    }


def sqlite_costs(arguments: argparse.Namespace) -> Found:
    """Bytes, log and settings on SQLite."""
    messages, sessions, rounds = (2_000, 20, 2) if arguments.quick else (100_000, 1_000, 25)
    url = real_databases.fresh("sqlite")
    ids = growth_sqlite.fill(url, messages, sessions)
    found: Found = {"storage": growth_sqlite.storage(url, messages)}
    with ExitStack() as closing, asyncio.Runner() as runner:
        parts = list(growth_sqlite.parts(url, ids, closing))
        findings = measure(parts, arguments.rounds or rounds, runner.run, warm=1)
    return found | {
        "log": list(growth_sqlite.log(url, ids, 200)),
        "settings": [asdict(each) for each in findings],
    }


def processes(arguments: argparse.Namespace) -> Found:
    """Connections and memory of a process that serves many callers."""
    callers = (1, 8) if arguments.quick else (1, 8, 32)
    found = [
        asdict(each)
        for kind in real_databases.DATABASES
        for each in growth_processes.processes(kind, real_databases.fresh(kind), callers)
    ]
    return {"processes": found}


def updates(arguments: argparse.Namespace) -> Found:
    """What the appends leave of `sessions`."""
    appends = arguments.appends or (4_000 if arguments.quick else 1_000_000)
    url = real_databases.fresh("postgresql")
    found = growth_updates.updates(url, appends, lambda line: print(line, file=sys.stderr, flush=True))
    return {
        "updates": [asdict(each) for each in found],
        "through_the_service": growth_updates.through_the_service(url, 200 if arguments.quick else 5_000),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Found]] = {
    "postgresql": postgresql_costs,
    "sqlite": sqlite_costs,
    "processes": processes,
    "updates": updates,
}


def rows_of(rows: list[Found]) -> Iterator[str]:
    """A table of values with the same names."""
    yield from table(
        [(name, "---:" if isinstance(value, (int, float)) else "---") for name, value in rows[0].items()],
        ([_told(value) for value in each.values()] for each in rows),
    )


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def show(name: str, part: Found) -> Iterator[str]:
    """Every figure of a part, for the terminal."""
    for what, values in part.items():
        yield from ("", f"## {name}: {what}", "")
        if isinstance(values, list):
            shown = ("part", "ratio", "low", "high", "goal", "met")
            short = what == "settings"
            yield from rows_of([{key: each[key] for key in shown} if short else each for each in values])
        else:
            yield from (f"- {key}: {_told(value)}" for key, value in values.items())


def main() -> int:
    """Measure, print, and write; fail where a control is beyond its bounds."""
    parser = argparse.ArgumentParser(description="Measure what sessions and messages cost as they grow in number.")
    parser.add_argument("--quick", action="store_true", help="small: only to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="only these parts")
    parser.add_argument("--appends", type=int, help="how many appends under each workload and fillfactor")
    parser.add_argument("--rounds", type=int, help="how many rounds of what is measured in time")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.add_argument("--publish", action="store_true", help=f"write it to {PUBLISHED.name} in the documentation")
    arguments = parser.parse_args()
    found: Found = {"format": 1, "date": time.strftime("%Y-%m-%d", time.gmtime()), "quick": arguments.quick}
    found |= {"cores": os.cpu_count(), "parts": {}}
    try:
        with postgresql.Server(settings=SETTINGS) as server:
            os.environ[real_databases.VARIABLE] = server.url
            for name in arguments.only:
                found["parts"][name] = PARTS[name](arguments)
                print(*show(name, found["parts"][name]), sep="\n", flush=True)
    finally:
        real_databases.stop()
    for path in filter(None, (arguments.json, PUBLISHED if arguments.publish else None)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    settings = found["parts"].get("sqlite", {}).get("settings", [])
    return 1 if not arguments.quick and any(each["control"] and not each["met"] for each in settings) else 0


if __name__ == "__main__":
    sys.exit(main())
