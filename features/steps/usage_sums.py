"""Sums of the ledger of token usage."""

import io
import itertools
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal

from behave import given, then, when

import sessionledger
from sessionledger import NewMessage

COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


def session_named(context, name, **values):
    """The id of the session that the scenario calls so; it is made when it is named first."""
    if name not in context.named:
        context.named[name] = context.world.service.create(**values).session_id
    return context.named[name]


def read(name, written):
    """A cell of a table; an empty one is `None`."""
    if written == "":
        return None
    if name in {*COUNTS, "records", "sessions"}:
        return int(written)
    return {"cost": Decimal, "imported": "yes".__eq__}.get(name, str)(written)


@given("sessions that used")
def sessions_used(context):
    for row in context.table:
        values = {name: read(name, row[name]) for name in row.headings if read(name, row[name]) is not None}
        actor, at = values.pop("actor_name", None), values.pop("recorded_at", None)
        session_id, usage_id = session_named(context, values.pop("session"), actor_name=actor), sessionledger.new_id()
        context.world.service.update_token_usage(session_id, usage_id=usage_id, **values)
        if at is not None:
            script = f"UPDATE token_usage SET recorded_at = '{at}:00.000000' WHERE usage_id = '{usage_id}'"
            context.world.kind.load(context.world.url, script)


@given("a session with {count:d} records of a cost of {small}, and as many of {large}")
def many_costs(context, count, small, large):
    session_id = context.world.service.create().session_id
    messages = [
        NewMessage(role="assistant", content="Hello", usage={"cost": Decimal(cost)})
        for cost in (small, large)
        for _ in range(count)
    ]
    context.world.service.append_messages(session_id, messages)


@when('a message of "{name}" used {input_tokens:d} input tokens and {output_tokens:d} output tokens')
def message_used(context, name, **usage):
    context.world.service.append_message(context.named[name], "assistant", "On its way.", usage=usage)


@when("a message of the imported session used {input_tokens:d} input tokens and {output_tokens:d} output tokens")
def imported_used(context, **usage):
    message_used(context, "imported", **usage)


@when('"{name}" is given to the actor "{actor_name}"')
def given_to(context, name, actor_name):
    context.world.service.update(context.named[name], actor_name=actor_name)


@when('"{name}" is deleted')
def deleted(context, name):
    context.world.service.delete(context.named[name])


@when('"{name}" is exported and imported {times:d} times')
def imported_again(context, name, times):
    import_times(context, name, times)


@when('"{name}" is exported and imported as a copy {times:d} times')
def imported_as_copies(context, name, times):
    import_times(context, name, times, as_copy=True)


def import_times(context, name, times, **options):
    service, file = context.world.service, io.BytesIO()
    service.export_session(context.named[name], file)
    for _ in range(times):
        file.seek(0)
        context.named["imported"] = service.import_session(file, **options).session_id


def add_up(context, service=None, **wanted):
    service = service or context.world.service
    context.world.attempt(lambda: service.sum_token_usage(**wanted))


@when("token usage is summed")
def summed(context):
    add_up(context)


@when('token usage is summed of "{name:w}"')
def summed_of(context, name):
    add_up(context, session_id=context.named[name])


@when("token usage is summed of the imported session")
def summed_of_imported(context):
    summed_of(context, "imported")


@when("token usage is summed of a session that is not there")
def summed_of_nobody(context):
    add_up(context, session_id=sessionledger.new_id())


@when('token usage is summed in the namespace "{namespace}"')
def summed_in(context, namespace):
    add_up(context, context.world.connect(namespace=namespace))


@when('token usage is summed of "{name:w}" in the namespace "{namespace}"')
def summed_of_in(context, name, namespace):
    add_up(context, context.world.connect(namespace=namespace), session_id=context.named[name])


def time_or_none(written):
    return None if written == "ever" else datetime.fromisoformat(written)


@when("token usage is summed since {since} and until {until}")
def summed_between(context, since, until):
    add_up(context, since=time_or_none(since), until=time_or_none(until))


@then("the sums are")
def sums_are(context):
    expected = [{name: read(name, row[name]) for name in row.headings} for row in context.table]
    found = []
    for each in context.world.result:
        told = asdict(each)
        told |= told.pop("usage")
        found.append({name: told[name] for name in context.table.headings})
    assert found == expected, found


@then("there are no sums")
def no_sums(context):
    assert context.world.result == []


def input_tokens(sums):
    return sum(each.usage.input_tokens for each in sums)


@then("{count:d} input tokens were used")
def tokens_were_used(context, count):
    assert input_tokens(context.world.result) == count, context.world.result


@then("the sums of each hour from {start} on, {hours:d} of them, are {count:d} input tokens together")
def hours_together(context, start, hours, count):
    times = [datetime.fromisoformat(start) + timedelta(hours=number) for number in range(hours + 1)]
    sums = [
        input_tokens(context.world.service.sum_token_usage(since=since, until=until))
        for since, until in itertools.pairwise(times)
    ]
    assert sum(sums) == count, sums
    assert max(sums) < count, sums


@then("the one cost is exactly {cost}")
def one_cost(context, cost):
    (found,) = context.world.result
    assert found.usage.cost == Decimal(cost), found
