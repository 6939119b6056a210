"""A whole ledger is verified: ledgers that are right, and ones that are damaged past the library."""

import contextlib
import dataclasses
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from behave import given, then, when
from sqlalchemy import event

import sessionledger
from sessionledger.application.services import verification
from sessionledger.infrastructure.database import Database
from sessionledger.infrastructure.database.repositories import verification as reading

NOBODY = "01HZX3V9QK2M4N5P6R7S8T9VWX"
WRITTEN = ("Parcel", "parcel", "north-office", "ticket/4711", "mail", "desk")
SPENT = {"input_tokens": 12, "output_tokens": 4, "cached_input_tokens": 3, "reasoning_tokens": 2, "cost": "0.0021"}


def spending(content, **more):
    return {"role": "assistant", "content": content, "usage": SPENT | {"cache_write_tokens": 1}, "model": "any"} | more


@given("a ledger with two conversations")
def two_conversations(context):
    service = context.world.service
    first = service.create(
        actor_name="desk", title="Parcel", workspace="north-office", metadata={"channel": "mail"}
    ).session_id
    texts = [{"role": "user", "content": text} for text in ("Where is my parcel?", "It is BW-20418.", "Thank you")]
    answers = [spending("Which parcel?"), spending("On its way.")]
    context.sent = service.append_messages(first, [texts[0], answers[0], texts[1], answers[1], texts[2]])
    service.update_token_usage(first, input_tokens=7)
    second = service.create(key="ticket/4711").session_id
    service.append_messages(second, [texts[0], answers[0], texts[2]])
    context.names = {"A": first, "B": second, "RECORD": context.sent[1].message_id, "NOBODY": NOBODY}


@given("a ledger with sessions of every origin")
def every_origin(context):
    service, world = context.world.service, context.world
    made = service.create(workspace="north-office", title="Parcel", metadata={"b": 1, "a": [1.5, -0.0, 10**39]})
    service.append_messages(made.session_id, [spending(each) for each in ("NUL \0", "lone \ud800", "1e16 ß 📦", "")])
    service.append_message(made.session_id, "planner", {"any": [1e22, None]}, format="my.format")
    service.update_token_usage(made.session_id, input_tokens=1)
    by_key = service.create(key="ticket/4711")
    given_id = service.create(session_id=sessionledger.new_id())
    gone = service.create()
    for session, count in ((by_key, 2), (given_id, 1), (gone, 1)):
        service.append_messages(session.session_id, [spending("Hello")] * count)
    service.update_token_usage(gone.session_id, output_tokens=5)
    for session in (by_key, given_id, gone):
        service.delete(session.session_id)
    again = [service.get_or_create("ticket/4711"), service.create(session_id=given_id.session_id)]
    imported_twice(service, made.session_id)
    world.connect(namespace="acme").append_message(
        world.connect(namespace="acme").create(key="ticket/4711", workspace="north-office").session_id, "user", "Hi"
    )
    calls = [("append_message", (session.session_id, "user", "Hello"), {"usage": SPENT}) for session in again]
    for outcomes in world.at_once(service, [calls * 5] * 4):
        assert not [each for each in outcomes if isinstance(each, Exception)], outcomes
    service.update(made.session_id, archived=True)


def imported_twice(service, session_id):
    """Import an archive, append to the session, delete it and import the archive again; then make a copy."""
    file = io.BytesIO()
    service.export_session(session_id, file)
    for _ in range(2):
        file.seek(0)
        imported = service.import_session(file)
        if _ == 0:
            service.append_messages(imported.session_id, [spending("Later")])
            service.delete(imported.session_id)
    file.seek(0)
    service.import_session(file, as_copy=True)


@given("a session of {count:d} messages, some of them long")
def long_session(context, count):
    service = context.world.service
    session_id = service.create(title="Parcel").session_id
    longs = dict.fromkeys(range(100, count, 100), 300_000) | {500: 3_000_000}
    messages = [{"role": "user", "content": f"Message {n} " + "x" * longs.get(n, 0)} for n in range(1, count + 1)]
    service.append_messages(session_id, messages)
    context.names = {}


