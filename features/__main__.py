"""Run every feature on both databases in both modes, two runs at a time: `python features [behave's arguments]`.

Each run leaves its results in `build/features/<database>-<mode>/`, as JUnit and as its output; what ran of the source
is in `build/coverage/`. The runs share one PostgreSQL.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import postgresql

CHECKOUT = Path(__file__).parent.parent
BUILD = CHECKOUT / "build"
AT_ONCE = 2


def run(database: str, mode: str, arguments: list[str]) -> bool:
    """Run behave once and print how it went; say whether every scenario passed."""
    folder = BUILD / "features" / f"{database}-{mode}"
    folder.mkdir(parents=True)
    # The slowest run is not measured: it runs next to nothing of the source that the three others do not.
    measured = [] if (database, mode) == ("postgresql", "async") else ["-m", "coverage", "run"]
    command = [sys.executable, *measured, "-m", "behave"]
    command += ["-D", f"database={database}", "-D", f"mode={mode}"]
    command += ["--format", "progress3", "--no-color", "--junit", "--junit-directory", folder, *arguments]
    environment = os.environ | {"COVERAGE_FILE": str(BUILD / "coverage" / ".coverage")}
    began = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        code = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    told = (folder / "output.txt").read_text(errors="replace")
    left_out = [line for line in told.splitlines() if line.startswith("Left out")]
    counts = results(folder)
    passed = code == 0 and counts["passed"] > 0
    left = sum(map(scenarios, left_out))
    title = f"{database}, {mode}: {counts['passed']} passed, {counts['failed']} failed, {left} left out"
    lines = left_out if passed else [told]
    print("\n".join([*lines, f"{title} ({time.monotonic() - began:.0f} s)"]), flush=True)
    return passed


def scenarios(line: str) -> int:
    """How many scenarios a line says were left out: the number it names, or the one it names."""
    number = re.search(r": (\d+) scenarios \(needs", line)
    return int(number[1]) if number else 1


def results(folder: Path) -> Counter[str]:
    """Count the scenarios of a run by their result; those that were left out have none."""
    counts: Counter[str] = Counter()
    for file in folder.glob("*.xml"):
        for case in ET.parse(file).iter("testcase"):
            counts["passed" if case.get("status") == "passed" else "failed"] += 1
    return counts


def main() -> int:
    shutil.rmtree(BUILD / "features", ignore_errors=True)
    shutil.rmtree(BUILD / "coverage", ignore_errors=True)
    (BUILD / "coverage").mkdir(parents=True)
    with postgresql.running() as url, ThreadPoolExecutor(AT_ONCE) as pool:
        os.environ[postgresql.VARIABLE] = url
        runs = product(["postgresql", "sqlite"], ["sync", "async"])
        passed = list(pool.map(lambda each: run(*each, sys.argv[1:]), runs))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
