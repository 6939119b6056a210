"""The plots of the docs, as SVG that stays the same as long as its figures do, on a light and on a dark page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

GREY, FAINT = "#808080", "#80808040"
BLUE, GREEN, RED, ORANGE = "#3b8ad8", "#3c9f6a", "#d9534f", "#d98b2b"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
HOW = {"processes": BLUE, "threads": GREEN, "tasks": ORANGE}
MARKS = {"W1": ("o", BLUE), "W2": ("s", GREEN), "W3": ("^", ORANGE), "W4": ("D", RED), "W5": ("v", "#8e6bbf")}

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sessionledger",  # else every run had other ids
    "font.size": 10,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlesize": 11,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.facecolor": "none",
    "axes.grid": True,
    "grid.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.transparent": True,
}

Found = dict[str, Any]


def draw(folder: Path, results: Found, before: Found | None, peers: Found | None, many: Found | None) -> dict[str, str]:
    """Draw what there is to draw.

    Returns:
        Each file's name, with what it shows.
    """
    drawn = {}
    with plt.rc_context(STYLE):
        for name, title, figure in (
            ("ratios.svg", "W1 to W5: ours ÷ floor, beside the goals", ratios(results, before)),
            ("length.svg", "What a call costs as the session grows, ours and the floor", lengths(results)),
            (
                "writers.svg",
                "Writers on one session: throughput and the wait of the slowest of a hundred",
                crowds(results),
            ),
            ("peers.svg", "Other stores on the same work, ÷ floor", peers and others(peers)),
            ("ten_million.svg", "W9: the same calls on ten million messages", many and ten_million(many)),
        ):
            if figure:
                (folder / name).write_text(_svg(figure))
                drawn[name] = title
            else:
                print(f"LEFT OUT: {name}, because there is nothing to draw")
    return drawn


def _svg(figure: Figure) -> str:
    """The figure's SVG: without the day and the release of what drew it, so that it changes when a figure does."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    short = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), file.getvalue())
    return re.sub(r" +\n", "\n", short)


def _panels(results: Sequence[str], columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """A row of panels for each database."""
    figure, panels = plt.subplots(
        len(results), columns, figsize=(9, height * len(results)), squeeze=False, layout="constrained", **options
    )
    return figure, panels


def _databases(found: Sequence[Found]) -> list[str]:
    return [kind for kind in NAMES if any(each["database"] == kind for each in found)]


def ratios(results: Found, before: Found | None) -> Figure | None:
    """Bars: what was found, with quartiles; a line where the goal is; a ring where another checkout was."""
    found = [each for each in results["findings"] if each["goal"] and not each["control"] and each["workload"] < "W6"]
    found = [each for each in found if each["goal"].startswith("≤")]
    if not found:
        return None
    earlier = {(each["database"], each["part"], each["against"]): each for each in (before or {}).get("findings", [])}
    kinds = _databases(found)
    figure, panels = _panels(kinds, 1, 3.4, sharex=True)
    for kind, (axes,) in zip(kinds, panels, strict=True):
        some = [each for each in found if each["database"] == kind][::-1]
        for at, each in enumerate(some):
            goal = float(each["goal"].split()[1])
            colour = BLUE if each["met"] else RED
            axes.barh(at, each["ratio"], 0.6, color=colour, alpha=0.5)
            axes.plot([each["low"], each["high"]], [at, at], color=colour, linewidth=2.5)
            axes.plot([goal, goal], [at - 0.42, at + 0.42], color=ORANGE, linewidth=2.5)
            if was := earlier.get((kind, each["part"], each["against"])):
                axes.plot(was["ratio"], at, "o", markerfacecolor="none", color=GREY)
        axes.set_yticks(range(len(some)), [_label(each) for each in some])
        axes.grid(visible=False, axis="y")
        axes.set_title(NAMES[kind])
    axes.set_xlabel("ratio, with quartiles; orange: the goal; red: missed" + ("; ring: before" if earlier else ""))
    return figure


def _label(each: Found) -> str:
    against = "" if each["against"] == "floor" else f" ÷ {each['against']}"
    return f"{each['workload']} {each['part']}{against}"


def lengths(results: Found) -> Figure | None:
    """Lines: times of the interleaved run, as multiples of the floor's on the shortest session."""
    found = [each for each in results["findings"] if each.get("size")]
    if not found:
        return None
    kinds = _databases(found)
    figure, panels = _panels(kinds, 2, 3.0)
    for kind, row in zip(kinds, panels, strict=True):
        for axes, (workload, title) in zip(row, (("W4", "append one"), ("W3", "read the last 50")), strict=True):
            some = [each for each in found if (each["database"], each["workload"]) == (kind, workload)]
            sizes = [each["size"] for each in some]
            unit = some[0]["floor_ms"] if some else 1
            for side, colour in (("ours", BLUE), ("floor", GREY)):
                axes.plot(sizes, [each[f"{side}_ms"] / unit for each in some], "o-", color=colour, label=side)
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
            axes.set_title(f"{NAMES[kind]}: {title}")
            axes.set_xlabel("messages in the session")
            axes.legend(loc="lower right")
        row[0].set_ylabel("÷ the floor on the shortest")
    return figure


def crowds(results: Found) -> Figure | None:
    """Lines by number of writers on one session, ours and the floor's (dashed)."""
    found = [each for each in results["writers"] if each["sessions"] == "one"]
    if len({each["writers"] for each in found}) < 2:  # no line, and the table says it better
        return None
    kinds = _databases(found)
    figure, panels = _panels(kinds, 2, 3.2)
    for kind, (rates, waits) in zip(kinds, panels, strict=True):
        some = [each for each in found if each["database"] == kind]
        alone = next(
            (each["floor"]["per_second"] for each in some if each["writers"] == 1), some[0]["floor"]["per_second"]
        )
        for how, colour in HOW.items():
            _crowd(
                rates, [each for each in some if each["how"] in {how, "processes"}], how, colour, "per_second", alone
            )
            _crowd(waits, [each for each in some if each["how"] in {how, "processes"}], how, colour, "p99_ms", 1)
        rates.set_title(f"{NAMES[kind]}: throughput ÷ the floor's alone")
        waits.set_title(f"{NAMES[kind]}: p99 of the waits, ms")
        waits.set_yscale("log")
        waits.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        waits.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        waits.minorticks_off()
        rates.set_ylim(bottom=0)
        for axes in (rates, waits):
            axes.set_xscale("log", base=2)
            counts = sorted({each["writers"] for each in some})
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.minorticks_off()
            axes.set_xlabel("writers; dashed: the floor")
    handles, labels = rates.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=8)
    return figure


