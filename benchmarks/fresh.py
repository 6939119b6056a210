"""Work in a new interpreter: what it costs to start, and how much memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

MIB = 1024

MEMORY = """
def resident(name):
    # Not ru_maxrss: that one is inherited from whoever started the program.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))
"""
"""How a program learns its memory in KiB: `VmRSS`, what it has now, and `VmHWM`, the most it ever had."""


def run(program: str, *arguments: str) -> Any:
    """Run a program in a new interpreter and return what it prints, which is JSON.

    It may keep compiled modules, so that from the second run on each one is compiled, as `pip install` leaves it. Where
    `PYTHONDONTWRITEBYTECODE` is set, a checkout would be compiled anew in each run, beside an SQLAlchemy that is not: a
    start took a fifth longer so (measured).

    Raises:
        RuntimeError: It failed; its own words are in the error.
    """
    command = [sys.executable, "-c", program, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"a program that is measured failed: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout)
