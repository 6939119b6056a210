"""Archives that are too much, or are read in two ways; and the limits on them, at their edges."""

import gzip
import io
import json

from behave import given, then, when

import sessionledger
from canaries import CONTENT, MARK, texts_of
from forged_archives import (
    archive,
    canonical,
    chained,
    conversation,
    header,
    line,
    message,
    sealed,
    session,
    sha256,
    with_footer,
)
from hostile_archives import MIB, MadeUp, bomb, plain, with_window, zstd


def bring(context, file, limits=None):
    """Import a file that anybody might have made."""
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    context.file = file
    context.world.attempt(lambda: context.world.service.import_sessions(file, limits=limits))


# A line


def nested(levels):
    return b"[" * levels + b"]" * levels


CONTENTS = {
    "65 levels": nested(64),
    "70 levels": nested(69),
    "700 levels": nested(699),
    "800 levels": nested(799),
    "900 levels": nested(899),
    "10,000 levels": nested(9_999),
    "content of 61 levels": nested(61),
    "60 levels": nested(60),
    "an integer of 40 digits": b"9" * 40,
    "an integer of 41 digits": b"9" * 41,
    "an integer of 5,000 digits": b"-" + b"9" * 5000,
    "a number of 5,000 decimal places": b"0." + b"3" * 5000,
    "an exponent of 5,000 digits": b"1e-" + b"0" * 4999 + b"1",
    "two million empty objects": b"[" + b",".join([b"{}"] * 2_000_000) + b"]",
    "two million nulls": b"[" + b",".join([b"0"] * 2_000_000) + b"]",
    "content of 200,001 values": b"[" + b",".join([b"0"] * 200_001) + b"]",
    "content of 7 MiB and one byte": b'"' + b"x" * (7 * MIB - 1) + b'"',
    "a key twice": b'{"a":1,"a":2}',
    "a key twice, once with an escape": rb'{"a":1,"\u0061":2}',
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "-1e400": b"[-1e400]",
    "a byte that is no UTF-8": b'"\xff"',
    "an overlong NUL": b'"\xc0\x80"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "an encoded pair of surrogates": b'"\xed\xa0\xbd\xed\xb3\xa6"',
    "a NUL in a string": b'"a\x00b"',
    "a NUL between tokens": b"\x001",
    "a tab in a string": b'"a\tb"',
    "a line feed in a string": b'"a\nb"',
    "a form feed between tokens": b"\x0c1",
    "a no-break space between tokens": b"\xc2\xa01",
    "half an escape": rb'"\u00"',
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "a number without its fraction": b"1.",
    "digits of another script": "\u0661".encode(),
    "single quotes": b"'a'",
    "a comma too many": b"[1,]",
    "lone surrogates as escapes": rb'["\uD800","x\udfffy","\udc00\ud800"]',
    "a pair of surrogates as escapes": rb'"\ud83d\udce6"',
    "a NUL as an escape": rb'"a\u0000b"',
    "a zero width no-break space": '"\ufeffx"'.encode(),
    "keys in another order": b'{"b":2,"a":1}',
    "escapes that it does not need": rb'"Zo\u00EB\/"',
    "a numeral that rounds": b"[0.1000000000000000055511,1e0,1E16,1e-400]",
}

OTHERS = {
    "metadata of 64 KiB and one byte": lambda each: each.replace(
        b'"metadata":{', b'"metadata":{"x":"%s",' % (b"x" * 65536)
    ),
    "a field twice": lambda each: each.replace(b'"role":', b'"role":"user","role":', 1),
    "a byte order mark before it": lambda each: b"\xef\xbb\xbf" + each,
    "a comment": lambda each: each + b" // " + MARK.encode(),
    "two values": lambda each: each + b" " + each,
    "nothing in it": lambda _: b"",
    "a list around it": lambda each: b"[" + each + b"]",
    "spaces and a carriage return": lambda each: each.replace(b'"PLACE"', b'{ "a" :\t[1 , 2]}') + b"\r",
}


def with_line_4(what):
    """A sealed archive whose fourth line, its second message, is as said."""
    records = [message(1, CONTENT), message(2, "PLACE", format="acme.any", metadata={"note": MARK})]
    *lines, last = chained([line(each) for each in (header(messages=2, sessions=1), *session(1, records))])
    if what == "no line feed at its end":
        return with_footer(b"\n".join([*lines, last]))
    written = CONTENTS.get(what)
    changed = OTHERS[what](last) if written is None else last.replace(b'"PLACE"', written)
    assert changed != last
    return sealed([*lines, hashed(changed)])


def hashed(each):
    """The line with the hash of its content, if `json` can read it."""
    try:
        record = json.loads(each)
        found = sha256(canonical(record["content"]))
    except (ValueError, TypeError, RecursionError):
        return each
    return each.replace(record["content_sha256"].encode(), found.encode())


@when("an archive is imported whose line 4 has {what}, with a limit of {value:d} on {limit:w}")
def import_line_under(context, what, value, limit):
    bring(context, with_line_4(what), sessionledger.ArchiveLimits(**{limit: value}))


