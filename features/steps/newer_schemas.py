"""Releases on schemas that are newer than they are."""

from behave import then, when

from sessionledger.infrastructure.database import revision, schema
from steps.database_states import FUTURE, current
from steps.migrations import database_of


@when("it is upgraded revision by revision")
def revision_by_revision(context):
    database = database_of(context)
    context.recorded, context.left = {}, {}
    for name in revision.REVISIONS:
        schema.upgrade(database, name)
        context.recorded[name] = recorded(context)
    for name in reversed(revision.REVISIONS[:-1]):
        schema.downgrade(database, name)
        context.left[name] = recorded(context)


def recorded(context):
    rows = context.world.contents().get(revision.COMPATIBLE_TABLE)
    return None if rows is None else {row["revision"] for row in rows}


@then("each revision that can has recorded itself")
def recorded_itself(context):
    first = revision.REVISIONS.index("a7_006_compatible_revisions")
    for name in revision.REVISIONS[:first]:
        assert context.recorded[name] is None, name
    for name in revision.REVISIONS[first:]:
        assert name in context.recorded[name], f"{name} records {context.recorded[name]}"


@then("none was left recorded by a downgrade")
def none_left(context):
    for name, left in context.left.items():
        assert left == context.recorded[name], f"{name}: {left} is not {context.recorded[name]}"


@then("it is accepted, as it is")
def accepted_as_it_is(context):
    assert context.world.succeeded
    assert context.world.result is None
    assert current(context.world.url) == FUTURE


@when("an older release tries to {change:w} it")
def older_release(context, change):
    database = database_of(context)
    calls = {
        "upgrade": lambda: schema.upgrade(database),
        "downgrade": lambda: schema.downgrade(database, revision.REVISIONS[0], allow_data_loss=True),
    }
    context.world.attempt(calls[change])
