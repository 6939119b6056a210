"""COMMITs that do not reach the server, and answers to COMMIT that do not reach the client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import proxy
import sessionledger
from appending import new_session
from harness import Ack, Found, Kind, content_of, control, expect_nothing_wrong, fault, judge
from sessionledger import SessionService, StorageError

WRITERS = 4
CHANCE = 0.05


def usage_of(number: int) -> dict[str, int]:
    return {"input_tokens": number % 7 + 1, "output_tokens": number % 3}


Append = Callable[[SessionService, str, int, int], list[int]]
"""Append a writer's so-many-th message; give the sequences it was told."""


def append_once(sessions: SessionService, session_id: str, writer: int, number: int) -> list[int]:
    """As a caller does who leaves the retry to the library."""
    content = content_of(writer, number)
    return [sessions.append_message(session_id, "assistant", content, usage=usage_of(number)).sequence]


def append_naively(sessions: SessionService, session_id: str, writer: int, number: int) -> list[int]:
    """As a caller does who sends again what has no answer, with a new id."""
    while True:
        try:
            return append_once(sessions, session_id, writer, number)
        except StorageError:
            continue


def append_through(through: proxy.Proxy, session_id: str, messages: int, append: Append, **options: Any) -> list[Ack]:
    """Let writers append at once through a proxy that cuts."""

    def write(writer: int) -> list[Ack]:
        return [
            Ack(writer, number, sequence)
            for number in range(messages // WRITERS)
            for sequence in append(sessions, session_id, writer, number)
        ]

    with sessionledger.connect(through.url, **options) as sessions, ThreadPoolExecutor(WRITERS) as pool:
        through.choice = proxy.by_chance(CHANCE, CHANCE, seed=4711)
        return list(itertools.chain.from_iterable(pool.map(write, range(WRITERS))))


def tokens_off(kind: Kind, url: str, session_id: str, acks: Sequence[Ack]) -> int:
    """How far the session's totals, and the sum of its ledger, are from what was sent."""
    expected = [sum(usage_of(ack.number)[name] for ack in acks) for name in ("input_tokens", "output_tokens")]
    totals = f"FROM sessions WHERE session_id = '{session_id}'"
    ledger = f"FROM token_usage WHERE session_id = '{session_id}'"
    with kind.asked(url) as ask:
        found = [
            ask(f"SELECT input_tokens AS input, output_tokens AS output {totals}")[0],
            ask(f"SELECT sum(input_tokens) AS input, sum(output_tokens) AS output {ledger}")[0],
        ]
    return sum(abs(int(row["input"]) - expected[0]) + abs(int(row["output"]) - expected[1]) for row in found)


def cut_commits(kind: Kind, found: Found, messages: int, append: Append, **options: Any) -> None:
    url = kind.fresh()
    session_id = new_session(url)
    with proxy.before(url) as through:
        acks = append_through(through, session_id, messages, append, **options)
    found |= {"acknowledged": len(acks), "cut_before": through.seen[proxy.BEFORE]}
    found |= {"lost_answers": through.seen[proxy.AFTER]} | judge(kind, url, session_id, acks)
    found["tokens_off"] = tokens_off(kind, url, session_id, acks)


@fault(
    "COMMIT cut before and after the server, 5 % each",
    short={"messages": 320, "at_least": 8},
    full={"messages": 10_000, "at_least": 400},
    databases=("postgresql",),
)
def commits_cut(kind: Kind, found: Found, *, messages: int, at_least: int) -> None:
    cut_commits(kind, found, messages, append_once)
    expect_nothing_wrong(found)
    assert found["tokens_off"] == 0, "the totals are not the sum of what was sent"
    assert found["acknowledged"] == messages, "not every message was acknowledged"
    assert found["lost_answers"] >= at_least, f"fewer than {at_least} answers were lost"
    assert found["cut_before"] >= at_least, f"fewer than {at_least} COMMITs were cut before the server"


@control(
    "a retry that mints ids anew",
    short={"messages": 320},
    full={"messages": 10_000},
    databases=("postgresql",),
)
def commits_cut_naive(kind: Kind, found: Found, *, messages: int) -> None:
    cut_commits(kind, found, messages, append_naively, retry_seconds=0)
    assert found["lost_answers"] > 0, "no answer was lost"
    assert found["doubled"] == found["lost_answers"], "the naive retry has not doubled what was lost"
    assert found["tokens_off"] > 0, "the naive retry has counted no tokens twice"
