"""Steps about what each statement reads, as the database itself plans it."""

import io
import itertools
import re
from datetime import timedelta

from behave import given, then, when
from sqlalchemy import Engine, event

import sessionledger
from ledgers_in_use import EACH, FILL, LONG, MESSAGES, OTHERS, SESSIONS, START, WORKSPACES, ulid
from plans import EXPLAIN, GROWING
from steps.architecture import public

PLANNED = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
UNPLANNED = re.compile(r"(BEGIN|PRAGMA|SET LOCAL|SET TRANSACTION|SAVEPOINT|RELEASE)\b")
MESSAGES_BY_SEQUENCE = "session_messages by session_id, sequence"
HELLO = {"role": "user", "content": "Hello"}
SPENT = {"input_tokens": 1}
EMPTY = ulid("S", SESSIONS - OTHERS - 1)  # of the namespace `default`
PLACE = f"place-{150 * (OTHERS + 1)}"
NUMBERS = itertools.count(1)


class EnoughError(Exception):
    """What was to be seen of a long call has been seen."""


def enough(*_):
    raise EnoughError


def enough_rows(done, _):
    if done > WORKSPACES + 2_000:
        raise EnoughError


def key():
    return f"key-{next(NUMBERS)}"


def a_session():
    """A session with messages that no call has deleted."""
    return ulid("S", next(NUMBERS) % (LONG - 10))


def again(method, *arguments, **named):
    method(*arguments, **named)
    return lambda: method(*arguments, **named)


def archive(service):
    file = io.BytesIO()
    service.export_session(a_session(), file)
    return file.getvalue()


def importing(service, method="import_session", **options):
    """A call that imports a session that is there: as this database has not imported it before."""
    file = archive(service)
    return lambda: getattr(service, method)(io.BytesIO(file), **options)


def ids():
    return [{**HELLO, "message_id": sessionledger.new_id()} for _ in range(3)]


# Each is given a service and gives a call: what is done before the call itself is not looked at.
CALLS = {
    "create": lambda s: lambda: s.create(actor_name="actor-1"),
    "create in a workspace": lambda s: lambda: s.create(workspace=PLACE),
    "create with a key": lambda s: lambda: s.create(key=key()),
    "get_or_create": lambda s: again(s.get_or_create, key()),
    "get_or_create of a new key": lambda s: lambda: s.get_or_create(key()),
    "update": lambda s: lambda: s.update(a_session(), title=key()),
    "update of a version": lambda s: lambda: s.update(s.create().session_id, title="New", expected_version=1),
    "delete": lambda s: lambda: s.delete(ulid("S", LONG - next(NUMBERS) % 10 - 1)),
    "append_message": lambda s: lambda: s.append_message(a_session(), "user", "Hello"),
    "append_message with usage": lambda s: lambda: s.append_message(a_session(), "user", "Hello", usage=SPENT),
    "append_message behind a sequence": lambda s: (
        lambda: s.append_message(s.create().session_id, "user", "Hello", expected_sequence=0)
    ),
    "append_message again": lambda s: again(
        s.append_message, a_session(), "user", "Hello", message_id=sessionledger.new_id()
    ),
    "append_message behind a wrong one": lambda s: (
        lambda: s.append_message(a_session(), "user", "Hello", expected_sequence=MESSAGES - 1)
    ),
    "append_message to nobody": lambda s: lambda: s.append_message(sessionledger.new_id(), "user", "Hello"),
    "append_messages": lambda s: lambda: s.append_messages(a_session(), [HELLO] * 20),
    "append_messages with usage": lambda s: lambda: s.append_messages(a_session(), [{**HELLO, "usage": SPENT}] * 20),
    "append_messages again": lambda s: again(s.append_messages, a_session(), ids()),
    "update_token_usage": lambda s: lambda: s.update_token_usage(a_session(), input_tokens=1),
    "update_token_usage again": lambda s: again(
        s.update_token_usage, a_session(), input_tokens=1, usage_id=sessionledger.new_id()
    ),
    "import_session": importing,
    "import_session again": lambda s: again(importing(s)),
    "import_session as a copy": lambda s: importing(s, as_copy=True),
    "import_sessions": lambda s: importing(s, "import_sessions"),
    "get": lambda s: lambda: s.get(a_session()),
    "find": lambda s: lambda: s.find(key()),
    "get_messages": lambda s: lambda: s.get_messages(a_session()),
    "get_messages of the last 50": lambda s: lambda: s.get_messages(a_session(), last=50),
    "get_messages of the last 50 before": lambda s: lambda: s.get_messages(a_session(), before=200, last=50),
    "get_messages of a page": lambda s: lambda: s.get_messages(a_session(), after=100, limit=50),
    "get_messages of a page of nothing": lambda s: lambda: s.get_messages(EMPTY, limit=50),
    "export_session": lambda s: lambda: s.export_session(a_session(), io.BytesIO()),
    "export_sessions": lambda s: lambda: s.export_sessions(io.BytesIO(), follow=enough),
    "export_sessions of some ids": lambda s: (
        lambda: s.export_sessions(io.BytesIO(), session_ids=[a_session() for _ in range(3)])
    ),
    "export_sessions of an actor": lambda s: (
        lambda: s.export_sessions(io.BytesIO(), actor_name="actor-1", follow=enough)
    ),
    "export_sessions of a workspace": lambda s: lambda: s.export_sessions(io.BytesIO(), workspace=PLACE, follow=enough),
    "export_sessions since a time": lambda s: (
        lambda: s.export_sessions(io.BytesIO(), since=START + timedelta(seconds=2 * SESSIONS - 20), follow=enough)
    ),
    "sum_token_usage": lambda s: s.sum_token_usage,
    "sum_token_usage of a session": lambda s: lambda: s.sum_token_usage(session_id=a_session()),
    "sum_token_usage of a time": lambda s: lambda: s.sum_token_usage(since=START, until=START + timedelta(seconds=60)),
}

