"""Progress bars: on standard error, on a terminal only."""

import io
from typing import BinaryIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from sessionledger.cli import words
from sessionledger.cli.context import Context
from sessionledger.domain.archive import ArchiveProgress, Follow

_STEPS = {"checksum": "checking", "structure": "checking", "import": "importing", "export": "exporting"}


class _Done(MofNCompleteColumn):
    """How much is done, in a task's own words where it has some."""

    def render(self, task: Task) -> Text:
        said = task.fields.get("said")
        return super().render(task) if said is None else Text(said, style="progress.download")


def bars(context: Context) -> Progress:
    """Bars that go away when they are done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        _Done(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        console=context.err,
        transient=True,
        disable=not context.err.is_terminal,
    )


def follow(progress: Progress, file: BinaryIO | None = None, *, stored: bool = True) -> Follow | None:
    """Bars for the steps of an export or import, in bytes and messages.

    Args:
        progress: Where they are shown; if nowhere, there is nothing to follow.
        file: The archive that is read. Where it can seek, the first step has an end: a compressed archive does not
            say how many bytes are in it.
        stored: Whether what is read last is imported; else it is read only.
    """
    if progress.disable:
        return None
    total = None if file is None else length(file)
    steps = _STEPS if stored else _STEPS | {"import": "reading"}
    tasks: dict[str, TaskID] = {}

    def followed(at: ArchiveProgress) -> None:
        if at.step not in tasks:
            tasks[at.step] = progress.add_task(steps[at.step], total=total if at.step == "checksum" else None, said="")
        size = words.size(at.size)
        if at.step == "checksum":
            done = at.size if file is None or total is None else file.tell()
            progress.update(tasks[at.step], completed=done, said=size)
        else:
            messages = f"{at.messages:,}/{words.count(at.total_messages or 0, 'message')}"
            progress.update(tasks[at.step], completed=at.messages, total=at.total_messages, said=f"{messages} · {size}")

    return followed


def length(file: BinaryIO) -> int | None:
    """A file's length in bytes; `None` for one that cannot seek."""
    if not file.seekable():
        return None
    here = file.tell()
    length = file.seek(0, io.SEEK_END)
    file.seek(here)
    return length
