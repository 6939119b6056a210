"""Messages: appended, read, numbered."""

import hashlib
import json
import re

from behave import given, then, when

from sessionledger import NewMessage
from steps.sessions import NOBODY, just_now, said, values_of


def append(context, **values):
    """Append one message and remember it, or the error."""
    context.given = values
    session_id = context.session.session_id
    context.world.attempt(lambda: context.world.service.append_message(session_id, **values))
    if context.world.succeeded:
        context.messages = [context.world.result]


def read(context):
    return context.world.service.get_messages(context.session.session_id)


@when("the messages {contents} are appended one by one")
def append_one_by_one(context, contents):
    service, session_id = context.world.service, context.session.session_id
    found = re.findall(r'"([^"]*)"', contents)
    context.messages = [service.append_message(session_id, "user", content) for content in found]


@when("a message is appended with")
def append_with(context):
    append(context, **{"role": "user"} | values_of(context.table))


@when('a message is appended with the role "{role}"')
def append_with_role(context, role):
    append(context, role=role, content="Hello")


@when('a message is appended to "{title}"')
def append_to(context, title):
    context.world.service.append_message(context.named[title].session_id, "user", "Hello")


@when("a message of {count:d} characters is appended")
def append_long(context, count):
    append(context, role="user", content="ü" * (count // 2) + "x" * (count - count // 2))


@when("a message is appended expecting sequence {sequence:d}")
def append_expecting(context, sequence):
    append(context, role="user", content="Hello", expected_sequence=sequence)


@when("a message is appended to a session that does not exist")
def append_to_nobody(context):
    context.world.attempt(lambda: context.world.service.append_message(NOBODY, "user", "Hello"))


@when("a batch of {count:d} messages is appended")
def append_batch(context, count):
    context.batch = [NewMessage(role="user", content=f"Of the batch {number}") for number in range(count)]
    context.messages = context.world.service.append_messages(context.session.session_id, context.batch)


@when('a batch of {count:d} messages is appended, the last of them with the role "{role}"')
@when('a batch of {count:d} messages is appended, the last of them with the role ""')
def append_wrong_batch(context, count, role=""):
    batch = [*said(count - 1), {"role": role, "content": "Hello"}]
    context.world.attempt(lambda: context.world.service.append_messages(context.session.session_id, batch))


@when("its messages are read with {window}")
def read_window(context, window):
    window = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", window)}
    context.messages = context.world.service.get_messages(context.session.session_id, **window)


@when("the messages of a session that does not exist are read")
def read_nobody(context):
    context.world.attempt(lambda: context.world.service.get_messages(NOBODY))


@then("it has {count:d} messages")
def count_is(context, count):
    assert len(read(context)) == count
    assert context.world.service.get(context.session.session_id).last_sequence == count


@then("their sequences are {sequences}")
@then("its sequence is {sequences}")
def sequences_are(context, sequences):
    if " to " in sequences:
        first, last = map(int, sequences.split(" to "))
        expected = list(range(first, last + 1))
    else:
        expected = [] if sequences == "none" else [int(each) for each in sequences.split(", ")]
    found = [message.sequence for message in context.messages]
    assert found == expected, found


@then("reading the session gives the same messages")
def reading_gives_them(context):
    found = read(context)
    assert found == context.messages, f"{found!r:.500} is not {context.messages!r:.500}"
    assert [message.content for message in found] == [message.content for message in context.messages]


@then("reading the session gives {count:d} messages, the last {last:d} of them the batch")
def reading_gives_batch(context, count, last):
    found = read(context)
    assert [message.sequence for message in found] == list(range(1, count + 1))
    assert [message.content for message in found[-last:]] == [message.content for message in context.batch]


@then("the message has these values")
def has_these_values(context):
    (message,) = context.messages
    found = {name: getattr(message, name) for name in context.given}
    assert found == context.given, found


@then("its content_sha256 is the SHA-256 of its canonical content")
def hash_is_right(context):
    (message,) = context.messages
    canonical = json.dumps(message.content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert message.content_sha256 == hashlib.sha256(canonical.encode()).hexdigest()


@then("it was created just now, in UTC")
def created_now(context):
    just_now(context.messages[0].created_at)


@then("the session was last updated when the message was created, or later")
def updated_then(context):
    found = context.world.service.get(context.session.session_id)
    assert found.updated_at >= context.messages[0].created_at > context.session.updated_at, found


@given("a message of its own id, appended")
def appended_with_id(context):
    append(context, role="user", content="Where is my parcel?", message_id=context.message_id)
