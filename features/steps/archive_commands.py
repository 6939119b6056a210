"""Archives on the command line: export, import, and archive with its own commands."""

import functools
import json
import os
import re
import stat
import threading
from pathlib import Path
from unittest import mock

from behave import given, then, when

import sessionledger
from command_lines import ULID, told
from sessionledger.application.services import PersistentSessionService
from sessionledger.cli import exporting
from sessionledger.domain.archive import ArchiveLimits, SigningKey

MAGIC = {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b", "nothing": b'{"format":"sessionledger.archive"'}


@when("I run with that output on standard input, on a fresh database: {arguments}")
def run_with_output(context, arguments):
    context.line.run(arguments, given=context.line.outcome.raw, url=context.world.fresh())


@given('the file holds "{text}"')
@when('the file holds "{text}"')
def file_holds(context, text):
    context.line.file.write_text(text)


@when("one byte of the file is changed")
def change_byte(context):
    content = bytearray(context.line.file.read_bytes())
    content[len(content) // 2] ^= 1
    context.line.file.write_bytes(content)


@then("the file is readable by its owner alone, and nothing else is in its folder")
def file_private(context):
    assert stat.S_IMODE(context.line.file.stat().st_mode) == 0o600
    assert list(context.line.file.parent.iterdir()) == [context.line.file]


@then('the file still holds "{text}", and nothing else is in its folder')
def file_still_holds(context, text):
    assert context.line.file.read_text() == text
    assert list(context.line.file.parent.iterdir()) == [context.line.file]


@then("/dev/null is still a device")
def still_device(context):
    assert Path("/dev/null").is_char_device()


# What there is


@given("sessions of three kinds")
def three_kinds(context):
    service = context.world.service
    first = service.create(title="First", actor_name="desk")
    second = service.create(title="Second", actor_name="desk")
    third = service.create(title="Third", actor_name="planner", workspace="spring")
    service.update_token_usage(second.session_id, input_tokens=3)
    service.update(second.session_id, archived=True)
    service.append_message(third.session_id, "user", "hello")
    context.line.made = [each.session_id for each in (first, second, third)]


@given("a ledger of {count:d} sessions")
def many_sessions(context, count):
    for number in range(count):
        context.world.service.create(title=f"Session {number}")


@given("a message of {count:d} characters in it")
def long_message(context, count):
    context.world.service.append_message(context.line.session, "user", "x" * count)


@given("a key and a stranger's key")
def two_keys(context):
    for name in ("mine", "other"):
        key = SigningKey.generate()
        (context.line.folder / f"{name}.pem").write_bytes(key.to_pem())
        (context.line.folder / f"{name}.pub.pem").write_bytes(key.public_key.to_pem())


@given("an archive may have {count:d} sessions by default")
def fewer_sessions(context, count):
    limits = functools.partial(ArchiveLimits, sessions=count)
    context.world.stack.enter_context(mock.patch.object(exporting, "ArchiveLimits", limits))


@given("a {kind} is at {path}")
def something_at(context, kind, path):
    target = context.line.path(path)
    {
        "file": target.touch,
        "folder": target.mkdir,
        "link that leads nowhere": lambda: target.symlink_to("nowhere"),
    }[kind]()


@given("a link at {link} leads to {target}")
def link_to(context, link, target):
    context.line.path(link).symlink_to(context.line.path(target))


@when("the file {path} is moved to {place}")
def move(context, path, place):
    context.line.path(path).rename(context.line.path(place))


@when("the file is cut short")
def cut_short(context):
    context.line.file.write_bytes(context.line.file.read_bytes()[:-9])


@when("the file holds the first bytes of gzip alone")
def gzip_alone(context):
    context.line.file.write_bytes(MAGIC["gzip"])


@when("the signature beside it is {kind}")
def signature_beside(context, kind):
    digest = json.loads(context.line.file.read_bytes().splitlines()[-1])["sha256"]
    mine, other = (
        SigningKey.from_pem((context.line.folder / f"{name}.pem").read_bytes()) for name in ("mine", "other")
    )
    name = context.line.file.name
    content = {
        "missing": None,
        "a stranger's": other.sign(digest, name),
        "another archive's": mine.sign("0" * 64, name),
        "empty": b"",
        "too long": b"x" * 5000,
    }[kind]
    if content is not None:
        context.line.path("FILE.sig").write_bytes(content)


# Running


@when("I run with the file {path} on standard input: {arguments}")
def run_with_named_file(context, path, arguments):
    context.line.run(arguments, given=context.line.path(path).read_bytes())


@when("I run on a terminal while {source} is written to {fifo}: {arguments}")
def run_with_fifo(context, source, fifo, arguments):
    path = context.line.path(fifo)
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(context.line.path(source).read_bytes()))
    writer.start()
    context.line.run(arguments, terminal=True)
    writer.join()


@when("I run while the database is away after the first file: {arguments}")
def run_away(context, arguments):
    context.tried = []
    import_sessions = PersistentSessionService.import_sessions

    def away(self, *given_, **named):
        context.tried.append(given_)
        if len(context.tried) > 1:
            raise sessionledger.StorageUnavailableError
        return import_sessions(self, *given_, **named)

    with mock.patch.object(PersistentSessionService, "import_sessions", away):
        context.line.run(arguments)


# What came of it


@then("two imports were tried")
def two_tried(context):
    assert len(context.tried) == 2, told(context)


@then("it prints the id of each session there")
def prints_each_id(context):
    printed = re.findall(rf"^  ({ULID})$", context.line.outcome.out, re.MULTILINE)
    with sessionledger.connect(context.line.other) as sessions:
        there = [each.session_id for each in sessions.list(include_archived=True)]
    assert sorted(printed) == sorted(there), told(context)
    assert len(printed) == 2, told(context)


@then("the archive's titles are: {titles}")
def archive_titles(context, titles):
    assert context.line.outcome.status == 0, told(context)
    listed = [each["title"] for each in context.line.outcome.json["listed"]]
    assert listed == ([] if titles == "none" else titles.split(", ")), told(context)


@then("each line is JSON of one file: {paths}")
def lines_of_files(context, paths):
    context.results = [json.loads(line) for line in context.line.outcome.lines]
    files = [each["file"] for each in context.results]
    assert files == [str(context.line.path(each)) for each in paths.split(", ")], told(context)


@then("of these are ok: {values}")
def are_ok(context, values):
    assert [each["ok"] for each in context.results] == json.loads(f"[{values}]"), told(context)
    assert all(each["ok"] or each["error"] for each in context.results), told(context)


@then("the file {path} is compressed with {compression}")
def compressed_with(context, path, compression):
    assert context.line.path(path).read_bytes().startswith(MAGIC[compression])


@then("the summary tells the length with {compression}")
def summary_tells(context, compression):
    pattern = r"[\d,]+ bytes, SHA" if compression == "nothing" else rf"[\d,]+ bytes \(\d+ with {compression}\), SHA"
    assert re.search(pattern, context.line.outcome.out), told(context)


@then("the file {path} is its owner's alone")
def owners_alone(context, path):
    assert stat.S_IMODE(context.line.path(path).stat().st_mode) == 0o600


@then("the file {path} holds the words: {text}")
def file_has_words(context, path, text):
    assert text in context.line.path(path).read_text()


@then("the JSON tells the signature file {path} and the key")
def tells_signature(context, path):
    found = context.line.outcome.json
    assert found["signature_file"] == str(context.line.path(path)), told(context)
    assert found["signature_key_id"] == context.line.filled("KEY"), told(context)


@then("nothing printed holds a private key")
def no_private_key(context):
    secret = (context.line.folder / "mine.pem").read_text().splitlines()[1]
    assert secret not in told(context), told(context)


@then("there is nothing at {path}")
def nothing_at(context, path):
    assert not os.path.lexists(context.line.path(path))


@then("nothing is beside the file")
def nothing_beside(context):
    assert list(context.line.file.parent.iterdir()) == [context.line.file]


@then("no line of the table is longer than {width:d}")
def table_fits(context, width):
    table = context.line.outcome.lines[4:]
    assert table, told(context)
    assert max(map(len, table)) <= width, told(context)
