"""Archives of several sessions whose lines were changed by somebody who computed every digest again."""

import io
import json

from behave import given, then, when

from forged_archives import (
    chained,
    edited,
    header,
    line,
    lines_of,
    message,
    sealed,
    session,
    ulid,
    usage,
)


def records(words="Where is parcel {}?"):
    """Three sessions, the second of them empty: lines 2 to 10 of an archive."""
    first = session(
        1,
        [message(1, words.format(1)), message(2, "On its way.", role="assistant")],
        [usage(1, input_tokens=5, cost="0.5"), usage(2, output_tokens=7)],
        title="First",
    )
    third = session(3, [message(1, words.format(3), of=3)], [usage(1, of=3, input_tokens=1)], title="Third")
    return [*first, *session(2, title="Second"), *third]


HEADER, FIRST, MESSAGE, ANSWER, USAGE, LATER_USAGE, SECOND, THIRD, LAST, LAST_USAGE = range(10)


def replaced(lines, number, *others):
    return [*lines[:number], *others, *lines[number + 1 :]]


def changed(number, **changes):
    return lambda lines: replaced(lines, number, edited(lines[number], **changes))


def ordered(*numbers):
    return lambda lines: [lines[number] for number in numbers]


def counted(lines, **changes):
    return replaced(lines, HEADER, edited(lines[HEADER], **changes))


def without(number, name):
    def change(lines):
        values = json.loads(lines[number])
        del values[name]
        return replaced(lines, number, line(values))

    return change


def totals_of(lines, number):
    return json.loads(lines[number])["usage"]


def doubled_usage(lines):
    """The record is there twice, and every sum says so."""
    usage_of = totals_of(lines, FIRST) | {"output_tokens": 14}
    lines = counted(lines, usage_records=4)
    lines = replaced(lines, FIRST, edited(lines[FIRST], usage=usage_of))
    return replaced(lines, LATER_USAGE, lines[LATER_USAGE], lines[LATER_USAGE])


def doubled_session(lines):
    lines = counted(lines, sessions=4, messages=5, usage_records=5)
    return [*lines[:SECOND], *lines[FIRST:SECOND], *lines[SECOND:]]


