"""W6: many writers at once, on one session and on many: throughput against the floor's, waits, and what was lost.

Here times are given as well, because the goals are times: how long the slowest of a hundred waits, and the slowest of
all. Lost, doubled, gaps and errors are counted in the database afterwards, with its driver.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import real_databases
import sessionledger
import writing
from floor import FLOORS, TEXT
from interleaved import Goal, follow, spread
from writing import MARK, Writer, Written, mark

_CONTEXT = multiprocessing.get_context("forkserver")  # a server that has imported everything and opened nothing
_CONTEXT.set_forkserver_preload(["writing"])

GROUP_COMMIT = {"group_commit": True}
LEFT = ("lost", "doubled", "gaps", "errors")


@dataclass(frozen=True)
class Crowd:
    """Writers that are measured together.

    Attributes:
        database: The kind of database.
        how: `processes`, `threads` of one process, or `tasks` of one.
        count: How many there are.
        one_session: Whether all write to one session, or each to one of its own.
        options: What our service is opened with.
    """

    database: str
    how: str
    count: int
    one_session: bool
    options: tuple[str, ...] = ()

    def goals(self) -> dict[str, Goal]:
        """The bounds of the design, by the figure."""
        if self.count < 32 or (self.database == "postgresql" and not self.one_session):
            return {}
        if self.options:
            return {"ratio": Goal(5, least=True)} if self.database == "postgresql" and self.how == "tasks" else {}
        if self.database == "sqlite":
            bounds = {"ratio": Goal(0.5, least=True), "worst_ms": Goal(300)}
            return bounds if self.how == "processes" else {}
        return {} if self.how == "tasks" else {"ratio": Goal(1.1, least=True), "p99_ms": Goal(60)}


@dataclass(frozen=True)
class Side:
    """What one side did, over all rounds: throughput (the rounds' median), waits, and what is wrong in the database."""

    per_second: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    acknowledged: int
    lost: int
    doubled: int
    gaps: int
    errors: int
    error_types: dict[str, int]


@dataclass(frozen=True)
class Crowded:
    """What was found of a crowd: both sides, and the rounds' ratios of their throughputs."""

    workload: str
    database: str
    how: str
    writers: int
    sessions: str
    options: list[str]
    ratio: float
    low: float
    high: float
    ours: Side
    floor: Side
    goals: dict[str, str]
    missed: list[str]
    rounds: int


@dataclass
class _Seen:
    """What a side did so far."""

    rates: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def side(self) -> Side:
        """The figures."""
        waits = sorted(self.waits)
        at = partial(_at, waits)
        return Side(
            per_second=round(statistics.median(self.rates), 1),
            p50_ms=at(0.5),
            p99_ms=at(0.99),
            worst_ms=at(1),
            acknowledged=self.left["acknowledged"],
            **{name: self.left[name] for name in LEFT},
            error_types=dict(self.errors),
        )


def _at(waits: Sequence[float], share: float) -> float:
    return round(waits[min(len(waits) - 1, int(len(waits) * share))] * 1e3, 2)


def crowds(kinds: Sequence[str], counts: Sequence[int], *, group: bool) -> Iterator[Crowd]:
    """Every crowd that is measured; `group` adds those whose callers commit together."""
    for kind in kinds:
        for one_session in (True, False):
            for count in counts:
                for how in ("processes",) if count == 1 else ("processes", "threads", "tasks"):
                    if count > 1 or one_session:
                        yield Crowd(kind, how, count, one_session)
            for how in ("threads", "tasks") if group else ():
                yield Crowd(kind, how, max(counts), one_session, tuple(GROUP_COMMIT))


def groups_commits() -> bool:
    """Whether this release has callers that share a service commit together, where asked for."""
    try:
        sessionledger.connect("sqlite:///:memory:", **GROUP_COMMIT).close()
    except (TypeError, sessionledger.InvalidInputError):
        return False
    return True


def measure(found: Sequence[Crowd], rounds: int, seconds: float) -> Iterator[Crowded]:
    """Let every crowd write in every round, in random order, ours and the floor's in turn."""
    chance = random.Random(1)
    urls = {kind: real_databases.fresh(kind) for kind in {crowd.database for crowd in found}}
    seen: dict[tuple[Crowd, str], _Seen] = defaultdict(_Seen)
    for _ in follow(rounds):
        for crowd in chance.sample(found, len(found)):
            for side in chance.sample(("ours", "floor"), 2):
                _let_write(crowd, side, urls[crowd.database], seconds, seen[crowd, side])
    for crowd in found:
        yield _crowded(crowd, seen[crowd, "ours"], seen[crowd, "floor"])


def _crowded(crowd: Crowd, ours: _Seen, floor: _Seen) -> Crowded:
    ratios = [one / other for one, other in zip(ours.rates, floor.rates, strict=True)]
    low, ratio, high = spread(ratios)
    found, goals = ours.side(), crowd.goals()
    figures = {"ratio": ratio, **{name: getattr(found, name) for name in ("p99_ms", "worst_ms", *LEFT)}}
    goals |= {name: Goal(0) for name in LEFT}
    return Crowded(
        workload="W6",
        database=crowd.database,
        how=crowd.how,
        writers=crowd.count,
        sessions="one" if crowd.one_session else "one each",
        options=list(crowd.options),
        ratio=round(ratio, 3),
        low=round(low, 3),
        high=round(high, 3),
        ours=found,
        floor=floor.side(),
        goals={name: str(goal) for name, goal in goals.items()},
        missed=[name for name, goal in goals.items() if not goal.met(figures[name])],
        rounds=len(ratios),
    )


def _let_write(crowd: Crowd, side: str, url: str, seconds: float, seen: _Seen) -> None:
    """One round of a crowd's one side, and what it leaves behind."""
    with closing(sessionledger.connect(url)) as sessions:
        ids = [sessions.create().session_id for _ in range(1 if crowd.one_session else crowd.count)]
    writers = [Writer(number, ids[number % len(ids)]) for number in range(crowd.count)]
    written = _written(crowd, side, url, writers, seconds)
    seen.rates.append(sum(each.in_time for each in written) / seconds)
    for each in written:
        seen.waits += each.waits
        seen.errors += each.errors
    seen.left += count(crowd.database, url, written)


def _written(crowd: Crowd, side: str, url: str, writers: Sequence[Writer], seconds: float) -> list[Written]:
    """Start the processes, and return what each writer did."""
    apart = [[writer] for writer in writers] if crowd.how == "processes" else [list(writers)]
    barrier = _CONTEXT.Barrier(len(apart), timeout=60)
    options = dict.fromkeys(crowd.options, True) if side == "ours" else {}
    running = []
    for some in apart:
        receiving, sending = _CONTEXT.Pipe(duplex=False)
        work = (crowd.how, side, crowd.database, url, options, some, barrier.wait, seconds, sending)
        started = _CONTEXT.Process(target=writing.process, args=work)
        started.start()
        sending.close()
        running.append((started, receiving))
    found: list[Written] = []
    for started, receiving in running:
        answer = receiving.recv()
        started.join()
        if isinstance(answer, Exception):
            raise answer
        found += answer
    return found


def count(kind: str, url: str, written: Sequence[Written]) -> Counter[str]:
    """Count what is wrong in the sessions that were written to.

    Lost: acknowledged, and not there under the sequence that was acknowledged. Doubled: there more than once. Gaps:
    numbers that no message of a session has, up to the session's own counter.
    """
    left: Counter[str] = Counter()
    with closing(FLOORS[kind](url)) as floor:
        for session_id in {each.writer.session_id for each in written}:
            query = (
                f"SELECT sequence, substr(content, 2, {MARK}) FROM session_messages WHERE session_id = {floor.place}"
            )
            stored = [tuple(row) for row in floor.connection.execute(query, (session_id,))]
            query = f"SELECT last_sequence FROM sessions WHERE session_id = {floor.place}"
            (last,) = floor.connection.execute(query, (session_id,)).fetchone()
            left["gaps"] += len(set(range(1, last + 1)) ^ {sequence for sequence, _ in stored})
            marks = [found for _, found in stored if found[:5].isdigit()]
            left["doubled"] += len(marks) - len(set(marks)) + len(stored) - len({sequence for sequence, _ in stored})
            rows = set(stored)
            for each in written:
                if each.writer.session_id == session_id:
                    acknowledged = [(it, mark(each.writer, at)) for at, it in enumerate(each.sequences) if it]
                    left["acknowledged"] += len(acknowledged)
                    left["lost"] += sum(row not in rows for row in acknowledged)
    left["errors"] = sum(each.errors.total() for each in written)
    return left


def check_counting(kind: str) -> None:
    """The control: what is planted must be found, a message that is lost and one that is there twice.

    Raises:
        AssertionError: The counting finds something else, and so finds nothing that can be trusted.
    """
    url = real_databases.fresh(kind)
    with closing(sessionledger.connect(url)) as sessions:
        session_id = sessions.create().session_id
    crowd = Crowd(kind, "threads", 2, one_session=True)
    written = _written(crowd, "ours", url, [Writer(0, session_id), Writer(1, session_id)], 0.2)
    with closing(FLOORS[kind](url)) as floor:
        _expect(kind, url, written, lost=0, doubled=0, gaps=0)
        floor.append(session_id, f"{mark(written[0].writer, 0)} {TEXT}")
        _expect(kind, url, written, lost=0, doubled=1, gaps=0)
        middle = f"DELETE FROM session_messages WHERE session_id = {floor.place} AND sequence = {floor.place}"
        floor.connection.execute(middle, (session_id, written[1].sequences[0]))
        _expect(kind, url, written, lost=1, doubled=1, gaps=1)
        later = f"UPDATE sessions SET last_sequence = last_sequence + 1 WHERE session_id = {floor.place}"
        floor.connection.execute(later, (session_id,))
        _expect(kind, url, written, lost=1, doubled=1, gaps=2)


def _expect(kind: str, url: str, written: Sequence[Written], **planted: int) -> None:
    found = count(kind, url, written)
    assert {name: found[name] for name in planted} == planted, f"{kind}: planted {planted}, found {dict(found)}"
