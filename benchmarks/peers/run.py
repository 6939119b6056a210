"""sessionledger, the hand-written floor and other stores of conversations, side by side in one run.

    python benchmarks/peers/run.py [--quick] [--peers agno,langgraph] [--databases sqlite] [--publish]

Each peer runs in a process and an environment of its own (roster.py, made under build/peers the first time) and is used
through its public calls (adapter_*.py). All are measured in short blocks in random order; a round's ratio is the
quotient of two medians of the same round, and what is printed is the median of the rounds' ratios with its quartiles.
PostgreSQL forces every commit to the disk; on SQLite each peer has the journal that it chooses. W6 counts what became
of the messages whose writers were told that they are stored. The floor against itself must give 1.0, and the counting
must find what a careless program doubles: else the exit code is not 0, as when a peer cannot be installed, started or
measured to the end.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "features")]
from judge import controls
from measuring import FULL, QUICK, Amounts, Findings, Remote, Run, Stopped, say
from roster import AGAIN, ALWAYS, BUILD, CONTROL, ENTRIES, FLOOR, Entry, NotInstalled, python_of

import postgresql
import real_databases
from tables import document, print_tables, publish, write

WITHIN = 0.15  # how far the floor against itself may be from 1.0


class Targets:
    """A place of its own for each peer: a database of one server, or a file or folder."""

    def __init__(self, database: str, folder: Path, server: postgresql.Server | None) -> None:
        self.database, self._folder, self._server = database, folder, server

    def of(self, entry: Entry) -> str:
        """Where a peer's data are; it is empty when it is asked for."""
        name = entry.name.replace("-", "_")
        if self._server is not None:
            with psycopg.connect(self._server.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            return self._server.url_of(name)
        place = self._folder / name
        if entry.family == "strands":
            place.mkdir()
        return str(place)

    def settle(self, target: str) -> str:
        """Let the database look at what was loaded; return what journal there is, in words."""
        if self._server is not None:
            with psycopg.connect(target, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")
                release = connection.info.parameter_status("server_version")
            return f"release {release}, fsync=on, synchronous_commit=on"
        if Path(target).is_dir():
            return "files, never forced to the disk"
        with closing(sqlite3.connect(target)) as connection:
            journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return f"journal_mode={journal}"


@contextmanager
def targets(database: str) -> Iterator[Targets]:
    """A durable database that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sessionledger-peers-") as folder:
        if database == "sqlite":
            yield Targets(database, Path(folder), None)
        else:
            with postgresql.Server(settings=real_databases.SETTINGS) as server:
                yield Targets(database, Path(folder), server)


def measure(database: str, entries: list[Entry], amounts: Amounts) -> tuple[Findings, dict[str, Any]]:
    """Measure all entries on one database; what cannot be started is named and left out."""
    remotes: list[Remote] = []
    logs = BUILD / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    broken = []
    with targets(database) as places:
        try:
            for entry in (entry for entry in entries if database in entry.databases):
                say(f"{database}: starting {entry.name}")
                try:
                    log = logs / f"{entry.name}-{database}.log"
                    log.unlink(missing_ok=True)
                    remotes.append(Remote(entry, python_of(entry.family), places.of(entry), log))
                except (NotInstalled, Stopped, TimeoutError) as reason:
                    if entry.name in ALWAYS:  # nothing can be compared without it
                        raise SystemExit(f"FAILED: {database}, {entry.name}: {reason or 'it did not start'}") from None
                    broken.append(f"{database}, {entry.name}, everything: {reason or 'it did not start in time'}")
                    say(f"NOT MEASURED: {broken[-1]}")
            run = Run(database, remotes, amounts)
            run.findings.broken += broken
            run.prepare()
            facts = {each.entry.name: each.facts | {"durability": places.settle(each.target)} for each in remotes}
            run.measure()
            run.write()
        finally:
            for remote in remotes:
                remote.stop()
    return run.findings, facts


def failures(findings: Findings, amounts: Amounts) -> list[str]:
    """What makes the figures worthless, or is missing among them."""
    found = [f"not measured: {each}" for each in findings.broken]
    itself = findings.ratio("medians", "W1 one message", AGAIN)
    if itself is None or (amounts.rounds >= FULL.rounds and abs(itself["ratio"] - 1) > WITHIN):
        found.append(f"{findings.database}: the floor against itself gives {itself}, not 1.0")
    for writers in amounts.writers:
        by_floor, careless = (findings.counts.get((writers, name)) for name in (FLOOR, CONTROL))
        if by_floor is None or by_floor.lost or by_floor.doubled or by_floor.doubled_places or by_floor.out_of_order:
            found.append(f"{findings.database}: {writers} writers: the floor's own counts are not clean: {by_floor}")
        if careless is not None and not careless.doubled_places:
            found.append(f"{findings.database}: {writers} writers: nothing doubled is found in the careless control")
    return found


def main() -> int:
    """Measure, print, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small data and few rounds: only to see that it runs")
    parser.add_argument("--peers", help="only these, by name, with commas between them; the floor and we stand always")
    parser.add_argument("--databases", default="sqlite,postgresql", help="sqlite, postgresql or both")
    parser.add_argument("--publish", action="store_true", help="write docs/performance/peers.json and .md")
    parser.add_argument("--rounds", type=int, help="how many rounds, in place of the usual number")
    arguments = parser.parse_args()
    amounts = QUICK if arguments.quick else FULL
    if arguments.rounds:
        fewer = min(arguments.rounds, amounts.writer_rounds)
        amounts = replace(amounts, rounds=arguments.rounds, writer_rounds=fewer)
    names = {entry.name for entry in ENTRIES}
    chosen = set(arguments.peers.split(",")) if arguments.peers else names
    if unknown := chosen - names:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    entries = [entry for entry in ENTRIES if entry.name in chosen or entry.name in ALWAYS]
    wrong = controls()
    measured = []
    for database in arguments.databases.split(","):
        findings, facts = measure(database, entries, amounts)
        measured.append((findings, facts))
        wrong += failures(findings, amounts)
        write(BUILD / "report.json", document(measured, amounts, wrong))  # what is there if the rest is cut short
    report = document(measured, amounts, wrong)
    print_tables(report)
    if arguments.publish:
        publish(report)
    for each in wrong:
        print(f"FAILED: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
