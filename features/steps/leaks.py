"""Steps about what errors, logs and values tell."""

import sys
from unittest import mock

from behave import then, when

import leaking
import leaking_callers
from canaries import MARK, examined, texts_of
from sessionledger.infrastructure.database.engine import Call


def examine(context, kinds):
    context.findings = [examined(kind) for kind in kinds]


@when("every kind of error that a database brings about is provoked")
def provoke_database(context):
    examine(context, leaking.database_kinds(context))


@when("every kind of error that sessionledger finds by itself is provoked")
def provoke_own(context):
    examine(context, leaking.own_kinds(context))


@when("kinds of error that a database brings about are provoked with the translation switched off")
def provoke_untranslated(context):
    with mock.patch.object(Call, "failure", return_value=None):
        examine(context, leaking.quick_kinds(context))


@when("the same is done with SQLAlchemy alone, told to hide parameters")
def provoke_raw(context):
    context.raw = {name: texts_of(error) for name, error in leaking.raw_errors(context)}


@when("every parameter of every call is given values that are wrong")
def provoke_input(context):
    examine(context, leaking_callers.input_kinds(context))


@when("every kind of command that fails is run")
def provoke_commands(context):
    examine(context, leaking_callers.command_kinds(context))


def tell(context, text):
    print(f"Canaries on {context.database_name}, {context.mode}: {text}", file=sys.__stdout__)


@then("each is one of ours")
def each_ours(context):
    wrong = [f"{found.kind.name}: {found.unexpected}" for found in context.findings if found.unexpected]
    assert not wrong, "\n".join(wrong)


@then("there are at least {count:d} of them, and none tells anything")
def none_tells(context, count):
    raised = [found for found in context.findings if found.error is not None or found.kind.expected is str]
    leaks = [f"{found.kind.name}: {', '.join(found.places)}" for found in context.findings if found.places]
    classes = sorted({type(found.error).__name__ for found in raised if found.error})
    tell(context, f"{len(raised)} kinds of error, {len(leaks)} leaks ({', '.join(classes) or 'commands'})")
    assert not leaks, "\n".join(leaks)
    assert len(raised) >= count, len(raised)


@then("at least {count:d} of them tell what they must not (control)")
def some_tell(context, count):
    leaks = [found.kind.name for found in context.findings if found.places]
    tell(context, f"without our translation {len(leaks)} of {len(context.findings)} kinds leak (control)")
    assert len(leaks) >= count, leaks


@then("at least {count:d} of its errors quote the message in their text (control)")
def raw_quote(context, count):
    leaks = [name for name, texts in context.raw.items() if MARK in texts["str"]]
    tell(context, f"SQLAlchemy with hidden parameters quotes it in {len(leaks)} of {len(context.raw)} errors (control)")
    assert len(leaks) >= count, leaks
