"""Tables of what was found, for the terminal and for the docs: no figure is typed by hand.

    python benchmarks/report.py

makes `docs/performance/results.md` and its plots again, from the JSON files beside them: `results.json`, and where they
are there `before.json` (another checkout, by `run.py --source`), `peers.json` and `ten_million.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "none": ""}
TITLES = {
    "control": "Controls",
    "W1": "W1: append one",
    "W2": "W2: append a hundred",
    "W3": "W3: read the last 50",
    "W4": "W4: append as the session grows",
    "W5": "W5: list sessions",
    "W6": "W6: many writers at once",
    "W7": "W7: export and import",
    "W8": "W8: start",
}
HEAD = """# Results

<!-- Made by `nox -s benchmark -- --publish`; do not edit. -->

"""
WRITERS = (
    ("database", "---"),
    ("writers", "---"),
    ("÷ floor", "---:"),
    ("quartiles", "---"),
    ("appends/s", "---:"),
    ("p50, p99, worst wait in ms", "---"),
    ("the floor's", "---"),
    ("lost, doubled, gaps, errors", "---"),
    ("the floor's", "---"),
    ("goal", "---"),
    ("", "---"),
)
GOALS = {"ratio": "÷ floor", "p99_ms": "p99", "worst_ms": "worst"}

Found = dict[str, Any]


def tables(found: Found, before: Found | None = None) -> Iterator[str]:
    """The lines of all tables, each under its workload's name."""
    earlier = {_key(each): each for each in (before or {}).get("findings", [])}
    crowds = {_crowd(each): each for each in (before or {}).get("writers", [])}
    for workload, title in TITLES.items():
        findings = [each for each in found.get("findings", []) if each["workload"] == workload]
        writers = [each for each in found.get("writers", []) if each["workload"] == workload]
        memory = [each for each in found.get("memory", []) if each["workload"] == workload]
        if findings or writers or memory:
            yield from ("", f"## {title}", "")
        if findings:
            yield from _findings(findings, earlier)
        if writers:
            yield from _writers(writers, crowds)
        if memory:
            yield from ("", *_memory(memory))


def _key(finding: Found) -> tuple[str, ...]:
    return finding["database"], finding["part"], finding["against"]


def _crowd(crowd: Found) -> tuple[Any, ...]:
    return crowd["database"], crowd["how"], crowd["writers"], crowd["sessions"], tuple(crowd["options"])


def table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown: its head with each column's alignment, and its rows."""
    yield f"| {' | '.join(name for name, _ in head)} |"
    yield f"| {' | '.join(alignment for _, alignment in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _findings(findings: Sequence[Found], earlier: dict[tuple[str, ...], Found]) -> Iterator[str]:
    head = [
        ("database", "---"),
        ("part", "---"),
        ("÷", "---"),
        ("ratio", "---:"),
        ("quartiles", "---"),
        ("CPU", "---:"),
    ]
    head += [("before", "---:")] * bool(earlier) + [("goal", "---"), ("", "---")]
    rows = []
    for each in findings:
        row = [NAMES[each["database"]], each["part"], each["against"], f"{each['ratio']:.2f}"]
        row += [f"{each['low']:.2f} to {each['high']:.2f}", "" if each["cpu"] is None else f"{each['cpu']:.2f}"]
        if earlier:
            was = earlier.get(_key(each))
            row.append(f"{was['ratio']:.2f}" if was else "")
        rows.append([*row, each["goal"], _met(each["met"])])
    return table(head, rows)


def _met(met: bool | None) -> str:
    return {True: "met", False: "**missed**", None: ""}[met]


def _writers(writers: Sequence[Found], earlier: dict[tuple[Any, ...], Found]) -> Iterator[str]:
    head = list(WRITERS)
    if earlier:
        head.insert(4, ("before", "---:"))
    rows = []
    for each in writers:
        ours, floor = each["ours"], each["floor"]
        who = f"{each['writers']} {each['how'] if each['writers'] > 1 else 'process'}, "
        who += "one session" if each["sessions"] == "one" else "a session each"
        who += "".join(f", {option}" for option in each["options"])
        row = [NAMES[each["database"]], who, f"{each['ratio']:.2f}", f"{each['low']:.2f} to {each['high']:.2f}"]
        if earlier:
            was = earlier.get(_crowd(each))
            row.append(f"{was['ratio']:.2f}" if was else "")
        row += [f"{ours['per_second']:,.0f}", _waits(ours), _waits(floor), _left(ours), _left(floor)]
        goals = ", ".join(f"{GOALS[name]} {goal}" for name, goal in each["goals"].items() if name in GOALS)
        rows.append([*row, goals, f"**missed**: {', '.join(each['missed'])}" if each["missed"] else "met"])
    return table(head, rows)


def _waits(side: Found) -> str:
    return ", ".join(f"{side[name]:,.1f}" for name in ("p50_ms", "p99_ms", "worst_ms"))


def _left(side: Found) -> str:
    return ", ".join(f"{side[name]:,}" for name in ("lost", "doubled", "gaps", "errors"))


def _memory(memory: Sequence[Found]) -> Iterator[str]:
    head = [
        ("database", "---"),
        ("memory", "---"),
        ("MiB", "---:"),
        ("floor, MiB", "---:"),
        ("goal", "---"),
        ("", "---"),
    ]
    return table(
        head,
        (
            [
                NAMES[each["database"]],
                each["what"],
                f"{each['ours']:.1f}",
                "" if each["floor"] is None else f"{each['floor']:.1f}",
                each["goal"],
                _met(each["met"]),
            ]
            for each in memory
        ),
    )


def load(folder: Path, name: str) -> Found | None:
    """What a JSON file of the folder holds; `None` where it is not there, which is said."""
    path = folder / name
    if not path.exists():
        print(f"LEFT OUT: {name} is not there")
        return None
    return json.loads(path.read_text())


def publish(folder: Path) -> None:
    """Write the page of tables and the plots, from the JSON files of a folder."""
    import plots

    results, before, many = (load(folder, f"{name}.json") for name in ("results", "before", "ten_million"))
    if results is None:
        raise SystemExit("There are no results; run: nox -s benchmark -- --publish")
    drawn = plots.draw(folder, results, before, load(folder, "peers.json"), many)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    text = f"{HEAD}{results['date']}, {results['system']} with {results['cores']} cores. {versions}.\n"
    text += "".join(f"\n![{title}]({name})\n" for name, title in drawn.items())
    text += "\n".join(tables(results, before)) + "\n"
    if many:
        text += f"\n## W9: {many['messages']:,} messages\n\n" + "\n".join(_findings(many["findings"], {})) + "\n"
    text += "".join(f"\nLeft out: {each}.\n" for each in results["left_out"])
    (folder / "results.md").write_text(text)
    print(f"written: results.md, {', '.join(drawn)}")


if __name__ == "__main__":
    publish(Path(__file__).resolve().parent.parent / "docs" / "performance")