def load(context, script):
    names = context.names | {name: context.world.kind.damages[name] for name in ("NO_TIME", "UNCHECKED")}
    context.world.kind.load(
        context.world.url, re.sub(rf"\b({'|'.join(names)})\b", lambda found: names[found[1]], script)
    )


@when("past the library: {damage}")
def past_the_library(context, damage):
    total = re.fullmatch(r"one more in the session's (\w+)", damage)
    if damage == "a page of messages is overwritten":
        context.world.kind.spoil_page(context.world.url)
        return
    if total:
        load(context, f"UPDATE sessions SET {total[1]} = {total[1]} + 1 WHERE session_id = 'A'")
    else:
        load(context, context.world.kind.damages[damage])
    context.was = context.world.contents() if damage != "a message was sent at no time" else None


@when("the database's own check has something to find")
def spoil_index(context):
    context.world.kind.spoil_index(context.world.url)
    context.was = context.world.contents()


def found(context):
    report = context.line.outcome.json
    assert sum(report["found"].values()) == len(report["findings"]), report
    return report["findings"]


def expected(context, told):
    """The findings that a step tells: rules, with the ids that stand in the row."""
    wanted = []
    for each in told.split(", "):
        rule, of, whom = each.partition(" of ")
        if whom.startswith("session"):
            wanted.append((rule, context.names[whom[-1]], None))
        elif of:
            message = context.sent[int(whom[-1]) - 1]
            wanted.append((rule, message.session_id, message.message_id))
        else:
            rule, _, count = each.partition(" x ")
            wanted += [(rule, ..., ...)] * int(count or 1)
    return wanted


@then("it finds {told}")
def it_finds(context, told):
    findings = found(context)
    if told == "schema x many":
        assert len(findings) > 1, findings
        assert {each["rule"] for each in findings} == {"schema"}, findings
        return
    wanted = expected(context, told)
    assert [each["rule"] for each in findings] == [rule for rule, *_ in wanted], findings
    for finding, (_, session_id, message_id) in zip(findings, wanted, strict=True):
        assert session_id in (..., finding["session_id"]), finding
        assert message_id in (None, ..., finding["message_id"]), finding


@then("among what it finds is {rule}")
def among(context, rule):
    assert rule in {each["rule"] for each in found(context)}, found(context)


@then("a finding says: {words}")
def a_finding_says(context, words):
    assert [each for each in found(context) if words in each["problem"]], found(context)


@then("the finding tells only of {column}")
def tells_only_of(context, column):
    (finding,) = found(context)
    assert re.fullmatch(rf"{column} is \d+, its records sum to (\d+|nothing)", finding["problem"]), finding


@then("the other rows were checked: {checked}")
def rows_checked(context, checked):
    report = context.line.outcome.json
    assert report["complete"] == (checked == "yes"), report
    assert report["ok"] is False
    if checked == "yes":
        assert report["messages"] == len(context.was["session_messages"]), report


@then("nothing was changed by the verification")
def nothing_changed(context):
    assert context.world.contents() == context.was


@then("everything there is was checked, and nothing was found")
def everything_checked(context):
    report, there = context.line.outcome.json, context.world.contents()
    tables = {"sessions": "sessions", "messages": "session_messages", "usage_records": "token_usage"}
    for name, table in (tables | {"resources": "resources"}).items():
        assert report[name] == len(there[table]), (name, report)
    assert (report["findings"], report["found"], report["complete"], report["ok"]) == ([], {}, True, True), report


@then("{count:d} records are of deleted sessions or messages")
def of_deleted(context, count):
    assert context.line.outcome.json["of_deleted_sessions"] == count, context.line.outcome.json


@when("session A is exported")
def export_a(context):
    context.file = io.BytesIO()
    context.world.attempt(lambda: context.world.service.export_session(context.names["A"], context.file))


@then("the damage is told with the id of {what}")
def damage_told(context, what):
    ids = {"message 1": context.sent[0].message_id, "session A": context.names["A"]}
    assert ids[what] in str(context.error), context.error


@then("its archive is imported elsewhere, with {count:d} messages")
def imported_elsewhere(context, count):
    assert context.world.result.messages == count
    context.file.seek(0)
    imported = context.world.connect(context.world.fresh()).import_session(context.file)
    assert imported.last_sequence == count


