"""Archives that are sealed again, cut, flipped, and sent through pipes."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor

from behave import then, when

import sessionledger
from steps.archives import edited, sealed


def refused(context, data):
    try:
        context.world.service.import_session(io.BytesIO(data))
    except sessionledger.ArchiveError:
        return True
    return False


@then("the archive is refused with each of its bits flipped")
def bits_flipped(context):
    data = bytearray(context.archive)
    assert len(data) > 1000
    context.before_flips = context.world.contents()
    for position in range(len(data) * 8):
        data[position // 8] ^= 1 << position % 8
        assert refused(context, bytes(data)), f"bit {position}"
        data[position // 8] ^= 1 << position % 8
    assert bytes(data) == context.archive


@when("it is exported in {compression:w} and imported")
def export_compressed(context, compression):
    file = io.BytesIO()
    service = context.world.service
    receipt = service.export_session(context.session.session_id, file, compression=compression)
    context.archive = file.getvalue()
    assert len(context.archive) == receipt.compressed_size < receipt.size
    context.imports = service.import_sessions(io.BytesIO(context.archive))


@then("with each of its bits flipped the archive is refused, or is the same archive")
def bits_flipped_or_same(context):
    """A bit of a compressed file may mean nothing (gzip's time); then what is in it has the same digest."""
    data = bytearray(context.archive)
    context.before_flips = context.world.contents()
    same = 0
    for position in range(len(data) * 8):
        data[position // 8] ^= 1 << position % 8
        try:
            imported = context.world.service.import_sessions(io.BytesIO(bytes(data)))
        except sessionledger.ArchiveError:
            imported = None
        same += imported is not None
        assert imported in (None, context.imports), f"bit {position}"
        data[position // 8] ^= 1 << position % 8
    assert same < len(data), f"{same} flips were accepted"


@then("the archive is refused cut short at each of its bytes")
def cut_short(context):
    for length in range(len(context.archive)):
        assert refused(context, context.archive[:length]), f"{length} bytes"


@then("the archive is refused with any byte added behind it")
def byte_added(context):
    for byte in range(256):
        assert refused(context, context.archive + bytes([byte])), f"byte {byte}"


@then("nothing of them is stored")
def nothing_stored(context):
    assert context.world.contents() == context.before_flips
    assert not refused(context, context.archive)


def broken(lines, fault):
    """The lines of an archive with a fault."""
    header, session = lines[0], lines[1]
    messages = [line for line in lines if b'"record":"message"' in line]
    usage = [line for line in lines if b'"record":"usage"' in line]
    totals = json.loads(session)["usage"]

    def of_header(**changes):
        return [edited(header, **changes), *lines[1:]]

    def of_session(**changes):
        return [header, edited(session, **changes), *lines[2:]]

    def of_message(line):
        return [header, session, line, *lines[3:]]

    first = messages[0]
    faults = {
        "another format": lambda: of_header(format="acme.archive"),
        "a format version that is a string": lambda: of_header(format_version="1"),
        "format version 0": lambda: of_header(format_version=0),
        "a header that counts more messages": lambda: of_header(messages=len(messages) + 1),
        "a header that counts 2 sessions": lambda: of_header(sessions=2),
        "a header that counts a million and one messages": lambda: of_header(messages=1_000_001),
        "a header that counts ten thousand and one sessions": lambda: of_header(sessions=10_001),
        "no session": lambda: [header, *lines[2:]],
        "token usage before the messages": lambda: [header, session, *usage, *messages],
        "another last sequence": lambda: of_session(last_sequence=len(messages) + 1),
        "other totals": lambda: of_session(usage=totals | {"input_tokens": 99}),
        "a field missing": lambda: of_message(first.replace(b'"role":"system",', b"")),
        "a field of the wrong type": lambda: of_message(edited(first, created_at=7)),
        "a time without a zone": lambda: of_message(edited(first, created_at="2026-01-01T00:00:00")),
        "a time before year 1": lambda: of_message(edited(first, created_at="0001-01-01T00:00:00+14:00")),
        "an id that is no ULID": lambda: of_message(edited(first, message_id="no ULID")),
        "a role of two words": lambda: of_message(edited(first, role="two words")),
        "metadata that is a list": lambda: of_session(metadata=[]),
        "a negative count": lambda: [*lines[:-1], edited(usage[-1], input_tokens=-1)],
        "a key twice": lambda: of_message(first.replace(b'"role":', b'"role":"user","role":', 1)),
        "NaN": lambda: of_message(first.replace(b'"metadata":{', b'"metadata":{"x":NaN,', 1)),
        "bytes that are not UTF-8": lambda: of_message(first.replace(b"parcels", b"\xff\xfe")),
        "a line that is a list": lambda: of_message(b"[]"),
        "an empty line": lambda: [header, session, b"", *lines[2:]],
        "a line of 9 MiB": lambda: of_message(first.replace(b"parcels", b"x" * (9 * 1024 * 1024))),
    }
    found = faults[fault]()
    assert found != lines
    return found


@when("its archive is sealed again with {fault} and imported")
def import_broken(context, fault):
    lines = context.archive.splitlines()[:-1]
    assert sealed(lines) == context.archive
    data = sealed(broken(lines, fault))
    context.world.attempt(lambda: context.world.service.import_session(io.BytesIO(data)))


@when("it is exported into a pipe and imported from a pipe")
def through_pipes(context):
    """Neither side can seek, and a pipe takes and gives less than it is asked for."""
    service, session_id = context.world.service, context.session.session_id
    reading, writing = (os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with ThreadPoolExecutor(1) as pool, reading:
        read = pool.submit(reading.readall)
        with writing:
            service.export_session(session_id, writing)
        data = read.result()
    reading, writing = (os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with ThreadPoolExecutor(1) as pool, reading:
        pool.submit(write_and_close, writing, data)
        imported = service.import_session(reading)
    context.imported_messages = service.get_messages(imported.session_id)


def write_and_close(file, data):
    with file:
        file.write(data)


@then("all {count:d} messages are there with the sequences 1 to n")
def all_there(context, count):
    assert [message.sequence for message in context.imported_messages] == list(range(1, count + 1))


@when('the archive is imported in the namespace "{namespace}"')
def import_in(context, namespace):
    service = context.world.connect(namespace=namespace)
    imported = service.import_session(io.BytesIO(context.archive))
    assert imported.namespace == service.namespace == namespace
    context.imported_messages = service.get_messages(imported.session_id)


@then('the namespace "{first}" has {one:d} session and "{second}" has {two:d} session')
def namespaces_have(context, first, one, second, two):
    found = [len(context.world.connect(namespace=name).list(include_archived=True)) for name in (first, second)]
    assert found == [one, two], found
