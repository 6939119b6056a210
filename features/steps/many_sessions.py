"""Archives of many sessions: chosen, moved, followed while they are."""

import io
import json
from datetime import datetime

from behave import given, then, when

import sessionledger
from forged_archives import archive, message, records_of, session, ulid
from sessionledger import ArchiveProgress
from steps.sessions import NOBODY, said

TEXT = 50_000


@given("each of them has 2 messages and token usage")
def each_has_messages(context):
    for title, made in context.named.items():
        context.world.service.append_messages(made.session_id, said(2))
        context.world.service.update_token_usage(made.session_id, input_tokens=len(title), model="small")
        context.named[title] = context.world.service.get(made.session_id)


def chosen(context, choice):
    """The arguments of an export, from words: `actor_name ann, session_ids A B`."""
    arguments = {}
    for part in () if choice == "nothing" else choice.split(", "):
        name, _, value = part.partition(" ")
        readings = {
            "include_archived": lambda value: json.loads(value),
            "session_ids": lambda value: [context.named[title].session_id for title in value.split()],
            "since": lambda value: context.named[value].updated_at,
        }
        arguments[name] = readings.get(name, str)(value)
    return arguments


@when("they are exported, choosing {choice}")
def export_chosen(context, choice):
    context.file = io.BytesIO()
    context.receipt = context.world.service.export_sessions(context.file, **chosen(context, choice))
    context.archive = context.file.getvalue()


@then("the archive holds {titles}, with their messages and token usage")
def holds(context, titles):
    expected = [] if titles == "none" else titles.split(" ")
    records = records_of(context.archive)
    of_kind = {kind: [each for each in records if each["record"] == kind] for kind in ("session", "message", "usage")}
    assert sorted(each["title"] for each in of_kind["session"]) == expected
    ids = [each["session_id"] for each in of_kind["session"]]
    assert sorted(ids) == ids == sorted(context.named[title].session_id for title in expected)
    for session_id in ids:
        assert [each["sequence"] for each in of_kind["message"] if each["session_id"] == session_id] == [1, 2]
        assert len([each for each in of_kind["usage"] if each["session_id"] == session_id]) == 1
    receipt = context.receipt
    assert (receipt.sessions, receipt.messages, receipt.usage_records) == (len(ids), 2 * len(ids), len(ids))
    assert receipt.size == len(context.archive)


@when("sessions are exported with {name:w} {value}")
def export_wrong(context, name, value):
    values = {
        "nobody's": [NOBODY],
        "none": [],
        "one that is not there among them": [*(each.session_id for each in context.named.values()), NOBODY],
        "one of another namespace": [context.session and context.session.session_id],
        "in a string": NOBODY,
        "10,001 of them": [ulid("S", number) for number in range(10_001)],
        "that are no ULIDs": ["parcel"],
        "without a zone": datetime(2026, 1, 5),  # noqa: DTZ001 - that it has none is the fault
        "of another name": "brotli",
        "that is no string": 7,
        "that is no flag": "yes",
    }
    context.file = io.BytesIO()
    context.world.attempt(lambda: context.world.service.export_sessions(context.file, **{name: values[value]}))


@then("nothing has been written")
def nothing_written(context):
    assert context.file.getvalue() == b""


# Into a ledger


@given("an archive of {count:d} sessions with {messages:d} messages each")
def forged(context, count, messages):
    context.count, context.messages_each = count, messages
    context.archive = archive(many(count, messages))


def many(count, messages):
    return [
        record
        for number in range(1, count + 1)
        for record in session(
            number,
            [message(each, f"Parcel {number}, message {each}", of=number) for each in range(1, messages + 1)],
            key=f"parcel/{number}",
            title=f"Parcel {number}",
        )
    ]


@when("all of it is imported")
@when("all of it is imported again")
def import_all(context):
    context.receipts = [*getattr(context, "receipts", []), imported(context)]


@when("all of it is imported as a copy")
def import_all_as_copy(context):
    context.receipts = [*getattr(context, "receipts", []), imported(context, as_copy=True)]


def imported(context, **options):
    return context.world.service.import_sessions(io.BytesIO(context.archive), **options)


@when("all of it is imported, but its last session has a {fault}")
def import_with_wrong_last(context, fault):
    if fault == "last sequence too large":
        records = [*many(3, 2), *session(4, [message(1, "Hello", of=4)], last_sequence=2)]
    else:
        assert fault == "message id twice"
        same = message(2, "Hello", message_id=ulid("M", 4, 1))
        records = [*many(3, 2), *session(4, [message(1, "Hello", of=4), same])]
    context.world.attempt(lambda: context.world.service.import_sessions(io.BytesIO(archive(records))))


@then("both answers are equal, and there are {count:d} sessions")
def equal_answers(context, count):
    first, second = context.receipts
    assert first == second
    assert len(first.session_ids) == context.count
    sessions_are(context, count)


@then("there are {count:d} sessions, all whole")
def sessions_are(context, count):
    found = context.world.service.list(include_archived=True, limit=1000).sessions
    assert len(found) == count
    for each in found:
        messages = context.world.service.get_messages(each.session_id)
        number = each.title.split()[1]
        assert [it.content for it in messages] == [
            f"Parcel {number}, message {sequence}" for sequence in range(1, context.messages_each + 1)
        ]


