"""Steps about OpenTelemetry: what an application's own tracer and meter hear."""

import asyncio
import re
from unittest import mock

from behave import given, then, when
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import otel
import sessionledger
from canaries import CONTENT, MARK
from sessionledger.infrastructure import signals
from steps.architecture import python
from steps.observability import METHODS, append_busy, busy_code, ours

TABLES = {
    "get_messages": "session_messages",
    "append_message": "session_messages",
    "append_messages": "session_messages",
    "update_token_usage": "token_usage",
    "sum_token_usage": "token_usage",
    "export_session": None,
    "export_sessions": None,
    "import_session": None,
    "import_sessions": None,
}
"""What a call is about; all the others are about `sessions`."""

tracer = trace.get_tracer("application")


@given("an application with OpenTelemetry")
def application(context):
    _ = context.world.service
    otel.listen()
    context.world.stack.callback(otel.listen, on=False)


def named(operation):
    """The spans of one operation."""
    return [span for span in otel.spans() if span.attributes["db.operation.name"] == operation]


def last(context):
    return otel.spans()[-1]


@then("each has emitted one span, of kind CLIENT and without an error")
def one_span_each(context):
    assert sorted(span.attributes["db.operation.name"] for span in otel.spans()) == sorted(METHODS)
    for span in otel.spans():
        operation = span.attributes["db.operation.name"]
        table = TABLES.get(operation, "sessions")
        assert span.name == (f"{operation} {table}" if table else operation), span.name
        assert span.attributes.get("db.collection.name") == table
        assert span.attributes["db.system.name"] == context.database_name
        assert (span.kind, span.status.status_code, span.events) == (SpanKind.CLIENT, StatusCode.UNSET, ())
        assert "error.type" not in span.attributes


@then("each call on the session carries its id, and {without} carry none")
def carries_id(context, without):
    without = re.split(r", | and ", without)
    for operation in METHODS - {"import_session"} - set(without):
        (span,) = named(operation)
        assert span.attributes["gen_ai.conversation.id"] == context.session.session_id, operation
    for operation in without:
        (span,) = named(operation)
        assert "gen_ai.conversation.id" not in span.attributes
    (span,) = named("import_session")
    assert span.attributes["gen_ai.conversation.id"] != context.session.session_id


@then("no span tells a key, a title, a content or a namespace")
def spans_tell_nothing(context):
    assert otel.spans()
    for span in otel.spans():
        assert MARK not in span.to_json().lower(), span.to_json()
        assert "default" not in str(dict(span.attributes))


@then("the duration of each is in the histogram of the conventions, in seconds")
def durations(context):
    metric, points = otel.points("db.client.operation.duration")
    assert metric.unit == "s"
    assert {point.attributes["db.operation.name"] for point in points} == METHODS
    for point in points:
        assert point.count == 1, point
        assert 0 < point.sum < 60, point
        assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
        assert set(point.attributes) <= {"db.system.name", "db.operation.name", "db.collection.name"}, point
        assert point.attributes["db.system.name"] == context.database_name


@when("a message is appended inside a span of the application's own")
def append_inside(context):
    session_id = context.session.session_id
    if context.mode == "sync":
        with tracer.start_as_current_span("turn") as turn:
            context.world.service.append_message(session_id, "user", CONTENT)
            context.turn, context.after = turn, trace.get_current_span()
        return

    async def append():
        with tracer.start_as_current_span("turn") as turn:
            await context.world.service.awaiting.append_message(session_id, "user", CONTENT)
            return turn, trace.get_current_span()

    context.turn, context.after = context.world.run(append())


@then("its span is a child of that span, which is the current one again")
def child(context):
    (span,) = named("append_message")
    assert span.parent == context.turn.get_span_context()
    assert context.after is context.turn


@when("a message is appended inside a span of the application's own, and OpenTelemetry raises when {moment}")
def append_raising(context, moment):
    if moment == "a retry is counted":
        counter = mock.patch.object(signals._retries, "add", side_effect=RuntimeError(CONTENT))  # noqa: SLF001
        with counter, tracer.start_as_current_span("turn") as context.turn:
            append_busy(context, 1)
            context.after = trace.get_current_span()
        return
    otel.listen(raising=moment)
    append_inside(context)
    otel.listen()


@when("a message is appended inside a span of the application's own, and its duration cannot be recorded")
def append_unrecorded(context):
    with mock.patch.object(signals._duration, "record", side_effect=RuntimeError(CONTENT)):  # noqa: SLF001
        append_inside(context)


@then("the span of the append has ended")
def append_has_ended(context):
    assert len(named("append_message")) == 1


@then("the message is stored once")
def stored_once(context):
    (message,) = context.world.service.get_messages(context.session.session_id)
    assert message.content == CONTENT


@then("the application's span is the current one again, and the log says once that OpenTelemetry raised")
def passed_over(context):
    assert context.after is context.turn
    told = [record for record in ours(context) if "OpenTelemetry" in record.getMessage()]
    assert [record.getMessage().count("RuntimeError") for record in told] == [1], told
    assert all(record.exc_info is None for record in told)


