"""The specification of the archive format: what it shows is computed again with `json` and `hashlib` alone."""

import dataclasses
import hashlib
import io
import json
import re

from behave import given, then

import sessionledger
from forged_archives import archive, canonical, imported, message, session, sha256, time, totals, ulid, usage
from steps.documentation import blocks, sections
from steps.golden_archives import FOLDER

SECTIONS = {"Session": "session", "Message": "message", "Token usage": "usage"}


def said_to_be_in_it():
    """The example, as the page describes it."""
    answer = message(2, [{"type": "text", "text": "On its way."}], role="assistant", metadata={"tries": 1.0})
    counts = {"input_tokens": 12, "output_tokens": 4, "cost": "0.0015"}
    answer_id = ulid("M", 1, 2)
    spent = usage(1, usage_id=answer_id, message_id=answer_id, actor_name="support-bot", model="small", **counts)
    values = {"title": "A parcel", "actor_name": "support-bot", "key": "ticket/4711", "metadata": {"channel": "mail"}}
    first = session(1, [message(1, "Where is my parcel? 📦"), answer], [spent], **values)
    return [*first, *session(2, archived_at=time(60), updated_at=time(60))]


@given("the archive that {page} shows")
def shown(context, page):
    (text,) = (text for language, text in blocks(context, page) if language == "json")
    context.page, context.archive = page, text.encode()
    context.lines = context.archive.splitlines(keepends=True)
    context.records = [json.loads(line) for line in context.lines]
    assert len(context.lines) == 7


@then("every line of it is canonical and ends with a line feed")
def lines_are_canonical(context):
    for line, record in zip(context.lines, context.records, strict=True):
        assert line == canonical(record).encode() + b"\n"


@then("its counts, sequences, totals and order are as the page demands")
def structure_is_right(context):
    header, *records, _ = context.records
    kinds = [record["record"] for record in records]
    assert kinds == ["session", "message", "message", "usage", "session"]
    assert (header["sessions"], header["messages"], header["usage_records"]) == (2, 2, 1)
    sessions = [record for record in records if record["record"] == "session"]
    assert sessions[0]["session_id"] < sessions[1]["session_id"]
    for each in sessions:
        own = [record for record in records if record["session_id"] == each["session_id"]]
        sequences = [record["sequence"] for record in own if record["record"] == "message"]
        assert sequences == list(range(1, each["last_sequence"] + 1))
        assert each["usage"] == totals([record for record in own if record["record"] == "usage"])


@then("json and hashlib make the same bytes from what the page says is in it")
def same_bytes(context):
    made = archive(said_to_be_in_it())
    assert made == context.archive, made.decode()


@then("the page tells its digest, the preceding_sha256 and the content hashes")
def digests_are_told(context):
    rows = sections(context, context.page)["An example"]["what"]
    context.told = {row[0].partition(":")[0].replace("`", ""): row[1].strip("`") for row in rows}

    def before(number):
        return hashlib.sha256(b"".join(context.lines[:number])).hexdigest()

    expected = {
        "preceding_sha256 of line 2": before(1),
        "content_sha256 of line 3": sha256(canonical(context.records[2]["content"])),
        "content_sha256 of line 4": sha256(canonical(context.records[3]["content"])),
        "preceding_sha256 of line 6": before(5),
        "the digest": before(6),
    }
    assert {what: context.told[what] for what in expected} == expected, context.told
    for number, name in (
        (1, "preceding_sha256"),
        (5, "preceding_sha256"),
        (2, "content_sha256"),
        (3, "content_sha256"),
    ):
        assert context.records[number][name] == expected[f"{name} of line {number + 1}"]
    assert context.records[-1] == {"sha256": expected["the digest"]}


@then("it is imported with the ids that the page derives")
def imported_ids(context):
    digest = context.told["the digest"]
    records = [imported(record, "default", digest) for record in context.records[1:-1]]
    receipt = context.world.service.import_sessions(io.BytesIO(context.archive))
    assert receipt.sha256 == digest
    assert receipt.session_ids == (records[0]["session_id"], records[4]["session_id"])
    messages = context.world.service.get_messages(receipt.session_ids[0])
    assert [each.message_id for each in messages] == [record["message_id"] for record in records[1:3]]
    derived = [records[number]["session_id"] for number in (0, 4)] + [each.message_id for each in messages]
    shown_ids = re.findall(r"^\| the id of .*\| `(\w{26})` \|$", page_text(context, context.page), re.MULTILINE)
    assert shown_ids == derived
    assert f'["import","default","{digest}","{context.records[1]["session_id"]}"]' in page_text(context, context.page)


def page_text(context, page):
    return (context.checkout / page).read_text()


@then("each text of {page} is stored and exported in the canonical form beside it")
def canonical_texts(context, page):
    rows = [[cell.strip("`") for cell in row] for row in sections(context, page)["Canonical JSON"]["JSON"]]
    assert len(rows) >= 8
    service = context.world.service
    made = service.create()
    for written, text in rows:
        stored = service.append_message(made.session_id, "user", json.loads(written), format="acme.any")
        assert stored.content_sha256 == sha256(text), f"{written} is not {text}"
    file = io.BytesIO()
    service.export_session(made.session_id, file)
    lines = file.getvalue().decode().splitlines()[2:-1]
    for (_, text), line in zip(rows, lines, strict=True):
        assert line.startswith(f'{{"content":{text},"content_sha256"'), line


@then("{page} describes every field of every record of the golden files")
def fields_are_described(context, page):
    described = sections(context, page)
    found = {"header": set(), **{kind: set() for kind in SECTIONS.values()}}
    for path in (context.checkout / FOLDER).glob("version_1/*.archive"):
        header, *records, _ = map(json.loads, path.read_bytes().splitlines())
        found["header"] |= set(header)
        for record in records:
            found[record["record"]] |= set(record)
    not_known = {"mood", "pinned", "importance", "price_list"}
    for title, kind in {"Header": "header", **SECTIONS}.items():
        told = [row[0].strip("`") for row in described[title]["field"]]
        assert sorted(told) == sorted(found[kind] - not_known), title
        assert all(len(row) == 3 for row in described[title]["field"]), title


@then("{page} tells the default of every limit")
def limits_are_told(context, page):
    told = {row[0].strip("`"): int(row[1].replace(",", "")) for row in sections(context, page)["Limits"]["limit"]}
    assert told == dataclasses.asdict(sessionledger.ArchiveLimits())
