"""Real conversations."""

import gzip
import hashlib
import io
import json
from collections import Counter

from behave import given, then, when

import sessionledger


def canonical_hash(item):
    text = json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def new_messages(items, place=None):
    """A conversation in the OpenAI chat format as messages to append."""
    for number, item in enumerate(items):
        message = {"role": item["role"], "content": item, "format": "openai.chat"}
        message["tool_call_id"] = item.get("tool_call_id")
        if place is not None:
            message["message_id"] = sessionledger.message_id_for(f"{place}/{number}")
        yield message


@given("the recorded conversations: {sessions:d} with {messages:d} messages")
def recorded(context, sessions, messages):
    recordings = json.loads(gzip.decompress(context.conversations_file.read_bytes()))
    context.source = [recording["traj"] for recording in recordings]
    assert len(context.source) == sessions
    assert sum(map(len, context.source)) == messages


@when("each is stored as a session of its own")
def store(context):
    service = context.world.service
    context.stored = []
    for number, items in enumerate(context.source):
        session = service.create(key=f"airline/{number}", actor_name="airline")
        service.append_messages(session.session_id, list(new_messages(items)))
        context.stored.append(session.session_id)
    context.messages = [service.get_messages(session_id) for session_id in context.stored]


@when("the first {count:d} are stored as sessions, twice, with ids derived from their place")
def store_twice(context, count):
    service = context.world.service
    context.both = []
    for _ in range(2):
        answers = []
        for number, items in enumerate(context.source[:count]):
            session = service.get_or_create(f"airline/{number}")
            answers.append(service.append_messages(session.session_id, list(new_messages(items, number))))
        context.both.append(answers)


@when("each session is exported")
def export(context):
    context.archives = []
    for session_id in context.stored:
        file = io.BytesIO()
        context.world.service.export_session(session_id, file)
        context.archives.append(file.getvalue())


@when("each archive is imported into a database of the other kind")
def import_elsewhere(context):
    service = context.world.connect(context.world.elsewhere())
    imported = [service.import_session(io.BytesIO(archive)) for archive in context.archives]
    context.elsewhere = [service.get_messages(session.session_id) for session in imported]
    assert len(service.list(limit=1000)) == len(context.archives)


@then("{sessions:d} sessions and {messages:d} messages are stored")
def are_stored(context, sessions, messages):
    contents = context.world.contents()
    assert (len(contents["sessions"]), len(contents["session_messages"])) == (sessions, messages)


@then("every session has the sequences 1 to n")
def sequences(context):
    for items, messages in zip(context.source, context.messages, strict=True):
        assert [message.sequence for message in messages] == list(range(1, len(items) + 1))


def say_the_same(source, conversations):
    for items, messages in zip(source, conversations, strict=True):
        for item, message in zip(items, messages, strict=True):
            assert message.content == item
            assert (message.role, message.tool_call_id) == (item["role"], item.get("tool_call_id"))


@then("every message says what its source says")
def as_the_source(context):
    say_the_same(context.source, context.messages)


@then("every imported message equals its source")
def imported_as_the_source(context):
    say_the_same(context.source, context.elsewhere)


@then("the messages are {system:d} of system, {user:d} of user, {assistant:d} of assistant and {tool:d} of tool")
def roles(context, **expected):
    found = Counter(message.role for messages in context.messages for message in messages)
    assert found == expected, found


@then("every hash is equal in the source, in the database, in the archive and in the other database")
def hashes(context):
    source = [canonical_hash(item) for items in context.source for item in items]
    rows = {(row["session_id"], row["sequence"]): row for row in context.world.contents()["session_messages"]}
    ordered = [rows[message.session_id, message.sequence] for messages in context.messages for message in messages]
    assert len(source) == len(ordered) == 5308
    assert source == [row["content_sha256"] for row in ordered]
    assert source == [hashlib.sha256(row["content"].encode()).hexdigest() for row in ordered]
    assert source == [message.content_sha256 for messages in context.messages for message in messages]
    lines = [json.loads(line) for archive in context.archives for line in archive.splitlines()]
    records = [line for line in lines if line.get("record") == "message"]
    assert source == [record["content_sha256"] for record in records]
    assert source == [canonical_hash(record["content"]) for record in records]
    assert source == [message.content_sha256 for messages in context.elsewhere for message in messages]


@then("{count:d} sessions are stored and both times gave the same messages")
def stored_once(context, count):
    first, second = context.both
    assert first == second
    assert len(context.world.contents()["sessions"]) == count
    assert len(context.world.contents()["session_messages"]) == sum(map(len, context.source[:count]))
