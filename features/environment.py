"""Before and after the scenarios: which database and which mode a run is for.

    behave -D database=sqlite|postgresql -D mode=sync|async

A scenario that a database or mode cannot run is tagged with the capability it needs, e.g. `@needs.server`; it is left
out where the capability is missing, and told at the end of the run: by its name, or several of a feature by their
number.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from behave.model import Scenario
from behave.runner import Context
from sqlalchemy import Connection, Engine, event

from databases import KINDS, Kinds
from world import AsyncWorld, World

CHECKOUT = Path(__file__).parent.parent
CONVERSATIONS = CHECKOUT.parent / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json.gz"
SCHEMAS = CHECKOUT / "features" / "schemas"


def before_all(context: Context) -> None:
    chosen = context.config.userdata
    context.database_name = chosen.get("database", "sqlite")
    context.mode = chosen.get("mode", "sync")
    context.make_world = {"sync": World, "async": AsyncWorld}[context.mode]
    context.kinds = Kinds()
    context.capabilities = KINDS[context.database_name].capabilities | {context.mode}
    if CONVERSATIONS.is_file():
        context.capabilities |= {"conversations"}
    context.exempt = {}


def before_scenario(context: Context, scenario: Scenario) -> None:
    needed = {tag.removeprefix("needs.") for tag in scenario.effective_tags if tag.startswith("needs.")}
    if missing := sorted(needed - context.capabilities):
        scenario.skip(f"needs {', '.join(missing)}")
        context.exempt.setdefault((scenario.feature.name, ", ".join(missing)), []).append(scenario.name)
        return
    context.world = context.make_world(context.kinds, context.database_name)
    context.checkout, context.conversations_file, context.schemas = CHECKOUT, CONVERSATIONS, SCHEMAS
    context.named, context.session = {}, None

    def note(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        context.world.statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    context.world.stack.callback(event.remove, Engine, "before_cursor_execute", note)


def after_scenario(context: Context, _scenario: Scenario) -> None:
    if "world" in context:
        with context.world.stack:
            _ = context.world.result  # an error that no step has judged fails the scenario


def after_all(context: Context) -> None:
    context.kinds.close()
    for (feature, missing), names in context.exempt.items():
        named = names[0] if len(names) == 1 else f"{len(names)} scenarios"
        # Past what Behave captures, which it shows only where something fails.
        told = f"Left out on {context.database_name}, {context.mode}: {feature}: {named} (needs {missing})"
        print(told, file=sys.__stdout__)
