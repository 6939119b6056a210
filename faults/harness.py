"""What the faults share: how one is declared, how processes are run and killed, and how a session is judged.

A fault is a function that brings a fault about, counts what became of the ledger, and raises `AssertionError` where the
promise is broken. A control does the same to a careless program, and raises where nothing breaks: a harness that finds
nothing wrong with a careless program proves nothing about a careful one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from databases import PostgreSQL, SQLite

Kind = SQLite | PostgreSQL
Found = dict[str, Any]
"""What was counted, in the order in which it is printed."""

BOTH = ("sqlite", "postgresql")


class Missing(Exception):  # noqa: N818 - no error: this machine cannot bring the fault about
    """What a fault needs and does not find here, in words; it is left out aloud, neither good nor bad."""


@dataclass(frozen=True)
class Fault:
    """One fault, or one control, as the runner sees it.

    Attributes:
        name: The function's name.
        title: What is done, in words.
        run: The function: `run(kind, found, **amounts)`.
        databases: The kinds of databases it is run on.
        short: The amounts of the default run.
        full: The amounts of `nox -s faults`.
        control: Whether it is a control.
        alone: Whether it measures time, so that nothing may run beside it.
    """

    name: str
    title: str
    run: Callable[..., None]
    databases: tuple[str, ...]
    short: dict[str, Any]
    full: dict[str, Any]
    control: bool
    alone: bool


FAULTS: list[Fault] = []

Run = Callable[..., None]


def fault(
    title: str,
    *,
    short: dict[str, Any],
    full: dict[str, Any],
    databases: tuple[str, ...] = BOTH,
    control: bool = False,
    alone: bool = False,
) -> Callable[[Run], Run]:
    """Declare a fault."""

    def declare(run: Run) -> Run:
        FAULTS.append(Fault(run.__name__, title, run, databases, short, full, control, alone))
        return run

    return declare


def control(
    title: str, *, short: dict[str, Any], full: dict[str, Any], databases: tuple[str, ...] = BOTH, alone: bool = False
) -> Callable[[Run], Run]:
    """Declare a control: it must find what is wrong with a careless program."""
    return fault(title, short=short, full=full, databases=databases, control=True, alone=alone)


# Processes: each is a fork of one that has imported everything and opened nothing.

_FORK = multiprocessing.get_context("fork")


class Client:
    """A process that runs `work(say)`, says things on the way, and may be killed at any moment."""

    def __init__(self, work: Callable[[Callable[[Any], None]], Any]) -> None:
        reading, writing = os.pipe()
        self.process_id = os.fork()
        if self.process_id == 0:
            os.close(reading)
            code = 1
            with suppress(BaseException):
                try:
                    work(lambda said: _write(writing, said))
                    code = 0
                except Exception:  # noqa: BLE001 - a client that fails by itself is told from one that was killed
                    traceback.print_exc()
            os._exit(code)
        os.close(writing)
        self._lines = os.fdopen(reading)

    def said(self) -> Iterator[Any]:
        """What it says, until it ends; a line that the kill cut short is no line."""
        for line in self._lines:
            if line.endswith("\n"):
                yield json.loads(line)

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        with suppress(ProcessLookupError):
            os.kill(self.process_id, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; 0, 1 for one that failed, or -9 for one that was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])


def _write(descriptor: int, said: Any) -> None:
    os.write(descriptor, json.dumps(said).encode() + b"\n")


def together(works: Sequence[Callable[[Callable[[], None]], Any]]) -> list[Any]:
    """Run each work in a process of its own and return what they give; each calls `ready()`, and all go on together."""
    barrier = _FORK.Barrier(len(works), timeout=60)
    pipes = []
    for work in works:
        receiving, sending = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_answer, args=(work, barrier.wait, sending))
        process.start()
        sending.close()
        pipes.append((process, receiving))
    answers = []
    for process, receiving in pipes:
        with suppress(EOFError):
            answers.append(receiving.recv())
        process.join()
    assert len(answers) == len(works), f"{len(works) - len(answers)} of {len(works)} processes died"
    return answers


def _answer(work: Callable[..., Any], ready: Callable[[], Any], sending: Any) -> None:
    sending.send(work(ready))


# Judging


class Ack(NamedTuple):
    """An append that was acknowledged: which writer sent its how-manyeth message, and the sequence it was told."""

    writer: int
    number: int
    sequence: int


def content_of(writer: int, number: int) -> str:
    """The content by which a message is known again, whatever id it has."""
    return f"{writer}/{number}"


def judge(kind: Kind, url: str, session_id: str, acks: Sequence[Ack]) -> dict[str, int]:
    """Compare what writers were told with what the database itself holds; four zeros are what is promised.

    Returns:
        `lost`: acknowledged and not stored. `doubled`: stored more than once. `out_of_order`: stored under another
        sequence than was told, or before what its writer had sent earlier. `gaps`: places where the sequences do not
        go on by one.
    """
    with kind.asked(url) as ask:
        rows = ask(
            f"SELECT sequence, content FROM session_messages WHERE session_id = '{session_id}' ORDER BY sequence"
        )
    sequences = [row["sequence"] for row in rows]
    contents = [json.loads(row["content"]) for row in rows]
    times = Counter(contents)
    place = dict(zip(contents, sequences, strict=True))
    told = [(content_of(ack.writer, ack.number), ack.sequence) for ack in acks]
    latest: dict[str, int] = {}
    backwards = 0
    for content in contents:
        writer, _, number = content.partition("/")
        backwards += int(number) < latest.get(writer, -1)
        latest[writer] = int(number)
    return {
        "lost": sum(content not in place for content, _ in told),
        "doubled": sum(times.values()) - len(times),
        "out_of_order": backwards + sum(content in place and place[content] != sequence for content, sequence in told),
        "gaps": sum(sequence != at for at, sequence in enumerate(sequences, start=1)),
    }


def expect_nothing_wrong(found: Found) -> None:
    """Hold the four zeros."""
    wrong = {name: found[name] for name in ("lost", "doubled", "out_of_order", "gaps") if found[name]}
    assert not wrong, f"wrong: {wrong}"
