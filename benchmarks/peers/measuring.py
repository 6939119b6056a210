"""The driver's side: a process for each peer, blocks of calls in random order, and ratios within a round."""

from __future__ import annotations

import json
import os
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judge import Counts, judge
from roster import FLOOR, HERE, Entry

BEGAN = time.monotonic()
BLOCK_SECONDS = 0.03  # a block is as many calls as fit, so that the floor's blocks stand close by
MOST_CALLS = 20
LEAST_ROUNDS = 3
NEW_EACH_BLOCK = 100  # a session as short as this would grow while it is measured
QUIET = {"OPENAI_AGENTS_DISABLE_TRACING": "1", "AGNO_TELEMETRY": "false", "LANGSMITH_TRACING": "false"}


class Stopped(Exception):  # noqa: N818 - a finding, told with its reason
    """A peer raised or ended; the text says what."""


class TooSlow(Stopped):
    """A peer did not answer in time; it was ended and started again."""


class Remote:
    """A peer in a process of its own."""

    def __init__(self, entry: Entry, python: Path, target: str, log: Path) -> None:
        self.entry, self.target = entry, target
        self._command = [str(python), str(HERE / "worker.py"), entry.module, entry.name, target]
        self._log = log
        self._filled: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self.facts: dict[str, Any] = self._start()

    def _start(self, *more: str) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | QUIET
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*self._command, *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                cwd=self._log.parent,
                start_new_session=True,
            )
        return self._answer("start", 120)

    def ask(self, do: str, seconds: float = 60, **values: Any) -> Any:
        """Give an order, and return the answer.

        Raises:
            TooSlow: It did not answer in time.
            Stopped: It raised, or ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **values}), file=self._process.stdin, flush=True)
        try:
            answer = self._answer(do, seconds)
        except TimeoutError:
            self.stop()
            self._start("--again")
            for name in self._filled:
                self.ask("session", name=name, make=False)
            raise TooSlow(f"`{do}` did not return within {seconds:.0f} s") from None
        if do == "fill":
            self._filled.append(values["name"])
        return answer

    def _answer(self, do: str, seconds: float) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        line = self._process.stdout.readline()
        if not line:
            raise Stopped(f"the process ended at `{do}`")
        answer = json.loads(line)
        if "error" in answer:
            raise Stopped(f"`{do}` raised {answer['error']}")
        return answer["answer"]

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes:
        rounds: How many blocks of each part.
        lengths: Of the sessions that are read (all but the first) and appended to.
        sessions: How many are listed.
        writers: How many at once, in W6.
        writer_rounds: How often.
        writing_seconds: How long they write.
        budget_seconds: How long one peer may take for one part, but for the least rounds.
        fill_seconds: How long one peer may take to fill a session.
    """

    rounds: int
    lengths: tuple[int, ...]
    sessions: int
    writers: tuple[int, ...]
    writer_rounds: int
    writing_seconds: float
    budget_seconds: float
    fill_seconds: float


FULL = Amounts(20, (10, 1_000, 10_000, 100_000), 10_000, (8, 32), 2, 1.0, 2.5, 120)
QUICK = Amounts(3, (10, 1_000), 200, (8,), 1, 0.5, 0.2, 30)


@dataclass(frozen=True)
class Part:
    """One thing that is measured: a workload's case, and the order that does it."""

    workload: str
    case: str
    order: str
    values: dict[str, Any] = field(default_factory=dict, hash=False)
    length: int | None = None  # of the session; 0 is a new one for each block, None is no session

    @property
    def title(self) -> str:
        """The name of the workload and its case."""
        return f"{self.workload} {self.case}"


def parts(amounts: Amounts) -> list[Part]:
    """What is measured in blocks."""
    found = [Part("W1", "one message", "append", length=0), Part("W2", "100 in one call", "append_many", length=0)]
    found += [Part("W3", f"last 50 of {each:,}", "last", length=each) for each in amounts.lengths[1:]]
    found += [Part("W4", f"one message after {each:,}", "append", length=each) for each in amounts.lengths]
    deep = amounts.sessions // 50 - 1
    found.append(Part("W5", f"50 of {amounts.sessions:,} sessions, first page", "page", {"number": 0}))
    found.append(Part("W5", f"50 of {amounts.sessions:,} sessions, page {deep + 1:,}", "page", {"number": deep}))
    return found


@dataclass
class Findings:
    """What was found on one database."""

    database: str
    medians: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)  # (part, peer) → round → ns
    rates: dict[tuple[int, str], dict[int, float]] = field(default_factory=dict)  # (writers, peer) → round → per s
    counts: dict[tuple[int, str], Counts] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)  # (part or workload, peer) → why
    broken: list[str] = field(default_factory=list)  # what should have been measured and was not

    def ratio(self, table: str, key: Any, peer: str, base: str = FLOOR) -> dict[str, Any] | None:
        """The median of the rounds' quotients with its quartiles; `None` where there is none."""
        found = getattr(self, table)
        mine, other = found.get((key, peer), {}), found.get((key, base), {})
        quotients = [mine[at] / other[at] for at in mine if other.get(at)]
        if not quotients:
            return None
        low, middle, high = statistics.quantiles(
            quotients * 2 if len(quotients) == 1 else quotients, n=4, method="inclusive"
        )
        digits = {"ratio": middle, "low": low, "high": high}
        return {name: float(f"{value:.3g}") for name, value in digits.items()} | {"rounds": len(quotients)}


