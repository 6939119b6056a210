"""What a refusal tells, and that it leaves nothing behind."""

import builtins
import re

from behave import then

import sessionledger


def error_type(name):
    return getattr(sessionledger, name, None) or getattr(builtins, name)


@then("it is refused with {name:w}")
def refused(context, name):
    context.error = context.world.refusal(error_type(name))


@then("it is refused with {name:w} telling session_id")
def refused_telling(context, name):
    refused(context, name)
    assert context.error.session_id in str(context.error)
    if context.session is not None:
        assert context.error.session_id == context.session.session_id, context.error


@then("it is refused with {name:w} telling session_id, expected {expected:d} and found {found:d}")
def refused_telling_both(context, name, expected, found):
    refused_telling(context, name)
    assert (context.error.expected, context.error.found) == (expected, found), context.error


@then("the input is refused, naming {field}")
def input_refused(context, field):
    context.error = error = context.world.refusal(sessionledger.InvalidInputError)
    assert isinstance(error, ValueError)
    assert error.field == field, f"{error.field}: {error}"
    assert str(error) == f"{field} {error.problem}"
    assert re.search(r"\w", error.problem)


@then("nothing has changed")
def nothing_changed(context):
    found = context.world.contents()
    assert found == context.world.before, found


@then("nothing has reached the database")
def nothing_reached(context):
    assert context.world.statements == [], context.world.statements
    nothing_changed(context)