CHAINED = {
    "a message of another session": changed(ANSWER, session_id=ulid("S", 3)),
    "a message of a session that is not there": changed(LAST, session_id=ulid("S", 9)),
    "a record of token usage of another session": changed(LATER_USAGE, session_id=ulid("S", 3)),
    "a message behind the next session": ordered(0, 1, 2, 4, 5, 6, 3, 7, 8, 9),
    "a message before the first session": ordered(0, 2, 1, 3, 4, 5, 6, 7, 8, 9),
    "sessions that descend": ordered(0, 7, 8, 9, 6, 1, 2, 3, 4, 5),
    "two sessions exchanged": ordered(0, 1, 2, 3, 4, 5, 7, 8, 9, 6),
    "a session twice": doubled_session,
    "token usage before the messages": ordered(0, 1, 4, 5, 2, 3, 6, 7, 8, 9),
    "token usage between the messages": ordered(0, 1, 2, 4, 3, 5, 6, 7, 8, 9),
    "token usage that descends": ordered(0, 1, 2, 3, 5, 4, 6, 7, 8, 9),
    "a record of token usage twice": doubled_usage,
    "two messages exchanged": ordered(0, 1, 3, 2, 4, 5, 6, 7, 8, 9),
    "its first message missing": ordered(0, 1, 3, 4, 5, 6, 7, 8, 9),
    "its last message missing": ordered(0, 1, 2, 4, 5, 6, 7, 8, 9),
    "a record of token usage missing": ordered(0, 1, 2, 3, 5, 6, 7, 8, 9),
    "its second session missing": ordered(0, 1, 2, 3, 4, 5, 7, 8, 9),
    "its third session missing": ordered(0, 1, 2, 3, 4, 5, 6),
    "no header": ordered(1, 2, 3, 4, 5, 6, 7, 8, 9),
    "two headers": ordered(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    "a header at its end": ordered(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0),
    "a last line in its middle": lambda lines: replaced(lines, SECOND, sealed([]).strip(), lines[SECOND]),
    "a record of another kind": lambda lines: replaced(lines, SECOND, b'{"record":"note"}', lines[SECOND]),
    "a record whose kind is a list": lambda lines: replaced(lines, SECOND, b'{"record":["message"]}'),
    "a record whose kind is null": changed(ANSWER, record=None),
    "a record without a kind": without(ANSWER, "record"),
    "a message that says it is a session": changed(ANSWER, record="session"),
    "a header that counts a session less": lambda lines: counted(lines, sessions=2),
    "a header that counts a session more": lambda lines: counted(lines, sessions=4),
    "a header that counts a message less": lambda lines: counted(lines, messages=2),
    "a header that counts a message more": lambda lines: counted(lines, messages=4),
    "a header that counts a record of usage less": lambda lines: counted(lines, usage_records=2),
    "a header that counts a record of usage more": lambda lines: counted(lines, usage_records=4),
    "a header that counts -1 sessions": lambda lines: counted(lines, sessions=-1),
    "a header that counts true messages": lambda lines: counted(lines, messages=True),
    "a header that counts 3.0 messages": lambda lines: counted(lines, messages=3.0),
    "a header without a generator": without(HEADER, "generator"),
    "another content under its hash": changed(MESSAGE, content="It is lost.", content_sha256="0" * 64),
    "a content hash in capitals": lambda lines: replaced(
        lines, MESSAGE, edited(lines[MESSAGE], content_sha256=json.loads(lines[MESSAGE])["content_sha256"].upper())
    ),
    "a message id twice in a session": changed(ANSWER, message_id=ulid("M", 1, 1)),
    "a time without a zone": changed(MESSAGE, created_at="2026-01-05T09:30:00"),
    "a time with a space": changed(MESSAGE, created_at="2026-01-05 09:30:00+00:00"),
    "a time in seven decimal places": changed(MESSAGE, created_at="2026-01-05T09:30:00.1234567+00:00"),
    "a time by its week": changed(MESSAGE, created_at="2026-W02-1T09:30:00+00:00"),
    "a time at 24:00": changed(MESSAGE, created_at="2026-01-05T24:00:00+00:00"),
    "a time whose offset has 60 minutes": changed(MESSAGE, created_at="2026-01-05T09:30:00+01:60"),
    "a leap second": changed(MESSAGE, created_at="2026-06-30T23:59:60+00:00"),
    "a time in other digits": changed(MESSAGE, created_at="\u0662026-01-05T09:30:00+00:00"),
    "a time before year 1": changed(MESSAGE, created_at="0001-01-01T00:00:00+14:00"),
    "a content hash of null": changed(MESSAGE, content_sha256=None),
    "no content hash": without(MESSAGE, "content_sha256"),
    "a sequence of 3 after 1": changed(ANSWER, sequence=3),
    "a sequence of 1 after 1": changed(ANSWER, sequence=1),
    "a sequence of 0": changed(MESSAGE, sequence=0),
    "a sequence of 2 at first": changed(LAST, sequence=2),
    "a sequence of 1.0": changed(MESSAGE, sequence=1.0),
    "a sequence of true": changed(MESSAGE, sequence=True),
    "a last sequence too small": changed(FIRST, last_sequence=1),
    "a last sequence too large": changed(FIRST, last_sequence=3),
    "other totals": lambda lines: changed(FIRST, usage=totals_of(lines, FIRST) | {"input_tokens": 6})(lines),
    "another cost": lambda lines: changed(FIRST, usage=totals_of(lines, FIRST) | {"cost": "0.6"})(lines),
    "no cost where there is one": lambda lines: changed(FIRST, usage=totals_of(lines, FIRST) | {"cost": None})(lines),
    "a cost of 0 where there is none": lambda lines: changed(THIRD, usage=totals_of(lines, THIRD) | {"cost": "0"})(
        lines
    ),
    "a cost with a fraction too long": changed(USAGE, cost="0.50000000001"),
    "a cost with a fraction that rounds": changed(USAGE, cost="0.5" + "0" * 29 + "1"),
    "a cost as a double": changed(USAGE, cost=0.5),
    "a cost that is no number": changed(USAGE, cost="NaN"),
    "a cost below zero": changed(USAGE, cost="-0.5"),
    "counts that sum up beyond 2^63": changed(LATER_USAGE, input_tokens=2**63 - 1),
    "text that is a list": changed(MESSAGE, content=["Where?"]),
    "a namespace of null": changed(FIRST, namespace=None),
    "a title of 1,001 characters": changed(FIRST, title="x" * 1001),
    "a key with a NUL": changed(FIRST, key="a\x00b"),
    "a time that is no time": changed(FIRST, created_at="2026-02-30T00:00:00+00:00"),
}

AS_IT_IS = {
    "a wrong preceding_sha256": changed(THIRD, preceding_sha256="0" * 64),
    "a preceding_sha256 in its first session that is wrong": changed(FIRST, preceding_sha256="f" * 64),
    "a message from another archive": lambda lines: replaced(lines, MESSAGE, other_lines()[MESSAGE]),
    "an empty session from another archive": lambda lines: replaced(lines, SECOND, other_lines()[SECOND]),
    "a whole session from another archive": lambda lines: [*lines[:THIRD], *other_lines()[THIRD:]],
    "its second session missing, and not counted": lambda lines: counted_before(lines),
    "another title in its first session": changed(FIRST, title="Another"),
}


def other_lines():
    """The lines of an archive of the same sessions with other words, and so with other digests."""
    return lines_of(records("Has parcel {} come?"), generator="another generator")


def counted_before(lines):
    """Chained up to where the second session was: all that a careless forger forgets is the chain after it."""
    head = chained([edited(lines[HEADER], sessions=2), *lines[FIRST:SECOND]])
    return [*head, *lines[THIRD:]]


@given("an archive of three sessions")
def three_sessions(context):
    context.lines = lines_of(records())
    assert len(context.lines) == 10
    assert context.lines[HEADER] == line(header(records()))


def bring(context, lines):
    context.archive = sealed(lines)
    context.world.attempt(lambda: context.world.service.import_sessions(io.BytesIO(context.archive)))


@when("it is imported with {fault} and every digest computed again")
def import_chained(context, fault):
    lines = CHAINED[fault](context.lines)
    assert lines != context.lines
    bring(context, chained(lines))


@when("it is imported with {fault} and its last line computed again")
def import_as_it_is(context, fault):
    lines = AS_IT_IS[fault](context.lines)
    assert lines != context.lines
    bring(context, lines)


@when("it is imported as it is")
def import_unchanged(context):
    bring(context, chained(context.lines))
    assert chained(context.lines) == context.lines


@then("its three sessions are stored")
def three_are_stored(context):
    receipt = context.world.result
    found = [context.world.service.get(session_id).title for session_id in receipt.session_ids]
    assert found == ["First", "Second", "Third"], found


@then("every fault that the steps know is in {feature}")
def faults_are_told(context, feature):
    told = (context.checkout / feature).read_text()
    missing = [fault for fault in (*CHAINED, *AS_IT_IS) if f"| {fault} " not in told]
    assert not missing, missing