def _crowd(axes: Axes, found: Sequence[Found], how: str, colour: str, figure: str, unit: float) -> None:
    """One way to write at once: a line for ours, one for the floor, and a star where callers commit together."""
    plain = [each for each in found if not each["options"] and (each["how"] == how or each["writers"] == 1)]
    counts = [each["writers"] for each in plain]
    axes.plot(counts, [each["ours"][figure] / unit for each in plain], "o-", color=colour, label=how)
    axes.plot(counts, [each["floor"][figure] / unit for each in plain], "--", color=colour, linewidth=1, alpha=0.7)
    together = [each for each in found if each["options"] and each["how"] == how]
    if together:
        counts = [each["writers"] for each in together]
        values = [each["ours"][figure] / unit for each in together]
        axes.plot(counts, values, "*", markersize=11, color=colour, label=f"{how}, group commit")


def others(peers: Found) -> Figure | None:
    """Marks on a logarithmic axis: each peer's ratio to the floor, at the largest case of each workload."""
    found = [each for each in peers["ratios"] if each["workload"] in MARKS]
    if not found:
        return None
    kinds = _databases(found)
    figure, panels = plt.subplots(1, len(kinds), figsize=(10, 5), squeeze=False, layout="constrained", sharex=True)
    for kind, axes in zip(kinds, panels[0], strict=True):
        some = [each for each in found if each["database"] == kind]
        names = list(dict.fromkeys(each["peer"] for each in some))[::-1]
        for workload, (mark, colour) in MARKS.items():
            last = {each["peer"]: each["ratio"] for each in some if each["workload"] == workload}
            places = [names.index(name) for name in last]
            axes.plot(list(last.values()), places, mark, color=colour, label=workload, alpha=0.85)
        axes.set_yticks(range(len(names)), [peers["peers"].get(name, {}).get("title", name) for name in names])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axvline(1, color=GREY)
        axes.set_title(NAMES[kind])
        axes.set_xlabel("÷ floor")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(MARKS), fontsize=8)
    return figure


def ten_million(found: Found) -> Figure | None:
    """Bars: each call on ten million messages, held against itself on few, and against the floor on as many."""
    some = [each for each in found["findings"] if not each["control"]]
    if not some:
        return None
    parts = list(dict.fromkeys(each["part"] for each in some))[::-1]
    sides = list(dict.fromkeys(each["against"] for each in some))[::-1]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for number, (side, colour) in enumerate(zip(sides, (GREY, GREEN, BLUE), strict=False)):
        for each in (each for each in some if each["against"] == side):
            at = parts.index(each["part"]) + (number - 1) * 0.26
            label = f"{'floor' if side.startswith('floor,') else 'ours'} ÷ {side}" if each["part"] == parts[0] else None
            axes.barh(at, each["ratio"], 0.24, color=colour, alpha=0.5, label=label)
            axes.plot([each["low"], each["high"]], [at, at], color=colour, linewidth=2.5)
            if each["goal"]:
                goal = float(each["goal"].split()[1])
                axes.plot([goal, goal], [at - 0.13, at + 0.13], color=ORANGE, linewidth=2.5)
    axes.set_yticks(range(len(parts)), parts)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("ratio, with quartiles; orange: the goal")
    figure.legend(loc="outside upper right", ncols=3, fontsize=8)
    return figure
