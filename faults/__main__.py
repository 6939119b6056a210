"""Bring every fault about, and see that the promises hold and that each control fails.

    python faults                       the amounts of the default run
    python faults --full                the figures of docs/reliability.md
    python faults --full killed_client  one fault with its controls: every name that begins like this
    python faults --list                which there are
    python faults --report              what the full run found, as the table of docs/reliability.md

Each fault runs in a process of its own. Results are in `build/faults.json`, those of `--full` in
`build/faults-full.json` beside what is there of other faults; the exit code is 0 only if all are good.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER.parent / "build"
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "features")]

import postgresql  # noqa: E402 - the launcher of the features' server
import report  # noqa: E402
from databases import KINDS  # noqa: E402
from harness import FAULTS, Fault, Missing  # noqa: E402

MODULES = sorted(file.stem for file in FOLDER.glob("fault_*.py"))
SHORT, FULL = BUILD / "faults.json", BUILD / "faults-full.json"
AT_ONCE = 2
SECONDS = {False: 600, True: 3600}
"""What a fault may take in short, and in full."""
RUNNING: set[subprocess.Popen[str]] = set()


def one(fault: Fault, database: str, *, full: bool) -> None:
    """Run a fault in this process and print what it found as JSON."""
    found: dict[str, Any] = {}
    error = missing = None
    try:
        with closing(KINDS[database]()) as kind:
            fault.run(kind, found, **(fault.full if full else fault.short))
    except Missing as needed:
        missing = str(needed)
    except Exception as broken:  # noqa: BLE001 - whatever it is, what was counted until then is told
        error = (str(broken).strip() if isinstance(broken, AssertionError) else "") or repr(broken)
        traceback.print_exc()
    print(json.dumps({"found": found, "error": error, "missing": missing}))


def run(fault: Fault, database: str, *, full: bool) -> dict[str, Any]:
    """Run a fault in a process of its own; say what came of it."""
    command = [sys.executable, FOLDER, "--one", fault.name, "--database", database, *(["--full"] if full else [])]
    began = time.monotonic()
    code, out, err = ended(command, SECONDS[full])
    try:
        told = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        told = {"found": {}, "error": f"it ended with {code} and no result", "missing": None}
    passed = told["error"] is None and code == 0
    result = {
        "name": fault.name,
        "title": fault.title,
        "database": database,
        "control": fault.control,
        "passed": passed,
        "seconds": round(time.monotonic() - began, 1),
        **told,
    }
    report.keep(result, FULL if full else SHORT)
    print(report.line(result) + ("" if passed else f"\n{err}"), flush=True)
    return result


def ended(command: list[Any], seconds: float) -> tuple[int, str, str]:
    """How a command ended, and what it said; nothing outlives it, neither its processes nor its temporary files."""
    with tempfile.TemporaryDirectory(prefix="sessionledger-fault-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # a server that drops root's rights has its data in here
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": folder},
        ) as process:
            RUNNING.add(process)
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                end(process)
                out, err = process.communicate()
            RUNNING.discard(process)
    return process.returncode, out, err


def end(process: subprocess.Popen[str]) -> None:
    """Kill a fault with all the processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_all(chosen: list[tuple[Fault, str]], *, full: bool) -> list[dict[str, Any]]:
    """Run faults side by side, and then those that measure time; an interrupt ends those that run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with postgresql.running() as url, ThreadPoolExecutor(AT_ONCE) as pool:
        os.environ[postgresql.VARIABLE] = url
        try:
            beside = [each for each in chosen if not each[0].alone]
            results = list(pool.map(lambda each: run(*each, full=full), beside))
            results += [run(*each, full=full) for each in chosen if each[0].alone]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(RUNNING):
                end(process)
            raise
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the full figures")
    parser.add_argument("--list", action="store_true", help="which faults there are")
    parser.add_argument("--report", action="store_true", help="the last full run as a Markdown table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--database", choices=KINDS, help="only on one kind of database")
    parser.add_argument("names", nargs="*", help="only faults whose names begin like one of these")
    arguments = parser.parse_args()
    for module in MODULES:
        importlib.import_module(module)
    if arguments.report:
        results = {(result["name"], result["database"]): result for result in json.loads(FULL.read_text())}
        places = [(fault.name, database) for fault in FAULTS for database in fault.databases]
        print(report.table([results[place] for place in places if place in results]))
        return 0
    if arguments.one:
        [fault] = [fault for fault in FAULTS if fault.name == arguments.one]
        one(fault, arguments.database, full=arguments.full)
        return 0
    chosen = [
        (fault, database)
        for fault in FAULTS
        if not arguments.names or fault.name.startswith(tuple(arguments.names))
        for database in fault.databases
        if arguments.database in {None, database}
    ]
    if arguments.list:
        print("\n".join(f"{fault.name:40} {database:12} {fault.title}" for fault, database in chosen))
        return 0
    began = time.monotonic()
    if not arguments.full:
        SHORT.unlink(missing_ok=True)
    results = run_all(chosen, full=arguments.full)
    bad = [result for result in results if not result["passed"]]
    left_out = sum(result["missing"] is not None for result in results)
    good = len(results) - len(bad) - left_out
    print(f"{good} good, {len(bad)} not good, {left_out} left out ({time.monotonic() - began:.0f} s)")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())
