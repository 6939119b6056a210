"""Archives: written, damaged, read back."""

import dataclasses
import hashlib
import io
import json
from decimal import Decimal

from behave import given, then, when

import sessionledger
from steps.sessions import make
from steps.token_usage import ledger


@given("a session with everything")
def a_session_with_everything(context):
    values = {"title": "Where is my parcel? 📦", "actor_name": "support-bot", "workspace": "north-office"}
    make(context, key="ticket/4711", metadata={"channel": "mail", "tries": [1, 2.5, None]}, **values)
    service, session_id = context.world.service, context.session.session_id
    service.append_message(session_id, "system", "You help people find their parcels.", metadata={"prompt": 3})
    service.append_message(session_id, "user", [{"type": "text", "text": "Where is it?\x00\ud800"}])
    call = {"id": "call_7", "type": "function", "function": {"name": "track", "arguments": '{"number": 1e16}'}}
    item = {"role": "assistant", "content": None, "tool_calls": [call]}
    usage = {"input_tokens": 12, "output_tokens": 4, "cached_input_tokens": 10, "cost": Decimal("0.0000012")}
    service.append_message(session_id, "assistant", item, format="openai.chat", usage=usage, model="small")
    service.append_message(session_id, "tool", "On its way: -0.0", tool_call_id="call_7")
    service.update_token_usage(session_id, input_tokens=3, reasoning_tokens=2, model="large")
    service.update(session_id, archived=True)
    context.session = service.get(session_id)
    context.messages = service.get_messages(session_id)
    context.ledger = ledger(context)


@when("it is exported")
def export(context):
    file = io.BytesIO()
    context.receipt = context.world.service.export_session(context.session.session_id, file)
    context.archive = file.getvalue()


@when("it is exported again")
def export_again(context):
    context.first_archive = context.archive
    export(context)


@when("it is exported behind {count:d} other bytes")
def export_behind(context, count):
    context.file = io.BytesIO()
    context.file.write(b"x" * count)
    context.world.service.export_session(context.session.session_id, context.file)
    context.file.seek(count)


@when("the archive is imported from the file as it stands")
def import_from_file(context):
    context.imported = context.world.service.import_session(context.file)
    context.imported_messages = context.world.service.get_messages(context.imported.session_id)


@when("the archive is imported into an empty ledger")
def import_elsewhere(context):
    context.exported, context.world.url = context.session, context.world.fresh()
    service = context.world.connect()
    context.session = context.imported = service.import_session(io.BytesIO(context.archive))
    context.imported_messages = service.get_messages(context.imported.session_id)


@when("the archive is imported")
@when("the archive is imported again")
def import_it(context):
    imported = context.world.service.import_session(io.BytesIO(context.archive))
    context.both = [*getattr(context, "both", ()), imported]


@when("the archive is imported as a copy")
@when("the archive is imported as a copy again")
def import_copy(context):
    imported = context.world.service.import_session(io.BytesIO(context.archive), as_copy=True)
    context.both = [*getattr(context, "both", ()), imported]


def sealed(lines):
    """Lines as an archive with the right checksum."""
    data = b"".join(line + b"\n" for line in lines)
    return data + b'{"sha256":"%s"}\n' % hashlib.sha256(data).hexdigest().encode()


def edited(line, **changes):
    return json.dumps(json.loads(line) | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def damaged(archive, damage):
    """An archive as `damage` says; where the checksum is not what is damaged, it is right."""
    *lines, end = archive.splitlines()
    header = lines[0]
    messages = [number for number, line in enumerate(lines) if b'"content"' in line]
    first, second, last = messages[0], messages[1], messages[-1]
    middle = len(archive) // 2
    exchanged, without = list(lines), list(lines)
    exchanged[first], exchanged[second] = lines[second], lines[first]
    del without[second]

    def with_line(number, line):
        return sealed([*lines[:number], line, *lines[number + 1 :]])

    damages = {
        "one byte changed": archive[:middle] + bytes([archive[middle] ^ 1]) + archive[middle + 1 :],
        "its first byte changed": bytes([archive[0] ^ 1]) + archive[1:],
        "its last byte missing": archive[:-1],
        "its last line missing": archive[: -len(end) - 1],
        "a byte too many": archive + b"\n",
        "two messages exchanged": b"\n".join([*exchanged, end, b""]),
        "one message missing": b"\n".join([*without, end, b""]),
        "nothing in it": b"",
        "a newer format version": with_line(0, edited(header, format_version=2)),
        "an unknown record": with_line(1, b'{"unknown":1}'),
        "a message too many": sealed([*lines[: last + 1], lines[last], *lines[last + 1 :]]),
        "a gap in its sequences": with_line(last, edited(lines[last], sequence=len(messages) + 1)),
        "a wrong content hash": with_line(first, edited(lines[first], content_sha256="0" * 64)),
        "a line that is no JSON": with_line(second, b"{not JSON}"),
        "a number of 41 digits": with_line(second, edited(lines[second], content=int("9" * 41))),
        "a line nested 100 deep": with_line(second, lines[second][:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}"),
    }
    assert damages[damage] != archive
    return damages[damage]


@when("its archive is imported with {damage}")
def import_damaged(context, damage):
    data = damaged(context.archive, damage)
    context.world.attempt(lambda: context.world.service.import_session(io.BytesIO(data), as_copy=True))


def without(record, *names):
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in names}


@then("the imported session equals the exported one but for its ids, its key, its namespace and its version")
def sessions_equal(context):
    changed = ("session_id", "key", "namespace", "version", "source")
    imported, exported = without(context.imported, *changed), without(context.exported, *changed)
    assert imported == exported, f"{imported} is not {exported}"
    assert context.imported.session_id != context.exported.session_id
    assert (context.imported.key, context.imported.version) == (None, 1)
    assert context.imported.source.session_id == context.exported.session_id


@then("the imported messages equal the exported ones but for their ids")
def messages_equal(context):
    exported, imported = (
        [without(message, "session_id", "message_id") for message in messages]
        for messages in (context.messages, context.imported_messages)
    )
    assert len(exported) == 4
    assert imported == exported, f"{imported} is not {exported}"


@then("the receipt tells the archive's SHA-256, size, format version {version:d} and counts")
def receipt_tells(context, version):
    *lines, end = context.archive.splitlines(keepends=True)
    expected = sessionledger.ArchiveReceipt(
        sha256=hashlib.sha256(b"".join(lines)).hexdigest(),
        size=len(context.archive),
        format_version=version,
        sessions=1,
        messages=len(context.messages),
        usage_records=len(context.ledger),
    )
    assert context.receipt == expected, f"{context.receipt} is not {expected}"
    assert end == b'{"sha256":"%s"}\n' % expected.sha256.encode()


@then("the last line of the archive is the SHA-256 of every byte before it")
def last_line_is_the_digest(context):
    *lines, end = context.archive.splitlines(keepends=True)
    assert json.loads(end) == {"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}


@then("both archives are equal byte for byte")
def archives_equal(context):
    assert context.archive == context.first_archive


@then("its token usage is that of the exported session")
def usage_equals(context):
    assert context.imported.usage == context.exported.usage != sessionledger.TokenUsage()


@then("the file is still open")
def file_is_open(context):
    assert not context.file.closed