class Run:
    """A measurement of all peers on one database."""

    def __init__(self, database: str, remotes: Sequence[Remote], amounts: Amounts) -> None:
        self.remotes, self.amounts = list(remotes), amounts
        self.findings = Findings(database)
        self.parts = parts(amounts)
        self.chance = random.Random(5)
        self.price: dict[tuple[str, str], float] = {}
        self.sets = 0

    def prepare(self) -> None:
        """Fill the long sessions and the listing; what does not apply, or takes too long, is written down."""
        for remote in self.remotes:
            name, missing = remote.entry.name, remote.facts["missing"]
            self.findings.missing |= {(workload, name): why for workload, why in missing.items()}
            say(f"{self.findings.database}: filling {name}")
            for length in self.amounts.lengths:
                if length > NEW_EACH_BLOCK:
                    order = {"do": "fill", "name": f"long-{length}", "count": length}
                    self._try(remote, order, [part for part in self.parts if part.length == length])
            if "W5" not in missing:
                order = {"do": "add_sessions", "count": self.amounts.sessions}
                self._try(remote, order, [part for part in self.parts if part.workload == "W5"])

    def _try(self, remote: Remote, order: dict[str, Any], needing: list[Part]) -> None:
        """Give an order; without it what needs it cannot be measured."""
        try:
            remote.ask(seconds=self.amounts.fill_seconds, **order)
        except TooSlow as slow:  # a finding, not a failure: as large as that it cannot be filled
            for part in needing:
                self.findings.missing[part.title, remote.entry.name] = str(slow)
            say(f"TOO SLOW: {self.findings.database}, {remote.entry.name}, {order}: {slow}")
        except Stopped as stopped:
            for part in needing:
                self._break(part.title, remote, str(stopped))

    def _break(self, title: str, remote: Remote, why: str) -> None:
        self.findings.missing[title, remote.entry.name] = why
        self.findings.broken.append(f"{self.findings.database}, {remote.entry.name}, {title}: {why}")
        say(f"NOT MEASURED: {self.findings.broken[-1]}")

    def measure(self) -> None:
        """Run the blocks: every part in every round, the peers within a part in random order."""
        for number in range(-1, self.amounts.rounds):  # round -1 finds out what a call costs
            say(f"{self.findings.database}: round {number + 1} of {self.amounts.rounds}")
            for part in self.chance.sample(self.parts, len(self.parts)):
                for remote in self._taking_part(part, number):
                    try:
                        self._block(remote, part, number)
                    except Stopped as stopped:
                        self._break(part.title, remote, str(stopped))

    def _taking_part(self, part: Part, number: int) -> Iterator[Remote]:
        for remote in self.chance.sample(self.remotes, len(self.remotes)):
            name = remote.entry.name
            if {(part.workload, name), (part.title, name)} & self.findings.missing.keys():
                continue
            price = self.price.get((part.title, name), 0)
            allowed = max(LEAST_ROUNDS, int(self.amounts.budget_seconds / max(price * self._calls(price), 1e-6)))
            if name == FLOOR or number < 0 or number % max(1, self.amounts.rounds // allowed) == 0:
                yield remote

    @staticmethod
    def _calls(price: float) -> int:
        return max(1, min(MOST_CALLS, int(BLOCK_SECONDS / price))) if price else 1

    def _block(self, remote: Remote, part: Part, number: int) -> None:
        name = remote.entry.name
        values = {**part.values, "times": self._calls(self.price.get((part.title, name), 0))}
        new = part.length is not None and part.length <= NEW_EACH_BLOCK
        if part.length is not None:
            self.sets += 1
            values["name"] = f"new-{self.sets}" if new else f"long-{part.length}"
        if new:
            if part.length:
                remote.ask("fill", name=values["name"], count=part.length)
            else:
                remote.ask("session", name=values["name"])
        times = remote.ask(part.order, **values)
        if new:
            remote.ask("forget", name=values["name"])
        if number < 0:
            self.price[part.title, name] = statistics.median(times) / 1e9
        else:
            self.findings.medians.setdefault((part.title, name), {})[number] = statistics.median(times)

    def write(self) -> None:
        """W6: processes append to one session at once; what became of the messages is counted."""
        for number in range(self.amounts.writer_rounds):
            for writers in self.amounts.writers:
                for remote in self.chance.sample(self.remotes, len(self.remotes)):
                    if ("W6", remote.entry.name) in self.findings.missing:
                        continue
                    say(f"{self.findings.database}: {writers} writers, {remote.entry.name}")
                    try:
                        self._write(remote, writers, number)
                    except Stopped as stopped:
                        self._break(f"W6 {writers} writers", remote, str(stopped))

    def _write(self, remote: Remote, writers: int, number: int) -> None:
        key, session, seconds = (writers, remote.entry.name), f"war-{writers}-{number}", self.amounts.writing_seconds
        remote.ask("session", name=session)
        told = remote.ask("write", seconds=seconds + 120, session=session, writers=writers, for_seconds=seconds)
        counts = judge(told, remote.ask("read", name=session))
        self.findings.counts.setdefault(key, Counts()).add(counts)
        self.findings.rates.setdefault(key, {})[number] = counts.acknowledged / seconds
        if counts.failed:
            raise Stopped(f"{len(counts.failed)} writers could not start: {counts.failed[0]}")


def say(text: str) -> None:
    """Tell how far it is, with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)
