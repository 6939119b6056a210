"""What the faults found, for a person and for docs/reliability.md."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def line(result: Result) -> str:
    """One line for a person."""
    if result["missing"]:
        return f"left out: {result['title']} · {result['database']} · needs {result['missing']}"
    verdict = ("as it must" if result["control"] else "ok") if result["passed"] else f"NOT GOOD: {result['error']}"
    kind = "control: " if result["control"] else ""
    return f"{kind}{result['title']} · {result['database']} · {_counts(result)} · {verdict} ({result['seconds']} s)"


_KEEPING = threading.Lock()


def keep(result: Result, file: Path) -> None:
    """Write a result to a file, in place of an older one of the same fault."""
    with _KEEPING:
        kept = json.loads(file.read_text()) if file.exists() else []
        kept = [each for each in kept if (each["name"], each["database"]) != (result["name"], result["database"])]
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([*kept, result], indent=1))


def table(results: list[Result]) -> str:
    """The results as a Markdown table: each fault with the controls whose names begin like its own."""
    lines = ["| fault | database | found | controls found | seconds |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        if result["control"]:
            continue
        controls = [
            f"{each['title']}: {_told(each)}"
            for each in results
            if each["control"] and each["database"] == result["database"] and each["name"].startswith(result["name"])
        ]
        seconds = f"{result['seconds']:.0f}"
        lines.append(
            f"| {result['title']} | {result['database']} | {_told(result)} | {'; '.join(controls)} | {seconds} |"
        )
    return "\n".join(lines)


def _told(result: Result) -> str:
    if result["missing"]:
        return f"left out: needs {result['missing']}"
    return _counts(result) if result["passed"] else f"**not good: {result['error']}**"


def _counts(result: Result) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {f'{value:,}' if isinstance(value, int) else value}"
        for name, value in result["found"].items()
    )
