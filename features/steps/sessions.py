"""Sessions: made, found, listed, changed, deleted."""

import io
import json
import re
from datetime import UTC, datetime, timedelta

from behave import given, then, when

import sessionledger
from sessionledger import SessionNotFoundError

NOBODY = "01HZX3V9QK0000000000000000"
KEPT = ("title", "actor_name", "metadata", "workspace")


def values_of(table):
    """A table of fields and values; metadata and content are JSON, counts are numbers."""
    return {row["field"]: value_of(row["field"], row["value"]) for row in table}


def value_of(field, written):
    if field in {"metadata", "content"} or field.endswith(("_tokens", "_sequence", "_version")) or field == "version":
        return json.loads(written)
    return written


def just_now(time):
    assert time.tzinfo is UTC, time.tzinfo
    assert timedelta(0) <= datetime.now(UTC) - time < timedelta(minutes=1), time


def make(context, **values):
    context.session = context.world.service.create(**values)
    return context.session


@given("a session")
def a_session(context):
    make(context)


@given("a session with {count:d} messages")
def a_session_with_messages(context, count):
    make(context)
    context.world.service.append_messages(context.session.session_id, said(count))


@given("it has {count:d} messages")
def it_has_messages(context, count):
    context.world.service.append_messages(context.session.session_id, said(count))


@given('a session with {count:d} messages in the namespace "{namespace}"')
def a_session_of_a_namespace(context, count, namespace):
    service = context.world.connect(namespace=namespace)
    context.session = service.create(key="ticket/4711", title="Secret plans", workspace="north-office")
    service.append_messages(context.session.session_id, said(count))


@given("another session with {count:d} messages")
def another_session(context, count):
    context.other = context.world.service.create()
    context.world.service.append_messages(context.other.session_id, said(count))


def said(count):
    return [{"role": "user", "content": f"Message {number}"} for number in range(1, count + 1)]


@given('a session with the key "{key}"')
def a_session_with_a_key(context, key):
    make(context, key=key)


@given("a session with a title, an actor, metadata and a workspace")
def a_full_session(context):
    make(context, title="Parcel", actor_name="ann", metadata={"channel": "mail"}, workspace="north-office")


@given("it has been updated since")
def it_has_been_updated(context):
    context.world.service.update(context.session.session_id, title="Parcel, lost")


@given("these sessions, made one after the other")
def these_sessions(context):
    for row in context.table:
        values = {name: row[name] for name in ("title", "actor_name", "workspace") if row.get(name)}
        session = context.world.service.create(**values)
        if row.get("archived"):
            session = context.world.service.update(session.session_id, archived=True)
        context.named[row["title"]] = session


@given("{count:d} sessions")
def some_sessions(context, count):
    context.made = [context.world.service.create(title=f"Session {number}").session_id for number in range(count)]


@given("{count:d} sessions, some of them of the same instant")
def sessions_of_one_instant(context, count):
    some_sessions(context, count)
    database = context.world.kind
    for column in ("created_at", "updated_at"):
        ids = ", ".join(f"'{session_id}'" for session_id in context.made[5:15])
        instant = f"(SELECT {column} FROM sessions WHERE session_id = '{context.made[5]}')"
        database.load(context.world.url, f"UPDATE sessions SET {column} = {instant} WHERE session_id IN ({ids})")


@when("a session is created")
def create(context):
    context.world.attempt(context.world.service.create)
    context.session = context.world.result


@when("a session is created with")
def create_with(context):
    context.given = values_of(context.table)
    context.world.attempt(lambda: context.world.service.create(**context.given))
    if context.world.succeeded:
        context.session = context.world.result


@when("a session is created with the same id")
def create_with_the_same_id(context):
    context.world.attempt(lambda: context.world.service.create(session_id=context.session.session_id))


@when('a session is got or created by the key "{key}" with the title "{title}"')
def get_or_create(context, key, title):
    context.both = [*getattr(context, "both", ()), context.world.service.get_or_create(key, title=title)]
    context.session = context.both[-1]


