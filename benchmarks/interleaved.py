"""Two ways to do the same work, measured in one interleaved run of many short rounds.

In each round every part runs a few times on both sides, in random order; a round's ratio is the quotient of the two
medians, and what is found is the median of the rounds' ratios with its quartiles. The times of a shared machine say
nothing, so no table shows them; they are kept for plots of one run. Beside it stands the quotient of the processor time
of both sides' processes, which a busy machine disturbs least; what a server does is not in it.
"""

from __future__ import annotations

import inspect
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""What runs a coroutine: one loop for the whole run, because connections belong to it."""


class Took(float):
    """The seconds that an act has measured by itself, where not all that it does is to be measured."""


@dataclass(frozen=True)
class Goal:
    """A bound that a figure is held to: at most, or at least, so much."""

    bound: float
    least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:g}"

    def met(self, value: float) -> bool:
        """Whether a figure is within the bound, as far as it is printed."""
        value = round(value, 2)
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True)
class Part:
    """One thing that is measured.

    Attributes:
        workload: The workload it belongs to.
        database: The kind of database.
        name: What it does.
        ours: What we do; it may have to be awaited.
        floor: What it is held against.
        goal: The bound of the ratio.
        times: How often each side does it in a round.
        against: What it is held against, in words.
        rate: Whether the ratio is that of throughputs: above 1 is faster.
        before: Is done before each round, unmeasured.
        same: Is given the answers of both sides, and raises where they differ: then the ratio would mean nothing.
        control: The bounds of the ratio of a control: beyond them the whole run means nothing.
        by_cpu: Whether the control is held to them in processor time: a few rounds on a busy machine say no more.
        size: How many messages the session has, where that is what is looked at.
    """

    workload: str
    database: str
    name: str
    ours: Callable[[], Any]
    floor: Callable[[], Any]
    goal: Goal | None = None
    times: int = 5
    against: str = "floor"
    rate: bool = False
    before: Callable[[], object] | None = None
    same: Callable[[Any, Any], None] | None = None
    control: tuple[float, float] | None = None
    by_cpu: bool = False
    size: int | None = None


@dataclass(frozen=True)
class Finding:
    """The median of the rounds' ratios, and their quartiles.

    Attributes:
        ours_ms: The median of the rounds' medians on our side: for plots of one run, as nothing else may be made of it.
        floor_ms: The same of the other side.
        cpu: The median of the rounds' ratios of processor time, where it is this process that works.
    """

    workload: str
    database: str
    part: str
    against: str
    ratio: float
    low: float
    high: float
    goal: str
    met: bool | None
    rounds: int
    ours_ms: float
    floor_ms: float
    cpu: float | None
    control: bool = False
    size: int | None = None


@dataclass
class _Rounds:
    """What the rounds of a part have found so far."""

    ratios: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def add(self, ours: _Turns, floor: _Turns, *, rate: bool) -> None:
        """Note a round."""
        one, other = statistics.median(ours.seconds), statistics.median(floor.seconds)
        self.ratios.append(other / one if rate else one / other)
        self.ours.append(one)
        self.floor.append(other)
        if ours.cpu:
            self.cpu.append(sum(ours.cpu) / sum(floor.cpu))


@dataclass
class _Turns:
    """What one side took in one round, each time it acted, in seconds."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    _began: float = 0
    _cpu: float = 0

    def begin(self) -> None:
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    def end(self, answer: object) -> None:
        ended = time.perf_counter()
        if isinstance(answer, Took):
            self.seconds.append(answer)
        else:
            self.seconds.append(ended - self._began)
            self.cpu.append(time.process_time() - self._cpu)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; those of one value are the value."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return low, middle, high


def follow(rounds: int) -> Iterator[int]:
    """Count the rounds, and tell whoever watches how far it is."""
    for number in range(rounds):
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        yield number


def measure(parts: Sequence[Part], rounds: int, run: Run, *, warm: int = 2) -> list[Finding]:
    """Run every part in every round, in random order, and its two sides in turn.

    Args:
        parts: What is measured.
        rounds: How many rounds count.
        run: Runs the parts that have to be awaited.
        warm: How many rounds go before, and do not count.
    """
    chance = random.Random(1)
    for part in parts:
        _compare(part, run)
    found = [_Rounds() for _ in parts]
    for number in follow(rounds + warm):
        for at in chance.sample(range(len(parts)), len(parts)):
            part = parts[at]
            if part.before:
                part.before()
            ours, floor = _round(part, chance, run)
            if number >= warm:
                found[at].add(ours, floor, rate=part.rate)
    return [_finding(part, each, rounds) for part, each in zip(parts, found, strict=True)]


def _compare(part: Part, run: Run) -> None:
    """Do both once, and see that they answer the same."""
    if part.before:
        part.before()
    answers = [_answer(act, run) for act in (part.ours, part.floor)]
    if part.same:
        part.same(*answers)


def _answer(act: Callable[[], Any], run: Run) -> Any:
    async def done() -> Any:
        answer = act()
        return await answer if inspect.isawaitable(answer) else answer

    return run(done()) if inspect.iscoroutinefunction(act) else act()


def _round(part: Part, chance: random.Random, run: Run) -> tuple[_Turns, _Turns]:
    """What both sides took in one round, in random order."""
    ours, floor = _Turns(), _Turns()
    order = []
    for _ in range(part.times):
        sides = [(part.ours, ours), (part.floor, floor)]
        chance.shuffle(sides)
        order += sides
    if inspect.iscoroutinefunction(part.ours):
        run(_awaited(order))
    else:
        for act, turns in order:
            turns.begin()
            turns.end(act())
    return ours, floor


async def _awaited(order: list[tuple[Callable[[], Any], _Turns]]) -> None:
    """The turns of a part whose one side is awaited; the other one blocks the loop, as it would block a program."""
    for act, turns in order:
        turns.begin()
        answer = act()
        if inspect.isawaitable(answer):
            await answer
        turns.end(None)


def _finding(part: Part, found: _Rounds, rounds: int) -> Finding:
    low, ratio, high = spread(found.ratios)
    goal, cpu = part.goal, statistics.median(found.cpu) if found.cpu else None
    wanted, met = (str(goal), goal.met(ratio)) if goal else ("", None)
    if part.control:
        least, most = part.control
        held = cpu if part.by_cpu and cpu is not None else ratio
        wanted, met = f"{least:g} to {most:g}{' in CPU' * part.by_cpu}", least <= held <= most
    return Finding(
        workload=part.workload,
        database=part.database,
        part=part.name,
        against=part.against,
        ratio=round(ratio, 3),
        low=round(low, 3),
        high=round(high, 3),
        goal=wanted,
        met=met,
        rounds=rounds,
        ours_ms=round(statistics.median(found.ours) * 1e3, 4),
        floor_ms=round(statistics.median(found.floor) * 1e3, 4),
        cpu=None if cpu is None else round(cpu, 3),
        control=part.control is not None,
        size=part.size,
    )
