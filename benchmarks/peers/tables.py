"""What is printed and published: one table for each workload, and sentences."""

from __future__ import annotations

import json
import platform
import sqlite3
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from measuring import FULL, Amounts, Findings, parts
from roster import AGAIN, CONTROL, ENTRIES, FLOOR, HERE, OURS

PUBLISHED = HERE.parent.parent / "docs" / "performance" / "peers.json"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
TITLES = {
    "W1": "Append one message",
    "W2": "Append 100 messages in one call",
    "W3": "Read the last 50 messages",
    "W4": "Append one message as the session grows",
    "W5": "List 50 sessions",
    "W6": "Writers on one session",
}
OWN = (FLOOR, AGAIN, CONTROL)
HEAD = """# Other stores of conversations

<!-- Made by `nox -s peers -- --publish`; do not edit. -->

Each in a process and an environment of its own, used through its public calls, in one run of short blocks in random
order. The floor is hand-written SQL with the same durability; what is shown is the median of the rounds' ratios to it,
with quartiles.
"""
UNSAID = "no reason is written in its adapter yet"

Report = dict[str, Any]


def document(measured: list[tuple[Findings, dict[str, Any]]], amounts: Amounts, wrong: list[str]) -> Report:
    """Everything that was found, as it is published. There are no absolute times: they are the machine's."""
    report: Report = {
        "date": datetime.now(UTC).date().isoformat(),
        "quick": amounts.sessions < FULL.sessions,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "amounts": {"rounds": amounts.rounds, "writer_rounds": amounts.writer_rounds, "sessions": amounts.sessions},
        "failed": wrong,
        "peers": {},
        "ratios": [],
        "writers": [],
        "missing": [],
        "faster": [],
    }
    for findings, facts in measured:
        _add(report, findings, facts, amounts)
    return report


def _add(report: Report, findings: Findings, facts: dict[str, Any], amounts: Amounts) -> None:
    """Add what was found on one database."""
    database = findings.database
    for entry in (entry for entry in ENTRIES if entry.name in facts):
        name, known = entry.name, facts[entry.name]
        peer = report["peers"].setdefault(name, {"title": entry.title, "durability": {}})
        peer |= {"versions": known["versions"], "notes": known["notes"]}
        peer["durability"][database] = known["durability"]
        for part in parts(amounts):
            place = {"database": database, "peer": name, "workload": part.workload, "case": part.case}
            to_floor = findings.ratio("medians", part.title, name)
            to_ours = findings.ratio("medians", part.title, name, OURS)
            if to_floor:
                report["ratios"].append(place | to_floor | {"to_ours": to_ours and to_ours["ratio"]})
            if to_ours and to_ours["ratio"] < 1 and name not in OWN and OURS not in name:
                why = known["faster"].get(part.workload, UNSAID)
                report["faster"].append(place | {"to_ours": to_ours["ratio"], "why": why})
            if not to_floor and (part.workload, name) not in findings.missing:
                report["missing"].append(place | {"why": findings.missing.get((part.title, name), "not measured")})
        for workload, why in known["missing"].items():
            place = {"database": database, "peer": name, "workload": workload, "case": "in all cases"}
            report["missing"].append(place | {"why": why})
        for writers in amounts.writers:
            if (writers, name) in findings.counts:
                counted = findings.counts[writers, name]
                place = {"database": database, "peer": name, "writers": writers}
                rate = findings.ratio("rates", writers, name) or {}
                ours = findings.ratio("rates", writers, name, OURS)
                report["writers"].append(place | rate | vars(counted) | {"to_ours": ours and ours["ratio"]})


def print_tables(report: Report) -> None:
    """Print a table for each workload, and what must be said beside them."""
    kind = "quick, small data, only to see that it runs, " if report["quick"] else ""
    how = f"{report['date']}, {kind}{report['amounts']['rounds']} rounds"
    print(f"Measured {how}: Python {report['python']}, SQLite {report['sqlite']}.\n")
    for workload, title in TITLES.items():
        print(f"## {workload}: {title}\n")
        for database in NAMES:
            if workload == "W6":
                _print_writers(report, database)
            else:
                _print_ratios(report, workload, database)
    _print_sentences(report)