@when('{count:d} callers get or create a session by the key "{key}" at once')
def get_or_create_at_once(context, count, key):
    calls = [[("get_or_create", (key,), {})] for _ in range(count)]
    context.both = [outcome for (outcome,) in context.world.at_once(context.world.service, calls)]


@when("a session that does not exist is {done}")
def nobody_is(context, done):
    service = context.world.service
    context.session = None
    calls = {
        "got": lambda: service.get(NOBODY),
        "updated": lambda: service.update(NOBODY, title="Anything"),
        "deleted": lambda: service.delete(NOBODY),
        "exported": lambda: service.export_session(NOBODY, io.BytesIO()),
    }
    context.world.attempt(calls[done])


@when("it is updated with")
def update_with(context):
    changes = values_of(context.table)
    context.world.attempt(lambda: context.world.service.update(context.session.session_id, **changes))
    context.old, context.session = context.session, context.world.result


@when("it is updated with None as its {field}")
def update_with_none(context, field):
    context.world.attempt(lambda: context.world.service.update(context.session.session_id, **{field: None}))
    context.session = context.world.result


@when("it is updated expecting version {version:d}")
def update_expecting(context, version):
    def update():
        return context.world.service.update(context.session.session_id, title="Mine", expected_version=version)

    context.world.attempt(update)
    if context.world.succeeded:
        context.session = context.world.result


@when('"{title}" is updated')
def update_named(context, title):
    context.world.service.update(context.named[title].session_id, metadata={"seen": True})


@when('"{title}" is archived')
def archive(context, title):
    context.world.service.update(context.named[title].session_id, archived=True)


@when('"{title}" is taken out of the archive')
def take_out(context, title):
    context.world.service.update(context.named[title].session_id, archived=False)


@when("it is deleted")
@when("the first session is deleted")
def delete(context):
    context.world.attempt(lambda: context.world.service.delete(context.session.session_id))
    assert context.world.result is None


@when("sessions are listed")
def list_sessions(context):
    context.page = context.world.service.list()


@when("archived sessions are listed as well")
def list_archived(context):
    context.page = context.world.service.list(include_archived=True)


@when("sessions are listed with {filters}")
def list_with(context, filters):
    context.page = context.world.service.list(**read_filters(filters))


def read_filters(written):
    """Read `actor_name "ann" and limit 3` as keyword arguments."""
    found = re.findall(r'(\w+) (?:"([^"]*)"|(\d+))', written)
    assert found, written
    return {name: int(number) if number else word for name, word, number in found}


@when('sessions are listed in the namespace "{namespace}"')
def list_in(context, namespace):
    context.page = context.world.connect(namespace=namespace).list(include_archived=True)


@when('all pages of {limit:d} are listed by cursor with order "{order}"')
def list_all_pages(context, limit, order):
    context.order = order
    context.pages = list(pages(context.world.service, limit=limit, order=order))


@when('all pages of {limit:d} of the actor "{actor_name}" are listed by cursor')
def list_all_pages_of(context, limit, actor_name):
    found = list(pages(context.world.service, limit=limit, actor_name=actor_name))
    context.page = [session for page in found for session in page]


def pages(service, **filters):
    page = service.list(**filters)
    yield page
    while page.next_cursor is not None:
        page = service.list(cursor=page.next_cursor, **filters)
        yield page


@when("the first page of {limit:d} is listed")
def list_first(context, limit):
    context.limit = limit
    context.pages = [context.world.service.list(limit=limit)]


@when("{count:d} more sessions are made")
def make_more(context, count):
    for _ in range(count):
        context.world.service.create(title="Later")


@when("the next page is listed")
def list_next(context):
    cursor = context.pages[-1].next_cursor
    context.pages.append(context.world.service.list(limit=context.limit, cursor=cursor))


@then("its id is a ULID")
def id_is_a_ulid(context):
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", context.session.session_id), context.session.session_id


