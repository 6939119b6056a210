"""The same request again."""

import json
from decimal import Decimal

from behave import given, then, when

import sessionledger
from sessionledger import NewMessage
from steps.messages import count_is
from steps.sessions import said
from steps.token_usage import COUNTS, add, ledger


def send(context, messages=None, session_id=None, **named):
    """Append a batch; one message alone by `append_message`."""
    service, session_id = context.world.service, session_id or context.session.session_id
    messages = messages or context.sent
    if len(messages) == 1:
        context.world.attempt(lambda: [service.append_message(session_id, **messages[0], **named)])
    else:
        context.world.attempt(lambda: service.append_messages(session_id, messages, **named))


def send_first(context, messages, **named):
    context.sent = messages
    send(context, **named)
    context.first = context.world.result


def new_message(**values):
    return {"role": "user", "content": "Where is my parcel?", "message_id": sessionledger.new_id(), **values}


@given("a message with an id of the caller's, appended")
def first_message(context):
    send_first(context, [new_message()])


@given("a message with an id of the caller's, appended expecting sequence {sequence:d}")
def first_message_expecting(context, sequence):
    send_first(context, [new_message()], expected_sequence=sequence)


@given("a message with an id of the caller's and {count:d} input tokens, appended")
def first_message_with_usage(context, count):
    send_first(context, [new_message(usage={"input_tokens": count}, model="small")])


@given("a message with the content {content}, appended")
def first_message_with_content(context, content):
    send_first(context, [new_message(content=json.loads(content), format="acme.item")])


@given("a batch of {count:d} messages with ids of the caller's, appended")
def first_batch(context, count):
    send_first(context, [new_message(content=f"Of the batch {number}") for number in range(count)])


@when("{count:d} more messages are appended")
def append_more(context, count):
    context.world.service.append_messages(context.session.session_id, said(count))


@when("the message is sent again")
@when("the batch is sent again")
def send_again(context):
    send(context)


@when("the batch is sent again in reverse")
def send_reversed(context):
    send(context, context.sent[::-1])


@when("the message is sent again with another {part:w}")
def send_changed(context, part):
    other = {"content": "Where is my letter?", "role": "developer", "tool_call_id": "call_8", "format": "acme.item"}
    send(context, [context.sent[0] | {part: other[part]}])


@when("the message is sent again with {count:d} input tokens")
def send_usage(context, count):
    send(context, [context.sent[0] | {"usage": {"input_tokens": count}, "model": "small"}])


@when("the message is sent again without token usage")
def send_no_usage(context):
    send(context, [context.sent[0] | {"usage": None}])


@when("it is sent again with the content {content}")
def send_content(context, content):
    send(context, [context.sent[0] | {"content": json.loads(content)}])


@when("the batch is sent again with a new message behind it")
def send_mixed(context):
    context.new = new_message()
    send(context, [*context.sent, context.new])


@when("the batch is sent again with its second message changed")
def send_second_changed(context):
    first, second, *rest = context.sent
    send(context, [first, second | {"content": "Changed"}, *rest])


@when("the message is sent again expecting sequence {sequence:d}")
def send_again_expecting(context, sequence):
    send(context, expected_sequence=sequence)


@when("the message is appended to another session")
def send_elsewhere(context):
    context.other = context.world.service.create()
    send(context, session_id=context.other.session_id)
    context.messages = context.world.result


@when('a message is appended by the caller\'s key "{key}"')
def append_by_key(context, key):
    send(context, [new_message(message_id=sessionledger.message_id_for(key))])
    context.answers = [*getattr(context, "answers", ()), *context.world.result]


@when("token usage of {count:d} input tokens is added under an id of the caller's")
def add_under_id(context, count):
    context.usage_id = sessionledger.new_id()
    add(context, input_tokens=count, usage_id=context.usage_id)
    assert context.totals.input_tokens == count


@when("token usage of {count:d} input tokens is added under the same id")
def add_under_same_id(context, count):
    add(context, input_tokens=count, usage_id=context.usage_id)


@when("token usage of {count:d} input tokens is added under the same id to another session")
def add_under_same_id_elsewhere(context, count):
    context.session = context.world.service.create()
    add_under_same_id(context, count)


@when("a message with that id and the same token usage is appended")
def append_with_recorded_usage(context):
    usage = {name: getattr(context.totals, name) for name in COUNTS}
    send(context, [new_message(message_id=context.usage_id, usage=usage)])
    assert context.world.result[0].sequence == 1


@when("a message with that id and {count:d} input tokens is appended")
def append_with_other_usage(context, count):
    send(context, [new_message(message_id=context.usage_id, usage={"input_tokens": count})])


@when("a cost of {cost} is added {count:d} times")
@when("a cost of {cost} is added {count:d} time")
def add_cost(context, cost, count):
    messages = [NewMessage(role="assistant", content="Hello", usage={"cost": Decimal(cost)}) for _ in range(count)]
    context.world.service.append_messages(context.session.session_id, messages)


@when("the imported session is changed")
def change_imported(context):
    context.world.service.append_message(context.both[0].session_id, "user", "Something new")
    context.world.before = context.world.contents()


@then("the answer is the first one")
def first_answer(context):
    assert context.world.result == context.first, context.world.result


@then("the answer is the first one in reverse")
def first_answer_reversed(context):
    assert context.world.result == context.first[::-1], context.world.result


@then("both answers are the same message")
def same_message(context):
    assert len(context.answers) == 2
    assert context.answers[0] == context.answers[1]


@then("it has {count:d} message")
def one_message(context, count):
    count_is(context, count)


@then("it is refused with MessageConflictError telling {which}")
def conflict(context, which):
    error = context.world.refusal(sessionledger.MessageConflictError)
    message = {"its id": context.sent[0], "the second id": context.sent[min(1, len(context.sent) - 1)]}
    expected = context.new if which == "the new id" else message[which]
    assert error.message_ids == (expected["message_id"],), error
    assert error.session_id == context.session.session_id
    assert expected["message_id"] in str(error)


@then("it is refused with UsageConflictError telling its usage id")
def usage_conflict(context):
    error = context.world.refusal(sessionledger.UsageConflictError)
    assert (error.session_id, error.usage_id) == (context.session.session_id, context.usage_id)


@then("both sessions hold it")
def both_hold_it(context):
    service = context.world.service
    for session in (context.session, context.other):
        ids = [message.message_id for message in service.get_messages(session.session_id)]
        assert ids.count(context.sent[0]["message_id"]) == 1, ids


@then("the ledger of token usage holds {count:d} records")
def records(context, count):
    assert len(ledger(context)) == count


@then("its cost is exactly {cost}")
def cost_is(context, cost):
    found = context.world.service.get(context.session.session_id).usage.cost
    assert found == Decimal(cost), found


@then("one more cost of {cost} is refused")
def cost_refused(context, cost):
    add(context, cost=Decimal(cost))
    context.world.refusal(sessionledger.InvalidInputError)


@then("nothing has changed but the imported session")
def only_imported_changed(context):
    assert context.world.contents() == context.world.before