@then("the copy has other ids")
def copy_is_other(context):
    first, copy = context.receipts
    assert len(set(first.session_ids) | set(copy.session_ids)) == 2 * context.count
    assert first.sha256 == copy.sha256


@when("one of the sessions is deleted")
def delete_one(context):
    context.world.service.delete(context.receipts[0].session_ids[context.count // 2])
    assert len(context.world.service.list(include_archived=True)) == context.count - 1


@then("none of them has a key, and each tells its source")
def sources(context):
    (receipt,) = context.receipts
    for number, session_id in enumerate(receipt.session_ids, start=1):
        found = context.world.service.get(session_id)
        assert found.key is None
        assert found.source == sessionledger.SessionSource(ulid("S", number), receipt.sha256)
        assert context.world.service.find(f"parcel/{number}") is None


@when("it is imported as one session")
def import_as_one(context):
    context.world.attempt(lambda: context.world.service.import_session(io.BytesIO(context.archive)))


# Followed


@given("a session with {count:d} messages of 50,000 characters")
def long_messages(context, count):
    context.session = context.world.service.create(title="Long")
    contents = [{"role": "user", "content": f"{number} " + "x" * TEXT} for number in range(count)]
    context.world.service.append_messages(context.session.session_id, contents)


@when("it is exported and imported, followed")
def followed(context):
    context.told, file = [], io.BytesIO()
    context.receipt = context.world.service.export_session(context.session.session_id, file, follow=context.told.append)
    file.seek(0)
    context.world.service.import_sessions(file, follow=context.told.append)


@then("it was told of growing numbers, up to all of them, in each step")
def numbers_grow(context):
    assert list(dict.fromkeys(each.step for each in context.told)) == ["export", "checksum", "structure", "import"]
    for step in ("export", "checksum", "structure", "import"):
        told = [each for each in context.told if each.step == step]
        assert told == sorted(told, key=lambda each: (each.size, each.messages))
        assert (step, told[-1].size) == (step, context.receipt.size)
        if step != "checksum":
            expected = ArchiveProgress(step, context.receipt.size, context.receipt.messages, context.receipt.messages)
            assert told[-1] == expected, told[-1]
    assert len([each for each in context.told if each.step == "export"]) > 5
    assert len([each for each in context.told if each.step == "checksum"]) > 5


@when("it is exported while another connection appends to it between the pages")
def export_beside_writer(context):
    writer = context.world.stack.enter_context(sessionledger.connect(context.world.url))
    context.appended = 0

    def append(_):
        context.appended += 1
        writer.append_message(context.session.session_id, "user", "Behind your back")
        writer.create(title=f"New {context.appended}")

    context.file = io.BytesIO()
    context.world.service.export_sessions(context.file, follow=append)
    context.archive = context.file.getvalue()


@then("the archive holds the {count:d} messages that were there when it began")
def holds_the_first(context, count):
    assert context.appended > 5, context.appended
    records = records_of(context.archive)
    assert [each["record"] for each in records] == ["session", *["message"] * count]
    assert records[0]["last_sequence"] == count
    found = context.world.service.get(context.session.session_id)
    assert found.last_sequence == count + context.appended
    receipt = context.world.service.import_sessions(io.BytesIO(context.archive))
    assert receipt.messages == count


@when("it is imported by somebody who gives up in the step {step:w}")
def give_up(context, step):
    class GivenUpError(Exception):
        """A caller's own."""

    def follow(progress):
        if progress.step == step:
            raise GivenUpError

    context.world.attempt(
        lambda: context.world.service.import_sessions(io.BytesIO(context.archive), follow=follow),
    )
    context.gave_up = GivenUpError


@then("the caller's own error comes out")
def own_error(context):
    context.world.refusal(context.gave_up)


@when("it is imported from a file that is changed once it is verified")
def changing_file(context):
    file = io.BytesIO(context.archive)

    def follow(progress):
        if progress.step == "structure":
            place = context.archive.index(b"Parcel 2, message 1")
            file.getbuffer()[place] = ord("B")

    context.world.attempt(lambda: context.world.service.import_sessions(file, follow=follow))
    assert file.getvalue() != context.archive


# Large messages


@given("a session with {count:d} messages of nearly 7 MiB each")
def largest_messages(context, count):
    context.session = context.world.service.create()
    for number in range(count):
        text = f"{number}" + "ü" * (7 * 512 * 1024 - 2)
        context.world.service.append_message(context.session.session_id, "user", text)


@when("it is exported and imported in a database of the other kind")
def to_other_kind(context):
    file = io.BytesIO()
    context.receipt = context.world.service.export_session(context.session.session_id, file)
    file.seek(0)
    context.elsewhere = context.world.connect(context.world.elsewhere())
    context.imported = context.elsewhere.import_session(file)


@then("every message has its content and its hash there")
def same_hashes(context):
    here = context.world.service.get_messages(context.session.session_id)
    there = context.elsewhere.get_messages(context.imported.session_id)
    assert len(here) == len(there) > 2
    for one, other in zip(here, there, strict=True):
        assert (one.content_sha256, one.content) == (other.content_sha256, other.content)
