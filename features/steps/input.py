"""Input that is wrong, or just within a limit."""

import base64
import io
import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from behave import then, when

import sessionledger

ULID = "01HZX3V9QK2M4N5P6R7S8T9VWX"


def nested(levels):
    value = "the bottom"
    for _ in range(levels):
        value = {"in": value}
    return value


def nested_list(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def holding_itself():
    value = []
    value.append(value)
    return value


def object_of(size):
    """An object whose canonical text has so many bytes."""
    return {"x": "y" * (size - len('{"x":""}'))}


# Made anew for each scenario, because some are large.
VALUES = {
    "None": lambda: None,
    "True": lambda: True,
    "NaN": lambda: math.nan,
    "an infinity": lambda: math.inf,
    "a number": lambda: 7,
    "a fraction": lambda: 1.5,
    "a Decimal NaN": lambda: Decimal("NaN"),
    "a Decimal -1": lambda: Decimal(-1),
    "11 decimal places": lambda: Decimal("0.00000000001"),
    "2^63-1": lambda: 2**63 - 1,
    "2^63": lambda: 2**63,
    "10^30": lambda: 10**30,
    "bytes": lambda: b"bytes",
    "a tuple": lambda: ("a", "tuple"),
    "a set": lambda: {"a", "set"},
    "a list": lambda: [1, 2],
    "an empty list": list,
    "a list of strings": lambda: ["one", "two"],
    "a list of objects": lambda: [{"no": "type"}],
    "a list nested 2000 deep": lambda: nested_list(2000),
    "a list that holds itself": holding_itself,
    "an empty string": str,
    "a string": lambda: "a string",
    "a string with NUL": lambda: "a\0b",
    "a string with a surrogate": lambda: "a\ud800b",
    "a split surrogate pair": lambda: "\ud83d\udce6",
    "a string of 7 MiB": lambda: "x" * (7 * 1024 * 1024),
    "a string just under 7 MiB": lambda: "x" * (7 * 1024 * 1024 - 2),
    "an unknown word": lambda: "robot",
    "two words": lambda: "two words",
    "65 letters": lambda: "x" * 65,
    "27 characters": lambda: ULID + "0",
    "255 characters": lambda: "é" * 255,
    "255 astral characters": lambda: "📦" * 255,
    "256 characters": lambda: "é" * 256,
    "1000 characters": lambda: "é" * 1000,
    "1000 astral characters": lambda: "📦" * 1000,
    "1001 characters": lambda: "é" * 1001,
    "a UUID": lambda: "018f3a1c-5f4e-7c3a-9d2b-0a1b2c3d4e5f",
    "a ULID in lower case": ULID.lower,
    "a ULID and a newline": lambda: ULID + "\n",
    "a ULID beyond 128 bits": lambda: "8" + ULID[1:],
    "an object without a role": lambda: {"content": "Hello"},
    "an object with NaN": lambda: {"x": [math.nan]},
    "an object with an infinity": lambda: {"x": -math.inf},
    "an object with a number as a key": lambda: {"x": {1: "one"}},
    "an object with a tuple": lambda: {"x": (1, 2)},
    "an object with NUL": lambda: {"x\0": "\0", "\ud800": "\udfff"},
    "an object with a 40-digit number": lambda: {"x": 10**40 - 1, "y": -(10**40) + 1},
    "an object with a 41-digit number": lambda: {"x": -(10**40)},
    "an object nested 60 deep": lambda: nested(60),
    "an object nested 61 deep": lambda: nested(61),
    "an object of 64 KiB": lambda: object_of(64 * 1024),
    "an object of 65 KiB": lambda: object_of(65 * 1024),
    "base64 of nothing useful": lambda: base64.urlsafe_b64encode(b"[1,2,3]").decode(),
    "a cursor nested deeply": lambda: base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    "a cursor before year 1": lambda: (
        base64.urlsafe_b64encode(f'["newest","0001-01-01T00:00:00+14:00","{ULID}"]'.encode()).decode().rstrip("=")
    ),
    "a message without a role": lambda: [{"content": "Hello"}],
    "a message without content": lambda: [{"role": "user"}],
    "a message with another key": lambda: [{"role": "user", "content": "Hello", "sequence": 1}],
    "a time without a zone": lambda: datetime(2026, 3, 1, 12),  # noqa: DTZ001 - as it says
    "a time before year 1": lambda: datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    "10001 ids": lambda: [ULID] * 10_001,
    "10001 messages": lambda: [{"role": "user", "content": "Hello"}] * 10_001,
    "two messages with one id": lambda: [{"role": "user", "content": text, "message_id": ULID} for text in ("a", "a")],
}

# What each call takes when nothing is wrong, beside the session's id.
RIGHT = {
    "create": {},
    "get_or_create": {"key": "ticket/4711"},
    "find": {"key": "ticket/4711"},
    "list": {},
    "append_message": {"role": "user", "content": "Hello"},
    "append_messages": {"messages": [{"role": "user", "content": "Hello"}]},
    "export_session": {"file": io.BytesIO()},
    "export_sessions": {"file": io.BytesIO()},
    "sum_token_usage": {},
}
WITHOUT_ID = {"create", "get_or_create", "find", "list", "connect", "export_sessions", "sum_token_usage"}
IMPORTS = {"import_session", "import_sessions"}


def value_named(context, name):
    if name.lstrip("-").isdigit():
        return int(name)
    if name in {"a cursor cut short", "a cursor of another order"}:
        context.world.service.create()
        order = "oldest" if name == "a cursor of another order" else "newest"
        cursor = context.world.service.list(limit=1, order=order).next_cursor
        return cursor[:-3] if name == "a cursor cut short" else cursor
    return VALUES[name]()


def call_with(context, call, values):
    context.call, context.values = call, values
    if call == "connect":
        context.world.service.list()  # the database itself is fine
        context.world.attempt(lambda: context.world.connect(**values))
        return
    session_id = context.session.session_id
    right = {} if call in WITHOUT_ID | IMPORTS else {"session_id": session_id}
    right |= RIGHT.get(call, {})
    if call in IMPORTS:
        right["file"] = io.BytesIO()
        context.world.service.export_session(session_id, right["file"])
        right["file"].seek(0)
    method = getattr(context.world.service, call)
    context.world.attempt(lambda: method(**(right | values)))


@when("limits of archives are made with {value} as {field:w}")
def make_limits(context, value, field):
    values = {field: value_named(context, value)}
    context.world.attempt(lambda: sessionledger.ArchiveLimits(**values))


@when("{call:w} is called with {value} as {field:w}")
def call_with_value(context, call, value, field):
    call_with(context, call, {field: value_named(context, value)})


@when("{call:w} is called with both {first:w} and {second:w}")
def call_with_both(context, call, first, second):
    values = {"key": "ticket/4711", "session_id": ULID, "offset": 1, "after": 1, "limit": 1, "last": 1}
    if first == "cursor":
        context.world.service.create()
        values["cursor"] = context.world.service.list(limit=1).next_cursor
    call_with(context, call, {first: values[first], second: values[second]})


@when("a message's usage has {value} as {field:w}")
def usage_with(context, value, field):
    call_with(context, "append_message", {"usage": {field: value_named(context, value)}})


@when('content that is {content} is appended in the format "{format_}"')
def content_in_format(context, content, format_):
    call_with(context, "append_message", {"content": value_named(context, content), "format": format_})


@when("the session uses {count:d} input tokens")
def uses(context, count):
    totals = context.world.service.update_token_usage(context.session.session_id, input_tokens=count)
    assert totals.input_tokens == count


@when("the session uses {count:d} input token more")
def uses_more(context, count):
    call_with(context, "update_token_usage", {"input_tokens": count})


@when("a batch of {number:d} messages is appended, each of which used {count:d} input tokens")
def batch_uses(context, number, count):
    messages = [{"role": "assistant", "content": "Hello", "usage": {"input_tokens": count}} for _ in range(number)]
    call_with(context, "append_messages", {"messages": messages})


@then("it is stored and comes back")
def stored(context):
    result = context.world.result
    service = context.world.service
    if context.call == "append_message":
        found = service.get_messages(context.session.session_id, last=1)[0]
    else:
        found = service.get(result.session_id)
    assert found == result
    assert {name: getattr(found, name) for name in context.values} == context.values


@then("it gives an answer")
def answered(context):
    result = context.world.result
    assert isinstance(result, (list, sessionledger.SessionPage)), result
    if context.call == "get_messages" and "after" not in context.values:
        assert [message.sequence for message in result] == [1, 2]