@then("its id is the one derived from its key")
def id_is_derived(context):
    assert context.session.session_id == sessionledger.session_id_for("default", context.session.key)


@then("it has no {first}, {second}, {third}, {fourth} or {fifth}")
def has_none_of(context, **fields):
    found = {field: getattr(context.session, field) for field in fields.values()}
    assert set(found.values()) == {None}, found


@then("its metadata is {metadata}")
def metadata_is(context, metadata):
    assert context.session.metadata == json.loads(metadata), context.session.metadata


@then("its last_sequence is {count:d}")
def last_sequence_is(context, count):
    found = context.world.service.get(context.session.session_id).last_sequence
    assert found == count, found


@then("its version is {count:d}")
def version_is(context, count):
    found = context.world.service.get(context.session.session_id).version
    assert found == count, found


@then('its {field:w} is "{value}"')
def field_is(context, field, value):
    holder = context.session if hasattr(context.session, field) else context.messages[-1]
    assert getattr(holder, field) == value, getattr(holder, field)


@then("nothing is left of its {field}")
def field_is_empty(context, field):
    assert getattr(context.session, field) == ({} if field == "metadata" else None)


@then("it was created and last updated just now, at one time in UTC")
def made_now(context):
    just_now(context.session.created_at)
    assert context.session.updated_at == context.session.created_at


@then("it has these values")
def has_these_values(context):
    found = {name: getattr(context.session, name) for name in context.given}
    assert found == context.given, found


@then("getting it gives the same session")
def getting_gives_it(context):
    found = context.world.service.get(context.session.session_id)
    assert found == context.session, f"{found} is not {context.session}"


@then('finding the key "{key}" gives the same session')
def finding_gives_it(context, key):
    assert context.world.service.find(key) == context.session


@then('finding the key "{key}" gives nothing')
def finding_gives_nothing(context, key):
    assert context.world.service.find(key) is None


@then("both are the same session")
@then("all of them get the same session")
def the_same_session(context):
    assert len(context.both) >= 2
    assert {session.session_id for session in context.both} == {context.both[0].session_id}, context.both


@then("both are different sessions")
def different_sessions(context):
    assert len({session.session_id for session in context.both}) == len(context.both) == 2


@then("there is {count:d} session")
@then("there are {count:d} sessions")
def there_are(context, count):
    found = len(context.world.contents()["sessions"])
    assert found == count, found


def told_apart(service, session_id):
    """What every call of a service answers for a session, with its id written out of the answer."""
    calls = {
        "get": lambda: service.get(session_id),
        "update": lambda: service.update(session_id, title="Anything"),
        "update, at a version": lambda: service.update(session_id, title="Anything", expected_version=7),
        "append_message": lambda: service.append_message(session_id, "user", "Hello"),
        "append_message, at a sequence": lambda: service.append_message(session_id, "user", "Hi", expected_sequence=7),
        "get_messages": lambda: service.get_messages(session_id),
        "get_messages, the last": lambda: service.get_messages(session_id, last=2),
        "export_session": lambda: service.export_session(session_id, io.BytesIO()),
        "update_token_usage": lambda: service.update_token_usage(session_id, input_tokens=1),
        "delete": lambda: service.delete(session_id),
        "list": lambda: tuple(service.list(include_archived=True)),
        "find": lambda: service.find("ticket/4711"),
    }
    return {name: answer(call, session_id) for name, call in calls.items()}


def answer(call, session_id):
    try:
        return call()
    except sessionledger.SessionLedgerError as error:
        return type(error).__name__, str(error).replace(session_id, "…")


@then('no call of the namespace "{namespace}" tells it from a session that does not exist')
def cannot_be_told(context, namespace):
    before = context.world.contents()
    service = context.world.connect(namespace=namespace)
    there, not_there = told_apart(service, context.session.session_id), told_apart(service, NOBODY)
    assert there == not_there, f"{there} is not {not_there}"
    assert there["get"][0] == "SessionNotFoundError"
    assert context.world.contents() == before


