"""Many at once on one session."""

from decimal import Decimal

from behave import then, when

import sessionledger

WRITERS = {"sync": 8, "async": 32}


def at_once(context, calls_of, count=None):
    """Let every writer make its calls; `calls_of` gives them by the writer's number."""
    world = context.world
    writers = [calls_of(number) for number in range(count or WRITERS[world.mode])]
    context.outcomes = world.at_once(world.service, writers)
    assert len(context.outcomes) == len(writers) >= 2


def answers(context):
    found = [outcome for outcomes in context.outcomes for outcome in outcomes]
    wrong = [outcome for outcome in found if isinstance(outcome, Exception)]
    assert not wrong, wrong
    return found


def read(context):
    return context.world.service.get_messages(context.session.session_id)


@when("each of {writers:d} writers appends {count:d} messages, one by one")
@when("every writer appends {count:d} messages, one by one")
def append_singly(context, count, writers=None):
    session_id = context.session.session_id
    at_once(
        context,
        lambda writer: [("append_message", (session_id, "user", [writer, each]), {}) for each in range(count)],
        writers,
    )
    context.sent = answers(context)


@when("every writer appends {batches:d} batches of {count:d} messages")
def append_batches(context, batches, count):
    session_id = context.session.session_id

    def batch(writer, number):
        return [{"role": "user", "content": [writer, number, each]} for each in range(count)]

    at_once(
        context,
        lambda writer: [("append_messages", (session_id, batch(writer, number)), {}) for number in range(batches)],
    )
    context.batches = answers(context)
    context.sent = [message for sent in context.batches for message in sent]


@when("every writer adds {times:d} times {tokens:d} input tokens and a cost of {cost}")
def add_usage(context, times, tokens, cost):
    call = ("update_token_usage", (context.session.session_id,), {"input_tokens": tokens, "cost": Decimal(cost)})
    at_once(context, lambda _: [call] * times)
    number = len(answers(context))
    context.expected = (number * tokens, number * Decimal(cost))


@when("every writer appends the same message with the same id")
def append_same(context):
    values = {"message_id": sessionledger.new_id()}
    at_once(context, lambda _: [("append_message", (context.session.session_id, "user", "Hello"), values)])
    context.both = answers(context)
    assert all(message == context.both[0] for message in context.both)


@when("every writer adds {tokens:d} input tokens under the same id")
def add_same(context, tokens):
    values = {"input_tokens": tokens, "usage_id": sessionledger.new_id()}
    at_once(context, lambda _: [("update_token_usage", (context.session.session_id,), values)])
    assert {totals.input_tokens for totals in answers(context)} == {tokens}


@when("every writer appends a message expecting sequence {sequence:d}")
def append_expecting(context, sequence):
    values = {"expected_sequence": sequence}
    at_once(context, lambda writer: [("append_message", (context.session.session_id, "user", [writer]), values)])


@when("every writer updates it expecting version {version:d}")
def update_expecting(context, version):
    at_once(
        context,
        lambda writer: [
            ("update", (context.session.session_id,), {"title": f"By {writer}", "expected_version": version})
        ],
    )


@when("half of them append and half of them read")
def append_and_read(context):
    session_id = context.session.session_id

    def calls(number):
        if number % 2:
            return [("get_messages", (session_id,), {})] * 12
        return [("append_messages", (session_id, [{"role": "user", "content": "Hello"}] * 2), {})] * 4

    at_once(context, calls)
    answers(context)


@when("every writer appends {count:d} messages and one of them deletes the session in between")
def append_and_delete(context, count):
    session_id = context.session.session_id
    append = ("append_message", (session_id, "user", "Hello"), {"usage": {"input_tokens": 1}})
    delete = ("delete", (session_id,), {})
    at_once(context, lambda writer: [append, delete, append] if writer == 3 else [append] * count)


@when("every writer creates a session in the same new workspace")
def create_in_workspace(context):
    at_once(context, lambda writer: [("create", (), {"title": f"{writer}", "workspace": "north-office"})])
    context.sent = answers(context)


@when("many connect to the database at once")
def connect_at_once(context):
    context.services = context.world.connect_at_once(WRITERS[context.world.mode])


@then("every message is there once, with the sequence that its writer was told")
def there_once(context):
    stored = {message.message_id: message for message in read(context)}
    assert len(stored) == len(context.sent)
    assert {message.message_id: message for message in context.sent} == stored


@then("the sequences are 1 to n without gaps")
def no_gaps(context):
    found = [message.sequence for message in read(context)]
    assert found == list(range(1, len(context.sent) + 1)), found


@then("each writer's messages are in the order it appended them")
def in_order(context):
    for outcomes in context.outcomes:
        found = [message.sequence for message in outcomes]
        assert found == sorted(found), found


@then("each batch stands together")
def together(context):
    for sent in context.batches:
        found = [message.sequence for message in sent]
        assert found == list(range(found[0], found[0] + len(sent))), found


@then("the totals are exactly the sum of all of it")
def exactly(context):
    context.totals = context.world.service.get(context.session.session_id).usage
    assert (context.totals.input_tokens, context.totals.cost) == context.expected, context.totals


@then("all of them get the same answer")
def same_answer(context):
    assert len(context.both) == WRITERS[context.world.mode]
    assert len(set(map(repr, context.both))) == 1


@then("one of them succeeds, and the others are refused with {name}")
def one_succeeds(context, name):
    found = [outcome for (outcome,) in context.outcomes]
    refused = [outcome for outcome in found if type(outcome) is getattr(sessionledger, name)]
    succeeded = [outcome for outcome in found if not isinstance(outcome, Exception)]
    assert (len(succeeded), len(refused)) == (1, len(found) - 1), found


@then("every reading is 1 to n without gaps and never shorter than the one before")
def readings(context):
    readers = context.outcomes[1::2]
    for reader in readers:
        lengths = []
        for messages in reader:
            assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))
            lengths.append(len(messages))
        assert lengths == sorted(lengths), lengths
    assert len(read(context)) == 8 * len(context.outcomes[::2])


@then("every append is stored before the deletion or refused with SessionNotFoundError")
def stored_or_refused(context):
    deleter = context.outcomes[3]
    assert deleter[1] is None, deleter
    assert isinstance(deleter[2], sessionledger.SessionNotFoundError)
    others = [outcome for number, each in enumerate(context.outcomes) for outcome in each if number != 3]
    for outcome in others:
        assert isinstance(outcome, (sessionledger.SessionMessage, sessionledger.SessionNotFoundError)), outcome
    stored = [message for message in [*others, deleter[0]] if isinstance(message, sessionledger.SessionMessage)]
    assert sorted(message.sequence for message in stored) == list(range(3, len(stored) + 3))


@then("the workspace is registered once")
def registered_once(context):
    (row,) = context.world.contents()["resources"]
    assert (row["kind"], row["name"]) == ("workspace", "north-office")


@then("all of them are listed by the workspace")
def listed_by_workspace(context):
    listed = context.world.service.list(workspace="north-office", limit=100)
    assert {session.session_id for session in listed} == {session.session_id for session in context.sent}


@then("each of them can append and read")
def each_can(context):
    session_id = context.services[0].create().session_id
    for number, service in enumerate(context.services, 1):
        assert service.append_message(session_id, "user", "Hello").sequence == number
        assert len(service.get_messages(session_id)) == number
    assert len(context.services) == WRITERS[context.world.mode]
