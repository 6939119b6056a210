"""Sessions and token usage as tables: coloured on a terminal, aligned columns for everything else."""

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from sessionledger.cli import words
from sessionledger.cli.context import Context, printable
from sessionledger.domain.models import Session, TokenUsage, now


def sessions(context: Context, listed: Sequence[Session], *, archive: bool = False) -> None:
    """Print sessions as a table.

    Args:
        context: Where to.
        listed: The sessions.
        archive: Whether they are an archive's: then it is also told when they were made.
    """
    if not listed:
        context.note("There are no sessions here." + ("" if archive else " Make one: sessionledger new"))
        return
    columns = {
        "session": [each.session_id for each in listed],
        "title": [each.title or each.key or "" for each in listed],
        "actor": [each.actor_name or "" for each in listed],
        "workspace": [each.workspace or "" for each in listed],
        "messages": [f"{each.last_sequence:,}" for each in listed],
        "in": [f"{each.usage.input_tokens:,}" if each.usage.input_tokens else "" for each in listed],
        "out": [f"{each.usage.output_tokens:,}" if each.usage.output_tokens else "" for each in listed],
        "cost": [words.cost(each.usage) if each.usage.cost is not None else "" for each in listed],
        "made": [f"{each.created_at:%Y-%m-%d %H:%MZ}" if archive else "" for each in listed],
        "changed": [words.ago(each.updated_at, now()) for each in listed],
        "": ["archived" if each.archived_at else "" for each in listed],
    }
    table(context, {name: cells for name, cells in columns.items() if any(cells)})


def table(context: Context, columns: dict[str, list[str]]) -> None:
    """Print columns with their headings, numbers to the right.

    On a narrow terminal the title is shortened, and then columns are left out, before anything is broken; what is not
    for a terminal is never cut.
    """
    if not context.pretty:
        context.print_rows(zip(*([name, *cells] for name, cells in columns.items()), strict=True))
        return
    room = _room_for_title(context.out.width, columns)
    needed = MIN_TITLE if "title" in columns else 0
    for name in LEAST_FIRST:
        if room >= needed:
            break
        if name in columns:
            columns = {each: cells for each, cells in columns.items() if each != name}
            room = _room_for_title(context.out.width, columns)
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in columns:
        grid.add_column(
            name,
            justify="right" if name in NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=26 if name == "session" else None,
            max_width=max(room, MIN_TITLE) if name == "title" else None,
            style={"session": "cyan", "changed": "dim", "": "dim"}.get(name),
        )
    for row in zip(*columns.values(), strict=True):
        grid.add_row(*(Text(printable(cell).replace("\n", " ")) for cell in row))
    context.out.print(grid)


def _room_for_title(width: int, columns: dict[str, list[str]]) -> int:
    """What the other columns, two characters between each, leave for the title."""
    return width - 2 - sum(max(map(cell_len, [name, *cells])) + 2 for name, cells in columns.items() if name != "title")


LEAST_FIRST = ("workspace", "made", "reasoning", "cached", "cost", "in", "out", "actor", "changed", "messages")
MIN_TITLE = 18
NUMBERS = frozenset({"messages", "in", "out", "cached", "reasoning", "cost", "sessions", "records"})


def usage(context: Context, by: str, rows: Sequence[tuple[str, str, int, TokenUsage]]) -> None:
    """Print sums of token usage; columns of which nothing is known are left out.

    Args:
        context: Where to.
        by: What the first column is: `actor` or `model`.
        rows: Its value, whether that was spent here or imported, the number of records, and the sum of these.
    """
    columns = {
        by: [name for name, _, _, _ in rows],
        "": [where for _, where, _, _ in rows],
        "records": [f"{records:,}" for _, _, records, _ in rows],
        "in": [f"{each.input_tokens:,}" for _, _, _, each in rows],
        "out": [f"{each.output_tokens:,}" for _, _, _, each in rows],
        "cached": [f"{each.cached_input_tokens or 0:,}" for _, _, _, each in rows],
        "reasoning": [f"{each.reasoning_tokens or 0:,}" for _, _, _, each in rows],
        "cost": [words.cost(each) for _, _, _, each in rows],
    }
    nothing = {"cached": {"0"}, "reasoning": {"0"}, "cost": {"-"}, "": {"spent here"}}
    table(context, {name: cells for name, cells in columns.items() if set(cells) != nothing.get(name)})