@when("a session that is not there is got")
def get_missing(context):
    context.missing = sessionledger.new_id()
    context.world.attempt(lambda: context.world.service.get(context.missing))
    context.world.refusal(sessionledger.SessionNotFoundError)


@then("its span has the status ERROR and the type of the error, and no text and no event")
def failed_span(context):
    (span,) = named("get")
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
    assert span.attributes["error.type"] == "SessionNotFoundError"
    assert span.attributes["gen_ai.conversation.id"] == context.missing


@then("its duration is counted under the same type of error")
def failed_duration(context):
    _, points = otel.points("db.client.operation.duration")
    (point,) = [each for each in points if each.attributes["db.operation.name"] == "get"]
    assert (point.count, point.attributes["error.type"]) == (1, "SessionNotFoundError")


@then("its span has the code of the database")
def code_of_span(context):
    span = named("append_message")[-1]
    assert span.attributes["error.type"] == "StorageError"
    assert span.attributes["db.response.status_code"] == context.error.code
    assert context.error.code


@then("one span covers all of its attempts, and {count:d} retries are counted with the code")
def retries_counted(context, count):
    (span,) = named("append_message")
    assert span.status.status_code is StatusCode.UNSET
    _, (point,) = otel.points("sessionledger.client.retries")
    assert point.value == count
    assert dict(point.attributes) == {
        "db.system.name": context.database_name,
        "error.type": "StorageUnavailableError",
        "db.response.status_code": busy_code(context),
    }


@when("an append is cancelled while it waits for a connection")
def cancel_append(context):
    database = context.world.database(pool_size=1, max_overflow=0, pool_timeout=60)
    service = context.world.service_of(database)

    async def append():
        with tracer.start_as_current_span("turn") as turn:
            asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)
            try:
                await service.awaiting.append_message(context.session.session_id, "user", CONTENT)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
                return turn, trace.get_current_span()
            raise AssertionError("the append went through")

    with context.world.taken_connection(database):
        otel.listen()
        context.turn, context.after = context.world.run(append())


@then("its span has ended with the error type {name:w}, and the application's is the current one again")
def cancelled_span(context, name):
    (span,) = named("append_message")
    assert span.end_time > span.start_time
    assert (span.attributes["error.type"], span.status.status_code) == (name, StatusCode.ERROR)
    assert span.parent == context.turn.get_span_context()
    assert context.after is context.turn


@when("sessions are asked for by texts that are no ids")
def no_ids(context):
    service = context.world.service
    for call in (
        lambda: service.get(CONTENT),
        lambda: service.find("01HZX3V9QK2M4N5P6R7S8T9VWX"),  # a key that looks like an id
        lambda: service.append_message([CONTENT], "user", CONTENT),
        lambda: service.create(session_id=CONTENT),
    ):
        try:
            call()
        except sessionledger.InvalidInputError:
            continue


@then("no span says which session it was")
def no_session(context):
    assert len(otel.spans()) == 4
    for span in otel.spans():
        assert "gen_ai.conversation.id" not in span.attributes, dict(span.attributes)


# Where it is not installed

PLAIN = """
import sys, sessionledger
with sessionledger.connect({url!r}) as sessions:
    session = sessions.create(key="k")
    sessions.append_message(session.session_id, "user", "Hello")
    print(len(sessions.get_messages(session.session_id)))
from sessionledger.infrastructure import telemetry
speaks = telemetry._signals() is not None
imported = [name for name, module in sys.modules.items() if module and name.startswith("opentelemetry")]
"""
IS = {
    "is not installed": ("", "assert not speaks and not imported, imported", ("opentelemetry",)),
    "is installed and not imported": ("", "assert not speaks and not imported, imported", ()),
    "is older than 1.30": (
        "from opentelemetry import metrics; metrics.Meter.create_histogram = lambda self, name, unit='': None",
        "assert imported and not speaks",
        (),
    ),
    "is imported": ("import opentelemetry.trace", "assert speaks", ()),
}


@when("Python uses a ledger where OpenTelemetry {state}")
def without_opentelemetry(context, state):
    before, after, blocked = IS[state]
    context.ended = python("\n".join([before, PLAIN.format(url=context.world.url), after]), *blocked)


@when("Python gives up a call where nobody has set up logging")
def gives_up(context):
    program = """
import sessionledger
try:
    sessionledger.connect("postgresql://127.0.0.1:1/ledger", retry_seconds=0.1)
except sessionledger.StorageUnavailableError:
    print(1)
"""
    context.ended = python(program)
    assert context.ended.stderr == "", context.ended.stderr


@when("Python imports sessionledger, and looks at logging")
def imports_only(context):
    program = "import sessionledger, logging; print(len([n for n in sys.modules if n.startswith('opentelemetry')])"
    context.ended = python(f"{program} + len(logging.getLogger('sessionledger').handlers) + 1)")
