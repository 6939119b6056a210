"""Coverage-guided fuzzing of the archive reader: no crash, and nothing that takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from archives import FORMS, compressed, sealed
from harness import Found, Kind, Missing, control, fault
from mutations import sources

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER.parent / "features" / "archives"
SLOW = 1.0
"""Seconds of the processor that an input may take."""
LONGEST = 65_536
"""The bytes of an input."""


def seeds(folder: Path) -> None:
    """Put archives of all three forms into a folder, the frozen ones among them."""
    for file in GOLDEN.rglob("*"):
        if ".archive" in file.suffixes:
            (folder / f"golden-{file.name}").write_bytes(file.read_bytes())
    for number, lines in enumerate(sources()):
        for form in FORMS:
            (folder / f"{number}.{form}").write_bytes(compressed(sealed(lines), form))


def fuzz(found: Found, seconds: int, bug: str) -> tuple[int, str]:
    """Fuzz for some seconds; the exit code, and the last words where there was a crash.

    Raises:
        Missing: atheris is not installed.
    """
    if find_spec("atheris") is None:
        raise Missing("atheris, which has wheels for CPython 3.11 to 3.13 on Linux")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, report = folder / "corpus", folder / "report.json"
        corpus.mkdir()
        seeds(corpus)
        flags = (f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=1024")
        ended = subprocess.run(
            [sys.executable, FOLDER / "fuzz_reader.py", report, str(SLOW), bug, *flags, corpus],
            cwd=folder,  # where an input that crashes is written to
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 120,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(FOLDER), str(FOLDER.parent / "features")])},
            check=False,
        )
        found |= json.loads(report.read_text()) if report.exists() else {"inputs": 0}
        found |= {"seconds of fuzzing": seconds, "corpus": len(list(corpus.iterdir()))}
        crashes = [each for each in folder.iterdir() if each.name.startswith(("crash-", "timeout-", "oom-", "slow-"))]
        found |= {"crashes": sum(each.name.startswith("crash-") for each in crashes)}
        kept = "" if bug == "planted" else "".join(map(keep, crashes))
    return ended.returncode, kept + ended.stderr[-2000:]


def keep(crash: Path) -> str:
    """Keep an input that crashes, and say where."""
    kept = FOLDER.parent / "build" / crash.name
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(crash.read_bytes())
    return f"{kept.relative_to(FOLDER.parent)}\n"


@fault(
    "coverage-guided fuzzing of the reader (atheris), so many seconds",
    short={"seconds": 6},
    full={"seconds": 1_200},
    databases=("sqlite",),
)
def fuzzed_reader(kind: Kind, found: Found, *, seconds: int) -> None:  # noqa: ARG001
    code, words = fuzz(found, seconds, "none")
    assert code == 0, words
    assert found["refused by a line's rule"], "no input came past the digest"
    assert found["accepted"], "no input was accepted"


@control(
    "a reader with a bug that was planted",
    short={"seconds": 20},
    full={"seconds": 60},
    databases=("sqlite",),
)
def fuzzed_reader_planted(kind: Kind, found: Found, *, seconds: int) -> None:  # noqa: ARG001
    code, words = fuzz(found, seconds, "planted")
    del found["seconds of fuzzing"]
    assert code != 0, "the bug was not found"
    assert found.get("crash"), words