def _print_ratios(report: Report, workload: str, database: str) -> None:
    """One workload on one database: a row for each peer, a column for each case."""
    found = [each for each in report["ratios"] if (each["workload"], each["database"]) == (workload, database)]
    if not found:
        return
    cases = list(dict.fromkeys(each["case"] for each in found))
    cells = {(each["peer"], each["case"]): each for each in found}
    last = cases[-1]
    print(f"{NAMES[database]}, p50 ÷ floor, quartiles in brackets\n")
    print(f"| | {' | '.join(cases)} |\n| --- | {' | '.join(['---'] * len(cases))} |")
    peers = {peer for peer, _ in cells}
    for name in sorted(peers, key=lambda name: cells.get((name, last), {"ratio": 1e9})["ratio"]):
        row = [_cell(cells.get((name, case))) for case in cases]
        print(f"| {_title(report, name)} | {' | '.join(row)} |")
    print()


def _title(report: Report, name: str) -> str:
    """A peer's name in a table; ours stands out."""
    title = str(report["peers"][name]["title"])
    return f"**{title}**" if OURS in name else title


def _cell(found: dict[str, Any] | None) -> str:
    return f"{_number(found['ratio'])} ({_number(found['low'])} to {_number(found['high'])})" if found else "-"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _print_writers(report: Report, database: str) -> None:
    """What became of the messages, for each number of writers."""
    found = [each for each in report["writers"] if each["database"] == database]
    for writers in dict.fromkeys(each["writers"] for each in found):
        print(f"{NAMES[database]}, {writers} processes append to one session\n")
        print("| | per s ÷ floor | acknowledged | lost | read twice | places doubled | out of order | refused |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
        rows = [each for each in found if each["writers"] == writers]
        for each in sorted(rows, key=lambda each: -each.get("ratio", 0)):
            refused = ", ".join(f"{count:,} {name}" for name, count in each["refused"].items()) or "0"
            names = ("acknowledged", "lost", "doubled", "doubled_places", "out_of_order")
            counts = " | ".join(f"{each[name]:,}" for name in names)
            cell = _cell(each if "ratio" in each else None)
            kept = f" ({each['kept']:,} of them stored)" if each["kept"] else ""
            print(f"| {_title(report, each['peer'])} | {cell} | {counts} | {refused}{kept} |")
        print()


def _print_sentences(report: Report) -> None:
    """What was measured with what; what does not apply; who is faster and why."""
    print("## What was measured\n")
    for name, peer in report["peers"].items():
        versions = ", ".join(f"{package} {version}" for package, version in peer["versions"].items())
        durability = "; ".join(f"{NAMES[database]}: {text}" for database, text in peer["durability"].items())
        print(
            f"- {peer['title']} ({name}). {versions or 'no package'}. {durability}. {' '.join(peer['notes'])}".rstrip()
        )
    print("\n## What does not apply, or was not measured\n")
    _print_grouped(report, report["missing"], lambda each: each["why"])
    print("\n## Who is faster than sessionledger, and why\n")
    _print_grouped(report, report["faster"], lambda each: each["why"], lambda each: f" at {each['to_ours']:.2f}")


def _print_grouped(report: Report, found: list[dict[str, Any]], why: Any, more: Any = lambda _: "") -> None:
    """One line for each peer and reason, with the cases behind it."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for each in found:
        case = f"{NAMES[each['database']]} {each['workload']} {each['case']}{more(each)}"
        grouped.setdefault((each["peer"], why(each)), []).append(case)
    for (name, reason), cases in grouped.items():
        print(f"- {report['peers'][name]['title']}: {'; '.join(cases)}: {reason}.")
    if not grouped:
        print("- Nothing.")


def write(file: Path, report: Report) -> None:
    """Write the figures for machines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def publish(report: Report) -> None:
    """Write the figures, and the page of the docs that shows them."""
    write(PUBLISHED, report)
    page = StringIO()
    with redirect_stdout(page):
        print(HEAD)
        print_tables(report)
    PUBLISHED.with_suffix(".md").write_text(page.getvalue())