@then("the service reads it as if nothing were wrong")
def reads_it(context):
    message = context.world.service.get_messages(context.names["A"])[0]
    assert message.content == "Where is my pbrcel?"
    assert message.content_sha256 == context.sent[0].content_sha256


@then("without computing hashes again a verification finds nothing")
def without_hashes(context):
    with mock.patch.object(verification, "_sha256", return_value=mock.ANY):
        assert sessionledger.verify(context.world.url).ok


@then("a verification finds {rule:w}")
def verification_finds(context, rule):
    assert sessionledger.verify(context.world.url).found == {rule: 1}


@when("it is verified {times:d} times while {count:d} writers append, delete and record")
def beside_writers(context, times, count):
    service, stop = context.world.service, threading.Event()
    context.kept = []

    def write(writer):
        number = 0
        while not stop.is_set():
            number += 1
            session_id = service.get_or_create(f"{writer}/{number % 3}").session_id
            context.kept += service.append_messages(session_id, [spending("Hello")] * 3)
            service.update_token_usage(context.names["A"], input_tokens=1)
            context.kept.append(service.append_message(context.names["B"], "user", "Hello", usage=SPENT))
            if number % 3 == 0:
                service.delete(service.create(title="gone").session_id)

    with ThreadPoolExecutor(count) as pool:
        writers = [pool.submit(write, writer) for writer in range(count)]
        try:
            context.reports = [sessionledger.verify(context.world.url) for _ in range(times)]
        finally:
            stop.set()
        for writer in writers:
            writer.result()


@then("each time nothing was found")
def each_time_nothing(context):
    assert [report.findings for report in context.reports] == [()] * len(context.reports)
    assert context.reports[-1].messages > context.reports[0].messages >= 8, context.reports


@then("the writers' messages are all there")
def all_there(context):
    report = sessionledger.verify(context.world.url)
    assert report.ok, report
    assert report.messages == 8 + len(context.kept), report


@contextlib.contextmanager
def appending_before_messages(context, engine):
    """Append a message to a session when its row has been read, and its messages have not."""
    appended = []

    def append(_connection, _cursor, statement, *_):
        if not appended and statement.startswith("SELECT session_messages.session_id, session_messages.sequence"):
            appended.append(statement)
            context.world.service.append_messages(context.names["A"], [spending("In between")])

    event.listen(engine, "before_cursor_execute", append)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", append)
    assert appended, "the messages were not read"


@when("it is verified, and a message with token usage is appended before the messages are read")
@when("it is verified {how} a snapshot, and a message with token usage is appended before the messages are read")
def appended_in_between(context, how="with"):
    with contextlib.closing(Database(context.world.url)) as database:
        if how == "without":
            reading = {"isolation_level": "AUTOCOMMIT"}
            database.dialect = dataclasses.replace(database.dialect, begin_reading=None, reading=reading)
        with appending_before_messages(context, database.engine):
            context.report = verification.verify(database)
    assert len(context.world.service.get_messages(context.names["A"])) == 6


@then("nothing was found")
def nothing_found(context):
    assert context.report.ok, context.report
    assert context.report.messages == 8, context.report


@then("it found last_sequence and totals")
def found_falsely(context):
    assert context.report.found == {"last_sequence": 1, "totals": 1}, context.report


@when("it is verified from Python")
def from_python(context):
    context.progress = []
    with mock.patch.object(reading, "ROWS", 100):
        context.report = sessionledger.verify(context.world.url, follow=lambda *now: context.progress.append(now))


@then("the report says the same as the command")
def same_as_command(context):
    context.line.run("verify --json")
    assert context.line.outcome.json == {**dataclasses.asdict(context.report), "findings": [], "ok": True}
    assert context.report.ok
    assert context.report.messages == 1234


@then("its progress went up to all rows")
def progress_went_up(context):
    done = [now for now, _ in context.progress]
    assert done == sorted(done)
    assert len(done) >= 3
    assert context.progress[-1] == (1235, 1235)


@then("nothing printed holds what anybody wrote")
def nothing_written(context):
    outcome = context.line.outcome
    assert not [word for word in WRITTEN if word in outcome.out + outcome.err], outcome
