"""Run the README's test command and count what came of it.

The last line is `N passed, N failed`: every Behave scenario of every run, every Robot test, every fault with its
controls and every nox session.
The exit code is 0 only if nothing failed and no result is missing.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import venv
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / "build"
RUNS = ("sqlite-sync", "sqlite-async", "postgresql-sync", "postgresql-async")


def nox_command():
    """How to call nox: this Python's, or one installed into a folder of its own."""
    if importlib.util.find_spec("nox"):
        return [sys.executable, "-m", "nox"]
    folder = CHECKOUT / ".venv-ci"
    python = folder / "bin" / "python"
    nox = [python, "-m", "nox"]
    if not python.exists() or subprocess.run([*nox, "--version"], capture_output=True, check=False).returncode:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nox"], check=True)
    return nox


def sessions(report):
    """The result of each nox session."""
    for session in json.loads(report.read_text())["sessions"]:
        yield session["result"] == "success"


def scenarios(folder):
    """The result of each scenario of a Behave run; one that was left out has none."""
    for file in folder.glob("*.xml"):
        for case in ET.parse(file).iter("testcase"):
            if case.get("status") != "skipped":
                yield case.get("status") == "passed"


def tests(output):
    """The result of each Robot test."""
    for status in ET.parse(output).iterfind(".//test/status"):
        if status.get("status") != "SKIP":
            yield status.get("status") == "PASS"


def faults(report):
    """The result of each fault, and of each control."""
    for fault in json.loads(report.read_text()):
        yield fault["passed"]


def main():
    for stale in (BUILD / "features", BUILD / "robot"):
        shutil.rmtree(stale, ignore_errors=True)
    report = BUILD / "nox.json"
    for stale in (report, BUILD / "faults.json"):
        stale.unlink(missing_ok=True)
    BUILD.mkdir(exist_ok=True)
    code = subprocess.run([*nox_command(), "--report", report], cwd=CHECKOUT, check=False).returncode

    sources = {
        "nox": lambda: sessions(report),
        "robot": lambda: tests(BUILD / "robot" / "output.xml"),
        "faults": lambda: faults(BUILD / "faults.json"),
    }
    for run in RUNS:
        sources[f"features {run}"] = lambda run=run: scenarios(BUILD / "features" / run)
    total = Counter()
    for name, read in sources.items():
        try:
            counts = Counter(read())
        except (OSError, ValueError, KeyError, ET.ParseError) as error:
            print(f"{name}: no results ({error})")
            counts = Counter()
        if not counts:
            print(f"{name}: results are missing")
            counts = Counter({False: 1})
        print(f"{name}: {counts[True]} passed, {counts[False]} failed")
        total += counts
    if code and not total[False]:
        print(f"nox ended with {code}")
        total[False] += 1
    print(f"{total[True]} passed, {total[False]} failed", flush=True)
    return 1 if total[False] else 0


if __name__ == "__main__":
    sys.exit(main())
