"""Progress bars: on standard error, on a terminal only."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sessionledger.cli.context import Context


def bars(context: Context) -> Progress:
    """Bars that go away when they are done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=context.err,
        transient=True,
        disable=not context.err.is_terminal,
    )
