"""Token usage: added, counted once, summed exactly."""

from decimal import Decimal

from behave import given, then, when

from steps.messages import append
from steps.sessions import NOBODY, said, value_of

COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


def add(context, **values):
    session_id = context.session.session_id
    context.world.attempt(lambda: context.world.service.update_token_usage(session_id, **values))
    if context.world.succeeded:
        context.totals = context.world.result


def usage_of(table):
    values = {row["field"]: value_of(row["field"], row["value"]) for row in table}
    if "cost" in values:
        values["cost"] = Decimal(values["cost"])
    return values


def ledger(context):
    """The session's records, as the database itself tells them."""
    records = context.world.contents()["token_usage"]
    return [row for row in records if row["session_id"] == context.session.session_id]


@given("it has used {input_tokens:d} input tokens and {output_tokens:d} output tokens")
@when("{input_tokens:d} input tokens and {output_tokens:d} output tokens are added")
def add_counts(context, input_tokens, output_tokens):
    add(context, input_tokens=input_tokens, output_tokens=output_tokens)


@when("token usage is added with")
def add_with(context):
    add(context, **usage_of(context.table))


@when("token usage is added to a session that does not exist")
def add_to_nobody(context):
    context.world.attempt(lambda: context.world.service.update_token_usage(NOBODY, input_tokens=1))


@when(
    "a message is appended that used {input_tokens:d} input tokens and {output_tokens:d} output tokens "
    'of the model "{model}"'
)
def append_with_usage(context, input_tokens, output_tokens, model):
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    append(context, role="assistant", content="On its way.", usage=usage, model=model)


@when(
    "a batch of {count:d} messages is appended, each of which used {input_tokens:d} input tokens "
    "and {output_tokens:d} output token"
)
def append_batch_with_usage(context, count, input_tokens, output_tokens):
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    batch = [message | {"role": "assistant", "usage": usage} for message in said(count)]
    context.messages = context.world.service.append_messages(context.session.session_id, batch)


@when("a message with token usage is appended expecting sequence {sequence:d}")
def append_with_usage_expecting(context, sequence):
    append(context, role="assistant", content="Hello", usage={"input_tokens": 5}, expected_sequence=sequence)


@then("its token usage is {input_tokens:d} input_tokens and {output_tokens:d} output_tokens")
def usage_is(context, input_tokens, output_tokens):
    usage = context.world.service.get(context.session.session_id).usage
    assert (usage.input_tokens, usage.output_tokens) == (input_tokens, output_tokens), usage


@then("the totals are {input_tokens:d} input tokens and {output_tokens:d} output tokens")
def totals_are(context, input_tokens, output_tokens):
    found = (context.totals.input_tokens, context.totals.output_tokens)
    assert found == (input_tokens, output_tokens), context.totals


@then("the totals are")
def totals_are_these(context):
    expected = usage_of(context.table)
    found = {name: getattr(context.totals, name) for name in expected}
    assert found == expected, found


@then("getting the session gives the same totals")
def same_totals(context):
    found = context.world.service.get(context.session.session_id).usage
    assert found == context.totals, f"{found} is not {context.totals}"


@then("getting the session gives {input_tokens:d} input tokens and {output_tokens:d} output tokens")
def got_totals(context, input_tokens, output_tokens):
    context.totals = context.world.service.get(context.session.session_id).usage
    totals_are(context, input_tokens, output_tokens)


@then("the ledger of token usage adds up to the same")
def ledger_adds_up(context):
    sums = {name: sum(row[name] or 0 for row in ledger(context)) for name in COUNTS}
    totals = {name: getattr(context.totals, name) or 0 for name in COUNTS}
    assert sums == totals, f"{sums} is not {totals}"


@then("the ledger of token usage still holds {input_tokens:d} input tokens and {output_tokens:d} output tokens of it")
def ledger_holds(context, input_tokens, output_tokens):
    found = [(row["input_tokens"], row["output_tokens"]) for row in ledger(context)]
    assert found == [(input_tokens, output_tokens)], found


@then("the ledger of token usage holds no {first}, {second}, {third} or {fourth}")
def ledger_holds_no(context, **names):
    (row,) = ledger(context)
    assert {row[name] for name in names.values()} == {None}, row


@then("the ledger of token usage has marked every imported record")
def ledger_marks(context):
    exported, imported = ([bool(row["imported"]) for row in records] for records in (context.ledger, ledger(context)))
    assert len(imported) == len(exported) > 0
    assert all(imported)
    assert not any(exported)
