"""What a piece of work costs in memory and processor time: in a process of its own, that tells it at its end."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent
MIB = 1024 * 1024


class Cost(NamedTuple):
    """What came of a work, and what it cost.

    Attributes:
        outcome: What it says of itself; `died` where it has ended without a word.
        seconds: Of the processor, in user and system mode.
        peak: The most resident memory that it ever had, in bytes.
        idle: The resident memory it had before the work, where it tells that.
    """

    outcome: str
    seconds: float
    peak: int
    idle: int = 0


def resident() -> int:
    """The resident memory of this process now, in bytes."""
    return _status("VmRSS")


def peak() -> int:
    """The most resident memory that this program has had, in bytes.

    Not `ru_maxrss`: that one is inherited from whoever started the program.
    """
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def tell(outcome: str, idle: int = 0) -> None:
    """Say what came of the work and what it has cost."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(Cost(outcome, used.ru_utime + used.ru_stime, peak(), idle)), flush=True)


def cost(*command: Any, address_space: int | None = None, seconds: float = 600) -> Cost:
    """Run one of the works of `works.py` in a new interpreter.

    Args:
        command: Its name and arguments.
        address_space: How many bytes it may have at most, so that the machine lives; then it dies.
        seconds: How long it may take.
    """

    def limit() -> None:
        if address_space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

    path = os.pathsep.join([str(FOLDER), str(FOLDER.parent / "features")])
    ended = subprocess.run(
        [sys.executable, FOLDER / "works.py", *map(str, command)],
        stdout=subprocess.PIPE,
        preexec_fn=limit,
        timeout=seconds,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    told = ended.stdout.splitlines()
    return Cost(*json.loads(told[-1])) if told else Cost("died", seconds, address_space or 0)
