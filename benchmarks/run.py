"""How far each part is from the floor: W1 to W8, in interleaved runs, as ratios.

    python benchmarks/run.py [W1 W2 …] [--quick] [--database sqlite|postgresql] [--rounds N] [--json FILE]
    python benchmarks/run.py --source /path/to/another/checkout/src --json docs/performance/before.json
    python benchmarks/run.py --publish

The floor is the same work by hand (`floor.py`), and what is found is the median of the rounds' ratios with its
quartiles (`interleaved.py`). Controls are measured beside it; where one is beyond its bounds the run fails, because
then its ratios mean nothing. What this release cannot do is left out, aloud.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CALLS = ("W1", "W2", "W3", "W4", "W5")
WORKLOADS = (*CALLS, "W6", "W7", "W8")
PUBLISHED = HERE.parent / "docs" / "performance"

Results = dict[str, Any]


def use(source: str | None) -> None:
    """Have this process and its children import sessionledger from a folder of source, and the benchmarks from here."""
    first = [str(Path(source).resolve())] if source else []
    folders = [*first, str(HERE), str(HERE.parent / "features")]
    sys.path[:0] = folders
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])
    found = importlib.import_module("sessionledger").__file__
    if source and not Path(found).is_relative_to(first[0]):
        raise SystemExit(f"sessionledger comes from {found}, not from {source}")


def about(arguments: argparse.Namespace) -> Results:
    """What was measured, with what."""
    import psycopg

    import real_databases
    import sessionledger

    versions = {"sessionledger": sessionledger.__version__, "Python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in ("sqlalchemy", "psycopg")}
    versions["SQLite"] = sqlite3.sqlite_version
    if "postgresql" in arguments.databases:
        with psycopg.connect(real_databases.url_of("postgresql")) as connection:
            versions["PostgreSQL"] = connection.info.parameter_status("server_version") or ""
    return {
        "format": 1,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "quick": arguments.quick,
        "system": platform.system(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def measure_calls(arguments: argparse.Namespace, run: Callable[[Any], Any], closing: ExitStack) -> Results:
    """W1 to W5, all in the same rounds."""
    from calls import FULL, QUICK, Calls
    from interleaved import measure

    sizes = QUICK if arguments.quick else FULL
    parts = [
        part
        for kind in arguments.databases
        for part in Calls(kind, sizes, run, closing).parts(set(arguments.workloads))
    ]
    return {"findings": measure(parts, arguments.rounds or sizes.rounds, run, warm=1 if arguments.quick else 2)}


def measure_writers(arguments: argparse.Namespace, *_: Any) -> Results:
    """W6, after the control of its counting."""
    import writers

    for kind in arguments.databases:
        writers.check_counting(kind)
    print("control: a planted loss, a planted double and a planted gap were found", flush=True)
    group, left_out = writers.groups_commits(), []
    if not group:
        left_out.append("W6 with group_commit=True: this release has no such option")
    counts, rounds, seconds = ((1, 4), 1, 0.2) if arguments.quick else ((1, 8, 32), 5, 2.0)
    crowds = list(writers.crowds(arguments.databases, counts, group=group))
    if arguments.quick:  # each way to write once
        crowds = [crowd for crowd in crowds if crowd.one_session or crowd.how == "processes"]
    found = writers.measure(crowds, arguments.rounds or rounds, seconds)
    return {"writers": list(found), "left_out": left_out}


def measure_transfers(arguments: argparse.Namespace, run: Callable[[Any], Any], closing: ExitStack) -> Results:
    """W7: time and memory."""
    import transfers
    from interleaved import measure

    count, rounds, counts = (1_000, 2, (1_000,)) if arguments.quick else (100_000, 5, (10_000, 100_000))
    parts = [part for kind in arguments.databases for part in transfers.parts(kind, count, closing)]
    findings = measure(parts, arguments.rounds or rounds, run, warm=0)
    memory = [each for kind in arguments.databases for each in transfers.memory(kind, counts)]
    return {"findings": findings, "memory": memory}


def measure_starts(arguments: argparse.Namespace, run: Callable[[Any], Any], *_: Any) -> Results:
    """W8: time and memory."""
    import starts
    from interleaved import measure

    found = [starts.Starts(kind) for kind in arguments.databases]
    parts = [part for each in found for part in each.parts()]
    findings = measure(parts, arguments.rounds or (2 if arguments.quick else 25), run, warm=1)
    return {"findings": findings, "memory": [memory for each in found for memory in each.memory()]}


def measure(arguments: argparse.Namespace) -> Results:
    """Measure what was asked for, and print each table when it is there."""
    import real_databases
    import report

    results: Results = {"findings": [], "writers": [], "memory": [], "left_out": []}
    wanted = set(arguments.workloads)
    try:
        results = about(arguments) | results
        for workloads, work in (
            (CALLS, measure_calls),
            (("W6",), measure_writers),
            (("W7",), measure_transfers),
            (("W8",), measure_starts),
        ):
            if wanted & set(workloads):
                with asyncio.Runner() as runner, ExitStack() as closing:
                    found = work(arguments, runner.run, closing)
                found = {
                    name: [each if isinstance(each, str) else asdict(each) for each in found[name]] for name in found
                }
                print("\n".join(report.tables(found)), flush=True)
                for name, some in found.items():
                    results[name] += some
    finally:
        real_databases.stop()
    return results


def parse(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure each part against the same work by hand, as ratios.")
    parser.add_argument("workloads", nargs="*", metavar="W", help=f"some of {' '.join(WORKLOADS)}; all without")
    parser.add_argument("--quick", action="store_true", help="small data and few rounds: only to see that it runs")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="one kind of database; both without")
    parser.add_argument("--rounds", type=int, help="how many rounds count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found there, for machines")
    parser.add_argument("--source", metavar="FOLDER", help="the src of another checkout, which is measured instead")
    parser.add_argument("--publish", action="store_true", help="write the results, tables and plots of the docs")
    arguments = parser.parse_args(command)
    arguments.workloads = [name.upper() for name in arguments.workloads] or list(WORKLOADS)
    if unknown := set(arguments.workloads) - set(WORKLOADS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; W9 is ten_million.py")
    if arguments.publish and (arguments.quick or arguments.source or set(arguments.workloads) != set(WORKLOADS)):
        parser.error("only a full run of this checkout is published")
    arguments.databases = [arguments.database] if arguments.database else ["sqlite", "postgresql"]
    return arguments


def main() -> None:
    """Measure, print, and write."""
    arguments = parse()
    use(arguments.source)
    results = measure(arguments)
    for each in results["left_out"]:
        print(f"LEFT OUT: {each}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    beyond = [each for each in results["findings"] if each["control"] and not each["met"]]
    for each in beyond:
        found = f"{each['ratio']} (CPU {each['cpu']}), not {each['goal']}"
        print(f"CONTROL FAILED on {each['database']}: {each['part']} is {found}")
    if beyond:
        raise SystemExit("A control is beyond its bounds: the ratios of this run mean nothing.")
    if arguments.publish:
        import report

        PUBLISHED.mkdir(exist_ok=True)
        (PUBLISHED / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        report.publish(PUBLISHED)


if __name__ == "__main__":
    main()
