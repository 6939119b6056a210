"""Format versions older and newer than this release's, and fields that it does not know."""

import io
import json
from unittest import mock

from behave import given, then, when

import sessionledger
from forged_archives import archive, canonical, chained, edited, message, records_of, sealed, session, usage
from sessionledger.domain.archive import reader, upcasting
from steps.golden_archives import FOLDER

UNKNOWN = {
    "session": {"mood": ["curious", {"level": -0.0}], "pinned": False},
    "message": {"importance": {"of": "parcels", "level": 1.5}},
    "usage": {"price_list": "2026-01"},
}


def step(number):
    """A step that leaves its number in the metadata of what has any."""

    def run(values):
        changed = dict(values)
        if "format_version" in values:
            changed["format_version"] = number + 1
        elif "metadata" in values:
            changed["metadata"] = values["metadata"] | {"steps": [*values["metadata"].get("steps", []), number]}
        return changed

    return run


def fail(_):
    raise AssertionError("a step was asked before the digest was checked")


def release(context, newest, steps):
    for patch in (
        mock.patch.object(reader, "FORMAT_VERSION", newest),
        mock.patch.dict(upcasting.UPCASTS, steps, clear=True),
    ):
        context.world.stack.enter_context(patch)


@given("a release that knows format version {newest:d}")
@given("a release that knows format version {newest:d}, with a step from 1 to 2 and one from 2 to 3")
def knows(context, newest):
    release(context, newest, {number: step(number) for number in range(1, newest)})


@given("a release that knows format version {newest:d}, with steps that fail")
def knows_badly(context, newest):
    release(context, newest, dict.fromkeys(range(1, newest), fail))


def bring(context, data):
    context.world.attempt(lambda: context.world.service.import_session(io.BytesIO(data)))


@when("the golden file {path} is imported")
def import_golden(context, path):
    context.archive = (context.checkout / FOLDER / path).read_bytes()
    bring(context, context.archive)


@when("the same archive is imported as format version {version:d}")
def import_as(context, version):
    first, *others = context.archive.splitlines()[:-1]
    bring(context, sealed(chained([edited(first, format_version=version), *others])))


@when("the golden file {path} is imported as format version {version:d}")
def import_golden_as(context, path, version):
    context.archive = (context.checkout / FOLDER / path).read_bytes()
    import_as(context, version)


@when("the golden file {path} is imported with its last message changed")
def import_changed(context, path):
    archive = (context.checkout / FOLDER / path).read_bytes()
    assert archive.count(b'"role":"critic"') == 1
    bring(context, archive.replace(b'"role":"critic"', b'"role":"editor"'))


@then("each of its messages and its session has gone through no step")
def through_none(context):
    through(context, [])


@then("each of its messages and its session has gone through the step 2")
def through_second(context):
    through(context, [2])


@then("each of its messages and its session has gone through the steps 1 and 2")
def through_both(context):
    through(context, [1, 2])


def through(context, steps):
    imported = context.world.result
    messages = context.world.service.get_messages(imported.session_id)
    assert len(messages) == 6
    for metadata in (imported.metadata, *(each.metadata for each in messages)):
        assert metadata.get("steps", []) == steps, metadata
    assert imported.metadata["channel"] == "mail"


@then("the error tells format version {found:d} and that {supported:d} is the newest known")
def tells_version(context, found, supported):
    assert (context.error.found, context.error.supported) == (found, supported), context.error
    assert f"format version {found};" in str(context.error)


@when("exported from there, imported into a database of the other kind and exported again")
def two_ledgers(context):
    context.archives = [context.archive]
    other = context.world.connect(context.world.elsewhere())
    for service in (context.world.service, other):
        if service is other:
            service.import_sessions(io.BytesIO(context.archives[-1]))
        file = io.BytesIO()
        service.export_sessions(file)
        context.archives.append(file.getvalue())


@then("the session, a message and a record of token usage have the fields that are not known, in every archive")
def unknown_are_there(context):
    assert len(context.archives) == 3
    for data in context.archives:
        for kind, fields in UNKNOWN.items():
            records = [each for each in records_of(data) if each["record"] == kind]
            found = [{name: each[name] for name in fields} for each in records if set(fields) <= set(each)]
            assert canonical(found) == canonical([fields]), (kind, found)


def with_unknown(kind, **fields):
    records = session(1, [message(1, "Where is it?"), message(2, "Here.")], [usage(1)])
    number = {"session": 0, "message": 1, "usage": 3}[kind]
    records[number] |= fields
    return archive(records)


@when("an archive whose {kind:w} has unknown fields of {size:d} bytes is imported")
def import_unknown(context, kind, size):
    fields = {"colour": "", "mood": {"of": ["ü"]}}
    fields["colour"] = "x" * (size - len(canonical(fields).encode()))
    assert len(canonical(fields).encode()) == size
    context.fields = fields
    bring(context, with_unknown(kind, **fields))


@then("it is stored")
def is_stored(context):
    found = context.world.result
    session_id = found.session_ids[0] if isinstance(found, sessionledger.ImportReceipt) else found.session_id
    context.session = context.world.service.get(session_id)
    assert context.session.last_sequence > 0


@then("the error names line {line:d} and the rule: {rule}")
def names_line(context, line, rule):
    assert (context.error.line, context.error.rule) == (line, rule), context.error
    assert f"(line {line})" in str(context.error)


@when("an archive whose header has another field is imported")
def import_unknown_header(context):
    bring(context, archive(session(1, [message(1, "Here.")]), colour="blue"))


@then("exported again its header has not got it")
def header_is_known(context):
    file = io.BytesIO()
    context.world.service.export_session(context.session.session_id, file)
    header = json.loads(file.getvalue().splitlines()[0])
    assert "format" in header
    assert "colour" not in header


@when("an archive whose message was created at {written} is imported")
def import_time(context, written):
    bring(context, archive(session(1, [message(1, "Here.", created_at=written)])))


@then("exported again its message was created at {told}")
def exported_time(context, told):
    file = io.BytesIO()
    context.world.service.export_session(context.session.session_id, file)
    (found,) = (each for each in records_of(file.getvalue()) if each["record"] == "message")
    assert found["created_at"] == told, found


@when("an archive of two sessions is imported whose messages have the same ids")
def import_same_ids(context):
    records = [record for number in (1, 2) for record in session(number, [message(1, "Here."), message(2, "There.")])]
    assert len({record["message_id"] for record in records if record["record"] == "message"}) == 2
    data = archive(records)
    context.world.attempt(lambda: context.world.service.import_sessions(io.BytesIO(data)))
