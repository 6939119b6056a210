"""A Hypothesis state machine against a model in plain dictionaries and lists.

Each step calls a service (blocking or awaiting, in one of two namespaces) and the model. Both must give the same, or
the same error, and afterwards the database must hold what the model holds. The rules are in `rules.py`, what is
compared in `machine.py`, the model in `model.py`.
"""

from __future__ import annotations

import itertools
import secrets
from contextlib import closing
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.stateful import run_state_machine_as_test

from careless import CARELESS
from harness import Found, Kind, control, fault
from machine import Bench
from rules import Ledger

ALWAYS = {
    "create",
    "create taken",
    "get or create",
    "get and find",
    "delete",
    "page",
    "append",
    "append cancelled and resent",
    "append in a fork",
    "batch",
    "resend",
    "resend with other content",
    "mixed batch",
    "read after",
    "read the last",
    "usage with an id",
    "usage resent",
    "usage resent with other counts",
    "usage under a message's id",
    "append under a usage's id",
    "usage cancelled and resent",
    "sum",
    "sum of a session",
    "export",
    "import",
    "import cancelled and sent again",
}
"""What even a short run must do."""
RULES = ALWAYS | {
    "create again after deletion",
    "update",
    "update, right version",
    "update, wrong version",
    "append, right sequence",
    "append, wrong sequence",
    "batch resent",
    "usage without an id",
    "import again",
    "import elsewhere",
    "import again elsewhere",
    "import as a copy",
}
OUTCOMES = {
    "cancelled",
    "cancelled and stored",
    "SessionNotFoundError",
    "SessionExistsError",
    "MessageConflictError",
    "SequenceConflictError",
    "UsageConflictError",
    "VersionConflictError",
}
ROUNDS = 20
SHRINKING = (Phase.generate, Phase.shrink)


def run(bench: Bench, *, seed: int, phases: tuple[Phase, ...] = SHRINKING, **amounts: Any) -> None:
    """Run the machine; the same seed gives the same examples."""
    machine = hypothesis.seed(seed)(type("Ledger", (Ledger,), {"bench": bench}))
    chosen = hypothesis.settings(
        deadline=None,
        database=None,
        phases=phases,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **amounts,
    )
    run_state_machine_as_test(machine, settings=chosen)


@fault(
    "everything that a service can do, in any order, against a model",
    short={"examples": 12, "steps": 200, "fresh": False},
    full={"examples": 2000, "steps": 50_000, "fresh": True},
)
def model(kind: Kind, found: Found, *, examples: int, steps: int, fresh: bool) -> None:
    """At least so many examples and steps, and more of them until everything has happened."""
    seed = secrets.randbits(63) if fresh else 1
    wanted = RULES | OUTCOMES if fresh else ALWAYS
    with closing(Bench(kind)) as bench:
        try:
            for seed_of_round in range(seed, seed + ROUNDS):
                run(bench, seed=seed_of_round, max_examples=max(examples // 4, 12), stateful_step_count=30)
                missing = wanted - (+bench.rules + bench.outcomes).keys()
                if bench.examples >= examples and bench.steps >= steps and not missing:
                    break
        finally:
            found |= {"seed": str(seed), "examples": bench.examples, "steps": bench.steps}
            found |= {"kinds_of_step": len(bench.rules), "cancels_and_kinds_of_error": len(bench.outcomes)}
    assert not missing, f"what never happened: {missing}"
    assert bench.examples >= examples, "too few examples"
    assert bench.steps >= steps, "too few steps"


@control(
    "a careless service, against the same model",
    short={"services": 2, "examples": 60, "steps": 25},
    full={"services": len(CARELESS), "examples": 200, "steps": 25},
)
def model_careless(kind: Kind, found: Found, *, services: int, examples: int, steps: int) -> None:
    for name, careless in itertools.islice(CARELESS.items(), services):
        with closing(Bench(kind, careless)) as bench:
            try:
                run(
                    bench,
                    seed=1,
                    phases=(Phase.generate,),
                    verbosity=Verbosity.quiet,
                    max_examples=examples,
                    stateful_step_count=steps,
                )
            except AssertionError:
                found[f"{name}: found after steps"] = bench.steps
            else:
                raise AssertionError(f"{name}: nothing was found in {bench.steps} steps")
