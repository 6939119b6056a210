"""Archives of every format version, frozen as files: read by every release, and written again."""

import gzip
import io
import json

from behave import given, then, when

import sessionledger
from forged_archives import canonical, imported, order, records_of
from sessionledger.domain.archive import FORMAT_VERSION
from sessionledger.domain.archive.upcasting import UPCASTS
from steps.token_usage import COUNTS

FOLDER = "features/archives"


@given("the golden file {path}")
def golden(context, path):
    file = context.checkout / FOLDER / path
    context.archive = file.read_bytes()
    stem = file.name.partition(".archive")[0]
    context.expected = json.loads((file.parent / f"{stem}.json").read_text())
    context.signature = context.trusted = None
    if stem == "signed":
        context.signature = file.with_name(f"{file.name}.sig").read_bytes()
        context.trusted = sessionledger.TrustedKey.from_pem((file.parent / f"{stem}.public_key.pem").read_bytes())


@when("it is imported into an empty ledger")
def import_golden(context):
    trusted = [context.trusted] if context.trusted else []
    file = io.BytesIO(context.archive)
    context.imports = context.world.service.import_sessions(file, signature=context.signature, trusted_keys=trusted)
    key_id = context.trusted.key_id if context.trusted else None
    assert context.imports.signature_key_id == key_id


def time_of(value):
    return None if value is None else value.isoformat()


def told_session(session):
    usage = {name: getattr(session.usage, name) for name in COUNTS}
    cost = session.usage.cost
    return {
        "title": session.title,
        "actor_name": session.actor_name,
        "metadata": session.metadata,
        "workspace": session.workspace,
        "last_sequence": session.last_sequence,
        "usage": {**usage, "cost": None if cost is None else format(cost, "f")},
        "created_at": time_of(session.created_at),
        "updated_at": time_of(session.updated_at),
        "archived_at": time_of(session.archived_at),
    }


def told_message(message):
    names = ("sequence", "role", "content", "format", "content_sha256", "tool_call_id", "metadata")
    return {**{name: getattr(message, name) for name in names}, "created_at": time_of(message.created_at)}


def same(found, expected):
    """Whether two JSON values are equal; 1 is not 1.0 here, and 0.0 not -0.0."""
    assert canonical(found) == canonical(expected), f"{canonical(found)}\nis not\n{canonical(expected)}"


def only(record, like):
    """Of a record what `like` has too."""
    return {name: record[name] for name in like}


@then("its sessions and messages are those that stand beside it")
def contents_are(context):
    service = context.world.service
    assert len(context.imports.session_ids) == len(context.expected)
    for session_id, expected in zip(context.imports.session_ids, context.expected, strict=True):
        session = service.get(session_id)
        source = (expected["session"]["session_id"], context.imports.sha256)
        assert (session.source.session_id, session.source.sha256) == source
        assert (session.key, session.version, session.namespace) == (None, 1, "default")
        same(told_session(session), only(expected["session"], told_session(session)))
        messages = [told_message(message) for message in service.get_messages(session_id)]
        assert len(messages) == len(expected["messages"])
        for message, told in zip(messages, expected["messages"], strict=True):
            same(message, only(told, message))


@then("its token usage is history, and the sum of what stands beside it")
def usage_is(context):
    sums = context.world.service.sum_token_usage()
    expected = [record for each in context.expected for record in each["usage_records"]]
    assert all(each.imported for each in sums)
    assert sum(each.records for each in sums) == len(expected)
    for name in COUNTS:
        assert sum(getattr(each.usage, name) for each in sums) == sum(record[name] or 0 for record in expected), name
    models = {each.model for each in sums}
    assert models == {record["model"] for record in expected}


@then("exported again it has the same records but for the ids that are derived")
def exported_again(context):
    sha256 = context.imports.sha256
    expected = [
        imported({"record": kind, **record}, "default", sha256)
        for each in context.expected
        for kind, records in (
            ("session", [each["session"]]),
            ("message", each["messages"]),
            ("usage", each["usage_records"]),
        )
        for record in records
    ]
    file = io.BytesIO()
    context.world.service.export_sessions(file)
    same(records_of(file.getvalue()), sorted(expected, key=order))
    for line in file.getvalue().splitlines():
        assert line.decode() == canonical(json.loads(line))


@then("imported again it changes nothing")
def again(context):
    before, first = context.world.contents(), context.imports
    import_golden(context)
    assert context.imports == first
    assert context.world.contents() == before


@then("there are golden files of each format version up to the newest, and a step from each older one")
def each_version(context):
    versions = [str(version) for version in range(1, FORMAT_VERSION + 1)]
    for version in versions:
        folder = context.checkout / FOLDER / f"version_{version}"
        archives = list(folder.glob("*.archive"))
        assert archives, f"no golden file of format version {version}"
        for archive in archives:
            header = json.loads(archive.read_bytes().split(b"\n", 1)[0])
            assert header["format_version"] == int(version), archive.name
    assert sorted(UPCASTS) == list(range(1, FORMAT_VERSION))
    found = {path.name for path in (context.checkout / FOLDER).glob("version_*")}
    assert found == {f"version_{version}" for version in versions}


@then("each golden file is read by a scenario of {feature}")
def each_is_read(context, feature):
    told = (context.checkout / feature).read_text()
    files = sorted((context.checkout / FOLDER).glob("version_*/*.archive*"))
    assert len(files) >= 6
    unread = [path.name for path in files if path.suffix != ".sig" and f"{path.parent.name}/{path.name} " not in told]
    assert not unread, unread


@then("their compressed twins hold the same bytes")
def twins(context):
    folder = context.checkout / FOLDER / "version_1"
    assert gzip.decompress((folder / "many.archive.gz").read_bytes()) == (folder / "many.archive").read_bytes()