LISTINGS = {
    "with no filter": {},
    "with archived ones": {"include_archived": True},
    "by actor": {"actor_name": f"actor-{EACH - 1}"},
    "by workspace": {"workspace": PLACE},
    "by offset": {"offset": 50},
}


@given("a ledger in use")
def in_use(context):
    """One for all scenarios of a run: to fill it takes longer than all the calls."""
    kind = context.world.kind
    if not hasattr(kind, "in_use"):
        kind.in_use = FILL[kind.name](kind.fresh())
    context.explained_on = kind.in_use
    context.world.url = kind.in_use[0]
    context.world.service.list(limit=1)  # the first call of a service looks at the schema's revision
    context.plans = []


def explain(context, call):
    """Make a call, and let the database tell the plans of its statements."""
    seen = {}

    def note(_connection, _cursor, statement, values, _context, many):
        seen.setdefault(statement, values[0] if many and isinstance(values, list) else values)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        call()
    except (EnoughError, sessionledger.SequenceConflictError, sessionledger.SessionNotFoundError):
        pass
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    planned = {statement: values for statement, values in seen.items() if PLANNED.match(statement)}
    assert planned, seen
    for statement in seen.keys() - planned.keys():
        assert UNPLANNED.match(statement), statement
    for url in context.explained_on:
        for statement, values in planned.items():
            context.plans += EXPLAIN[context.world.kind.name](url, statement, values)


def told(context, what):
    """What all plans of the calls do of a kind, and their text for whoever reads the failure."""
    return set().union(*(getattr(plan, what) for plan in context.plans)), "\n\n".join(
        plan.text for plan in context.plans if getattr(plan, what)
    )


@when("{call} is called")
def called(context, call):
    if call == "verify":
        explain(context, lambda: sessionledger.verify(context.world.url, follow=enough_rows))
    else:
        explain(context, CALLS[call](context.world.service))


@when("the pages of sessions, {order} first, are listed {how}")
def listed(context, order, how):
    service, named = context.world.service, LISTINGS[how]
    explain(context, lambda: service.list(order=order, **named))
    if "offset" not in named:
        cursor = service.list(order=order, **named).next_cursor
        assert cursor is not None
        explain(context, lambda: service.list(order=order, cursor=cursor, **named))