@then('a session of the namespace "{namespace}" may have the same key')
def may_have_the_same_key(context, namespace):
    found = context.world.connect(namespace=namespace).get_or_create(context.session.key)
    assert found.session_id != context.session.session_id
    assert (found.title, found.last_sequence) == (None, 0)


@then('the namespace "{namespace}" cannot create a session with its id without being told only that the id is taken')
def told_only_that_it_is_taken(context, namespace):
    service = context.world.connect(namespace=namespace)
    context.world.attempt(lambda: service.create(session_id=context.session.session_id))
    error = context.world.refusal(sessionledger.SessionExistsError)
    assert vars(error) == {"session_id": context.session.session_id}


@then("everything else but its version and the time of its last update is as before")
def the_rest_is_as_before(context):
    changed = {"title", "version", "updated_at"}
    names = [name for name in type(context.session).__slots__ if name not in changed]
    before, after = ({name: getattr(each, name) for name in names} for each in (context.old, context.session))
    assert before == after
    assert context.session.updated_at > context.old.updated_at


@then("the titles are {titles}")
def titles_are(context, titles):
    found = [session.title for session in context.page]
    assert found == titles.split(", "), found


@then("there are no titles")
@then("there are no sessions in the listing")
def no_titles(context):
    assert list(context.page) == []


@then('"{title}" can be got, appended to and exported')
def otherwise_whole(context, title):
    service, session_id = context.world.service, context.named[title].session_id
    assert service.append_message(session_id, "user", "Still here").sequence == 1
    assert service.get(session_id).archived_at is not None
    assert service.export_session(session_id, io.BytesIO()).messages == 1


@then("each listed session equals the one that get gives")
def listed_equals_got(context):
    listed = list(context.page)
    assert len(listed) == 4
    assert listed == [context.world.service.get(session.session_id) for session in listed]


@then("they hold {count:d} pages and every session once, in order")
def every_session_once(context, count):
    assert len(context.pages) == count, len(context.pages)
    listed = [session for page in context.pages for session in page]
    assert sorted(session.session_id for session in listed) == sorted(context.made)
    time = {"newest": "created_at", "oldest": "created_at", "updated": "updated_at"}[context.order]
    keys = [(getattr(session, time), session.session_id) for session in listed]
    assert keys == sorted(keys, reverse=context.order != "oldest"), keys


@then("the two pages hold the first {count:d} sessions, each once")
def first_sessions_once(context, count):
    listed = [session.session_id for page in context.pages for session in page]
    assert len(listed) == count
    assert set(listed) == set(context.made)


@then("the sessions are the last {count:d} of the listing")
def the_last_of_the_listing(context, count):
    whole = list(context.world.service.list(limit=1000))
    assert list(context.page) == whole[-count:]


@then("no row of it is left but its ledger of token usage")
def no_row_is_left(context):
    left = {
        name: [row for row in rows if row.get("session_id") == context.session.session_id]
        for name, rows in context.world.contents().items()
        if name != "token_usage"
    }
    assert {"sessions", "session_messages"} <= set(left)
    assert not any(left.values()), left


@then("the other session still has {count:d} messages")
def the_other_has(context, count):
    assert len(context.world.service.get_messages(context.other.session_id)) == count


@then("getting, updating, appending to, reading, exporting and deleting it are refused with SessionNotFoundError")
def everything_is_refused(context):
    service, session_id = context.world.service, context.session.session_id
    for call in (
        lambda: service.get(session_id),
        lambda: service.update(session_id, title="Anything"),
        lambda: service.append_message(session_id, "user", "Hello"),
        lambda: service.get_messages(session_id),
        lambda: service.export_session(session_id, io.BytesIO()),
        lambda: service.update_token_usage(session_id, input_tokens=1),
        lambda: service.delete(session_id),
    ):
        context.world.attempt(call)
        assert context.world.refusal(SessionNotFoundError).session_id == session_id