@when("an archive is imported whose line 4 has {what}")
def import_line(context, what):
    bring(context, with_line_4(what))


@then("the error names line {number:d}")
def names_number(context, number):
    assert context.error.line == number, context.error
    assert str(context.error).endswith(f"(line {number}).")


@then("the error names line {number:d} and that it is nested too deeply")
def names_nesting(context, number):
    names_number(context, number)
    assert "nested" in context.error.rule, context.error


@then("it tells nothing of the content")
def tells_nothing(context):
    told = {place: text for place, text in texts_of(context.error).items() if MARK in text.lower()}
    assert not told, told


@then("exported again its last message has the content {text}")
def exported_content(context, text):
    file = io.BytesIO()
    context.world.service.export_session(context.session.session_id, file)
    last = file.getvalue().splitlines()[3].decode()
    assert last.startswith(f'{{"content":{text},"content_sha256":"{sha256(text)}"'), last


# The file


def with_fault(what):
    data = plain()
    *lines, end = data.splitlines()
    faults = {
        "a byte order mark": lambda: sealed([b"\xef\xbb\xbf" + lines[0], *lines[1:]]),
        "a carriage return before each line feed": lambda: data.replace(b"\n", b"\r\n"),
        "line feeds alone as carriage returns": lambda: data.replace(b"\n", b"\r"),
        "no last line feed": lambda: data[:-1],
        "a second line feed at its end": lambda: data + b"\n",
        "a digest in capitals": lambda: data.replace(end, b'{"sha256":"%s"}' % end[11:-2].upper()),
        "a space in its last line": lambda: data.replace(end, end.replace(b":", b": ")),
        "nothing but a last line": lambda: sealed([]),
        "UTF-16": lambda: data.decode().encode("utf-16"),
        "itself twice": lambda: data + data,
        "an empty archive behind it": lambda: data + archive([]),
    }
    found = faults[what]()
    assert found != data
    return found


@when("a file is imported with {what}")
def import_with_fault(context, what):
    bring(context, with_fault(what))


@then("the error says: {said}")
def error_says(context, said):
    assert said in str(context.error), context.error


# The limits


def of_known(limit):
    """An archive and the least value of a limit under which it can be read."""
    content = {"of": [CONTENT, 12345678901234567890, json.loads(nested(10))]}
    data = archive([*conversation(CONTENT, content), *session(2, [message(1, CONTENT, of=2)])])
    lines = data.splitlines(keepends=True)
    longest = max(lines, key=len)
    known = {
        "size": lambda: (data, len(data)),
        "compressed_size": lambda: (gzip.compress(data), len(gzip.compress(data))),
        "window": lambda: (with_window(20, data), MIB),
        "line": lambda: (data, len(longest)),
        "depth": lambda: (data, 13),
        "digits": lambda: (data, 20),
        "values": lambda: (data, max(sum(map(each.count, (b",", b"[", b"{"))) for each in lines) + 1),
        "messages": lambda: (data, 3),
        "sessions": lambda: (data, 2),
    }
    return known[limit]()


@given("an archive whose {limit:w} is known")
def known_archive(context, limit):
    context.limit = limit
    context.archive, context.value = of_known(limit)


@when("it is imported with this limit set to it")
def import_at_limit(context):
    bring(context, context.archive, sessionledger.ArchiveLimits(**{context.limit: context.value}))


@when("it is imported with this limit set to one less")
def import_beyond_limit(context):
    bring(context, context.archive, sessionledger.ArchiveLimits(**{context.limit: context.value - 1}))


@given("an archive of 3 MiB that compresses to a few kilobytes")
def compressible(context):
    context.archive = zstd().compress(archive(conversation("a" * 3 * MIB)))
    assert len(context.archive) < 4096


@when("it is imported")
def import_it(context):
    bring(context, context.archive)


@when("it is imported with a ratio of {ratio:d}")
def import_with_ratio(context, ratio):
    bring(context, context.archive, sessionledger.ArchiveLimits(ratio=ratio))


@then("the error tells {allowed:d} {limit}")
def error_tells(context, allowed, limit):
    assert (context.error.allowed, context.error.limit) == (allowed, limit), context.error
    assert str(context.error) == f"The archive exceeds the limit of {allowed} {limit}."


@when("an archive is imported under a limit of {value} on {limit:w}")
def import_with_no_limit(context, value, limit):
    context.world.attempt(
        lambda: context.world.service.import_sessions(
            io.BytesIO(plain()), limits=sessionledger.ArchiveLimits(**{limit: json.loads(value)})
        )
    )


# Bombs


@when("this is imported: {name}")
def import_bomb(context, name):
    bring(context, bomb(name))


@when("an archive is imported whose line 2 has 1 GB")
def import_long_line(context):
    start = line(header(messages=1, sessions=1)) + b'\n{"content":"' + CONTENT.encode()
    bring(context, MadeUp(start, MARK.encode(), 10**9))


@then("no more than {count:d} MiB of it have been read")
def bytes_read(context, count):
    assert 8 * MIB <= context.file.taken <= count * MIB, context.file.taken