@then("rows are found by {indexes}, and nothing else is read or sorted")
def found_by(context, indexes):
    wanted = [] if indexes == "nothing" else [each.split(" or ") for each in indexes.split("; ")]
    allowed = set(itertools.chain(*wanted))
    searches, text = told(context, "searches")
    assert searches <= allowed, f"{searches - allowed}\n{text}"
    for each in wanted:
        assert searches & set(each), f"nothing is found by {each}\n{text}"
    for what in ("scans", "sorts"):
        found, text = told(context, what)
        assert not found, f"{what}: {found}\n{text}"


@then("only {tables} are sorted, and no messages are read")
def only_sorted(context, tables):
    sorts, text = told(context, "sorts")
    assert sorts == set(tables.split(", and ")), f"{sorts}\n{text}"
    assert not [each for what in ("searches", "scans") for each in told(context, what)[0] if "messages" in each]


MUCH = {
    "one session": ({"sessions", "session_messages"}, set()),
    "its usage": ({"sessions", "resources", "token_usage"}, set()),
    "sessions and usage": ({"sessions", "resources", "token_usage"}, {"sessions", "resources", "token_usage"}),
    "everything": (set(), GROWING),
}
"""What a call that is no page may sort, and what it may read whole."""


@then("messages are found by session_id, sequence, and {much} may be read whole or sorted")
def much_read(context, much):
    sorts, scans = MUCH[much]
    found, text = told(context, "sorts")
    assert found <= sorts, f"sorts: {found - sorts}\n{text}"
    found, text = told(context, "scans")
    assert {each.partition(" along ")[0] for each in found} <= scans, f"scans: {found}\n{text}"
    found, text = told(context, "searches")
    others = {MESSAGES_BY_SEQUENCE} | (
        {"session_messages by session_id, message_id"} if much == "everything" else set()
    )
    assert MESSAGES_BY_SEQUENCE in found, text
    assert {each for each in found if each.startswith("session_messages")} <= others, f"{found}\n{text}"


@then("rows are found by {index}, and only token_usage is sorted or read whole: {whole}")
def summed(context, index, whole):
    searches, text = told(context, "searches")
    assert searches <= {index}, text
    assert whole == "may be" or searches, text
    assert told(context, "scans")[0] <= ({"token_usage"} if whole == "may be" else set()), told(context, "scans")
    assert told(context, "sorts")[0] <= {"token_usage"}, told(context, "sorts")


@then("every public method of SessionService is called in one of these scenarios")
def none_missing(context):
    methods = {call.split()[0] for call in CALLS} | {"list"}
    examples = {cell for outline in context.feature.scenarios for cell in outline_cells(outline)}
    assert set(CALLS) <= examples, set(CALLS) - examples
    assert methods == set(public(sessionledger.SessionService)) - {"close"}


def outline_cells(scenario):
    """The cells of an outline's examples; nothing for a plain scenario."""
    for examples in getattr(scenario, "examples", ()):
        for row in examples.table:
            yield from row.cells


CONTROLS = {
    "messages by a column without an index": "SELECT * FROM session_messages WHERE content = 'Hello'",
    "messages in the order of all their indexes": (
        "SELECT session_id, sequence FROM session_messages ORDER BY session_id, sequence LIMIT 5"
    ),
    "a session by the time of its messages": (
        f"SELECT * FROM session_messages WHERE session_id = '{ulid('S', 1)}' ORDER BY created_at DESC LIMIT 50"
    ),
    "sessions by the time of their last change": (
        "SELECT * FROM sessions WHERE namespace = 'default' ORDER BY updated_at DESC LIMIT 50"
    ),
}


@when("the database is asked for {what}")
def asked_for(context, what):
    for url in context.explained_on:
        context.plans += EXPLAIN[context.world.kind.name](url, CONTROLS[what], ())


@then("the {fault} is found")
def fault_found(context, fault):
    kind, what = fault.split(" of ", 1)
    for plan in context.plans:
        assert what in getattr(plan, f"{kind}s"), plan.text
