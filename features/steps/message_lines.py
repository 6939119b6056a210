"""Lines of messages, read the short way and the long way; and ids beside those of a ULID library."""

import hashlib
import io
import json
import random
import time
from unittest import mock

from behave import given, then, when
from ulid import ULID

import sessionledger
from forged_archives import canonical, chained, header, line, message, sealed, session, sha256
from sessionledger.domain.archive import ArchiveReader, reader
from sessionledger.domain.archive.message_lines import message_of

STRINGS = (
    "",
    "Grüße",
    'a "quote"',
    "back\\slash",
    "\n\t\r",
    "\x00\x1f\x7f",
    "\u2028",
    "😀",
    "\ud800",
    ',"content_sha256":"',
)
NUMBERS = (0, -1, 10**39, -(10**40) + 1, 1.5, 1e16, -0.0, 1e-7, 123456789.123)
EDITS = (
    ("user", "us er"),
    ('"role":"user"', '"role":"user","role":"user"'),
    ("text", "te\\u0078t"),
    ('"metadata":{', '"metadata":{"a":1,"a":2,'),
    ('"metadata":{', '"metadata":{ '),
    ('"metadata":{', '"metadata":{"n":NaN,'),
    ('"content":', '"content": '),
    ('"content":', '"content":[],"content":'),
    ('"created_at":"2026-01', '"created_at":"2026-13'),
    ('"created_at":"2026-01', '"created_at":"0001-01'),
    ("+00:00", "+05:30"),
    ("+00:00", "Z"),
    ("+00:00", ""),
    ('"tool_call_id":null', '"tool_call_id":"call_1"'),
    ('"tool_call_id":null', '"tool_call_id":""'),
    ('"tool_call_id":null', '"tool_call_id":"caf\\u00e9"'),
    ('"tool_call_id":null', '"later":1,"tool_call_id":null'),
    ('"message_id":"0', '"message_id":"9'),
    ('"sequence":1,', '"sequence":01,'),
    ('"sequence":1,', '"sequence":1.0,'),
    ('"sequence":1,', '"sequence":true,'),
)


def value(chance, levels=3):
    kind = chance.randrange(6 if levels else 4)
    if kind < 2:
        return "".join(chance.choices(STRINGS, k=chance.randrange(4)))
    if kind == 2:
        return chance.choice(NUMBERS)
    if kind == 3:
        return chance.choice((None, True, False))
    if kind == 4:
        return [value(chance, levels - 1) for _ in range(chance.randrange(4))]
    return {
        value(chance, 0) if chance.random() < 0 else chance.choice(STRINGS): value(chance, levels - 1) for _ in range(3)
    }


def messages(count, seed):
    chance = random.Random(seed)
    for number in range(1, count + 1):
        content = value(chance) if number % 3 else "Plain text. " * 5
        form = "text" if isinstance(content, str) else "json"
        metadata = {} if number % 2 else {"of": value(chance)}
        yield message(number, content, format=form, metadata=metadata)


def spaced(text):
    return text.replace(b"{", b"{ ", 1)


def archive_of(lines, last_sequence):
    start = line(header(sessions=1, messages=last_sequence))
    return sealed(chained([start, line(session(1, last_sequence=last_sequence)[0]), *lines]))


def records(data):
    """What a reader gives or refuses."""
    try:
        return list(ArchiveReader(io.BytesIO(data)).records())
    except sessionledger.ArchiveError as error:
        return type(error).__name__, str(error)


@given("{count:n} messages of random content, metadata and other fields")
def random_messages(context, count):
    context.lines = [line(each) for each in session(1, messages(count, 1))[1:]]
    assert len(context.lines) == count


@when("they are imported as an export writes them, and with a space in every line")
def import_both(context):
    service = context.world.service
    context.found = []
    for lines in (context.lines, [spaced(each) for each in context.lines]):
        data = archive_of(lines, len(lines))
        short = []

        def noted(*arguments, short=short, **named):
            short.append(message_of(*arguments, **named))
            return short[-1]

        with mock.patch.object(reader, "message_of", noted):
            imported = service.import_session(io.BytesIO(data))
        context.found.append((sum(map(bool, short)), service.get_messages(imported.session_id)))


@then("both imports stored the same messages, all of them")
def same_messages(context):
    (short, found), (long, others) = context.found
    assert short > len(context.lines), short  # most lines, each time that they are read
    assert long == 0, long
    fields = ("sequence", "role", "content", "format", "content_sha256", "created_at", "tool_call_id", "metadata")
    plain = [[repr(getattr(each, name)) for name in fields] for each in found]
    assert plain == [[repr(getattr(each, name)) for name in fields] for each in others]
    assert [each.content_sha256 for each in found] == [json.loads(each)["content_sha256"] for each in context.lines]


@given("{count:n} messages of random content, of each a line that is changed in one place")
def changed_messages(context, count):
    chance = random.Random(2)
    context.lines = []
    for each in messages(count, 2):
        (_, record) = session(1, [{**each, "sequence": 1}])
        text = canonical(record)
        old, new = chance.choice(EDITS)
        if chance.random() < 0.5:
            text = text.replace(old, new, 1)
        elif chance.random() < 0.5:  # other content under the hash of its text, as nobody who is honest writes it
            raw = chance.choice(
                ("[1, 2]", '{"b":1,"a":2}', '{"a":1,"a":1}', '"\\u0041"', "1e400", "1" * 41, "[" * 61 + "]" * 61)
            )
            text = canonical({**record, "content": 0, "content_sha256": sha256(raw), "format": "json"})
            text = text.replace('"content":0', f'"content":{raw}', 1)
        else:
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(('"', "\\", "}", "0", "\x01", "é")) + text[place + 1 :]
        context.lines.append(text.encode())


@when("each is read as it is, and with a space")
def read_each(context):
    context.pairs = [tuple(records(archive_of([each], 1)) for each in (one, spaced(one))) for one in context.lines]


@when("each is read as it is, and with a space, by a careless reader")
def read_carelessly(context):
    with mock.patch.object(reader, "message_of", lambda text, **_: message_of(text, values=None)):
        read_each(context)


@then("both are refused with the same error, or both read as the same records")
def both_alike(context):
    for one, (short, long) in zip(context.lines, context.pairs, strict=True):
        assert short == long, f"{one!r}: {short} and {long}"


@then("both are not always refused with the same error")
def not_alike(context):
    assert any(short != long for short, long in context.pairs)


@then("more than {refused:d} were refused and more than {read:d} were read")
def both_kinds(context, refused, read):
    kinds = [isinstance(short, list) for short, _ in context.pairs]
    assert kinds.count(False) > refused, kinds.count(False)
    assert kinds.count(True) > read, kinds.count(True)


@then("{count:n} derived ids of random keys are the first 128 bits of their SHA-256, as the library writes them")
def derived_ids(context, count):
    chance = random.Random(3)
    for _ in range(count):
        key = "".join(chance.choices(STRINGS, k=3)) + str(chance.random())
        text = json.dumps([key], separators=(",", ":"))
        assert sessionledger.message_id_for(key) == str(ULID(hashlib.sha256(text.encode()).digest()[:16])), key


@then("{count:n} new ids are of now, as the library reads them, and no two have the same random bits")
def new_ids(context, count):
    before = time.time()
    found = [ULID.from_str(sessionledger.new_id()) for _ in range(count)]
    assert all(before - 0.001 <= each.timestamp <= time.time() for each in found)
    assert len({bytes(each)[6:] for each in found}) == count
