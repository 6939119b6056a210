"""Row-level security: the script of the how-to page, roles that log in, and what raw SQL sees."""

import contextlib
import io
import re

import psycopg
from behave import given, then, when
from sqlalchemy import make_url

import sessionledger
from sessionledger import SessionNotFoundError
from sessionledger.infrastructure.database import Database, schema

PAGE = "docs/howto/row_level_security.md"
SCRIPT = "docs/howto/row_level_security.sql"
APP = "sessionledger_app"
TABLES = {
    "sessions": "SELECT namespace FROM sessions",
    "messages": "SELECT namespace FROM session_messages JOIN every_session USING (session_id)",
    "token usage": "SELECT namespace FROM token_usage",
    "workspaces": "SELECT namespace FROM resources",
}
NOW = "'2026-03-01 12:00+00'"


def run_as_owner(context, script):
    context.world.kind.load(context.world.url, script)


def make_role(context, name, app=None):
    """A role that logs in with its name as the password, and goes with the scenario."""
    run_as_owner(context, f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{name}'" if app is None else f'CREATE ROLE "{name}"')
    gone = f'REASSIGN OWNED BY "{name}" TO CURRENT_USER; DROP OWNED BY "{name}"; DROP ROLE "{name}"'
    context.world.stack.callback(run_as_owner, context, gone)


def url_of(context, namespace=None, role=None, **settings):
    """The URL of a role's connection, for a namespace."""
    if namespace is not None:
        settings["sessionledger.namespace"] = context.namespaces[namespace]
    options = " ".join(f"-c{name}={escaped(value)}" for name, value in settings.items())
    role = role or context.role
    url = make_url(context.world.url).set(username=role, password=role).update_query_dict({"options": options})
    text = url.render_as_string(hide_password=False)
    return text.replace("+", "%20").replace(" ", "%20")  # libpq takes a plus for a plus, and no space


def escaped(value):
    """As PostgreSQL reads a value in `options`: a space or backslash has a backslash before it."""
    return re.sub(r"([\\ ])", r"\\\1", value)


def rows(context, url, query):
    with context.world.kind.asked(url) as ask:
        return ask(query)


def seen(context, url):
    """The namespaces whose rows a connection sees, by table."""
    found = {what: {row["namespace"] for row in rows(context, url, query)} for what, query in TABLES.items()}
    names = {name: word for word, name in context.namespaces.items()}
    return {what: {names[name] for name in namespaces} for what, namespaces in found.items()}


def everywhere(*namespaces):
    return {what: set(namespaces) for what in TABLES}


def fill(service):
    """A session of everything."""
    session = service.create(key="ticket/1", title="Parcel", workspace="north", metadata={"order": 4711})
    usage = {"input_tokens": 12, "output_tokens": 4}
    service.append_message(session.session_id, "user", "Where is my parcel?", usage=usage, model="any-model")
    return service.get(session.session_id)


def everything(service):
    """Call every method; what they give, without the times and random ids."""
    session_id = service.create(key="ticket/2", workspace="south", actor_name="Ann").session_id
    batch = [{"role": "user", "content": content, "message_id": sessionledger.new_id()} for content in ("One", "Two")]
    told = [[message.sequence for message in service.append_messages(session_id, batch)] for _ in range(2)]
    told.append(service.append_message(session_id, "tool", {"ok": True}, expected_sequence=2).sequence)
    told.append([message.content for message in service.get_messages(session_id, last=2)])
    told.append(service.get_or_create("ticket/2").actor_name)
    usage_id = sessionledger.new_id()
    told += [service.update_token_usage(session_id, input_tokens=7, usage_id=usage_id).input_tokens for _ in range(2)]
    told.append(service.update(session_id, title="New", metadata={"a": 1}, expected_version=1).version)
    told.append([(each.title, each.workspace, each.last_sequence) for each in service.list(order="oldest")])
    told.append([each.title for each in service.list(workspace="south", limit=1)])
    archive = io.BytesIO()
    told.append(service.export_session(session_id, archive).usage_records)
    copies = [service.import_session(io.BytesIO(archive.getvalue())) for _ in range(2)]
    told.append([(copy.last_sequence, copy.usage, copy.workspace) for copy in copies])
    told.append([message.content for message in service.get_messages(copies[0].session_id)])
    told.append(service.export_sessions(io.BytesIO(), workspace="south").messages)
    told.append(service.import_sessions(io.BytesIO(archive.getvalue())).messages)
    told.append(service.sum_token_usage())
    told.append(service.delete(session_id))
    try:
        service.get(session_id)
    except SessionNotFoundError:
        told.append("gone")
    return [*told, service.find("ticket/2"), len(service.list())]


@given('the namespaces "{first}" and "{second}", each with a session of everything')
def namespaces_with_sessions(context, first, second):
    context.namespaces = {word: f"{word} {sessionledger.new_id()}".lower() for word in (first, second)}
    context.sessions = {word: fill(context.world.connect(namespace=name)) for word, name in context.namespaces.items()}
    # Which session is whose, for everybody to see, so that a message can be told from another's.
    run_as_owner(
        context,
        "CREATE TABLE every_session AS SELECT session_id, namespace FROM sessions;"
        "GRANT SELECT ON every_session TO PUBLIC",
    )


@given("a role that is neither owner nor superuser")
def plain_role(context):
    context.role = f"ledger_role_{sessionledger.new_id()}".lower()
    make_role(context, context.role)


@given("the role may use the tables")
def role_has_rights(context):
    run_as_owner(context, f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{context.role}"')


@given("the script was run")
def script_was_run(context):
    """Under another name of the role: roles are the server's, which other runs use at the same time."""
    script = (context.checkout / SCRIPT).read_text()
    app = f"{context.role}_app"
    assert script.count(APP) > 4
    run_as_owner(context, script.replace(APP, app))
    run_as_owner(context, f'GRANT {app} TO "{context.role}"')
    if not hasattr(context, "app"):
        context.app = app
        gone = f"DROP OWNED BY {app}; DROP ROLE {app}"
        context.world.stack.callback(run_as_owner, context, gone)


@given("the role owns the tables")
def role_owns(context):
    ours = ("sessions", "session_messages", "token_usage", "resources")
    for table in (*ours, "sessionledger_revision", "sessionledger_compatible_revisions"):
        run_as_owner(context, f'ALTER TABLE {table} OWNER TO "{context.role}"')


@given("a role of the name of each namespace")
def roles_of_namespaces(context):
    for name in context.namespaces.values():
        make_role(context, name)
        run_as_owner(context, f'GRANT {context.app} TO "{name}"')
    context.logs_in = context.namespaces


@given("the stricter form of the how-to page was run")
def stricter_form(context):
    (script,) = re.findall(
        r"^```sql\n(CREATE OR REPLACE.*?)^```$", (context.checkout / PAGE).read_text(), re.MULTILINE | re.DOTALL
    )
    run_as_owner(context, script)


@then('raw SQL for "{namespace}" sees sessions, messages, token usage and workspaces of both')
def sees_both(context, namespace):
    assert seen(context, url_of(context, namespace)) == everywhere(*context.namespaces)


@then('raw SQL for "{namespace}" sees sessions, messages, token usage and workspaces of "{own}" alone')
def sees_own(context, namespace, own):
    assert seen(context, url_of(context, namespace)) == everywhere(own)


@then("raw SQL without a namespace sees nothing")
def sees_nothing(context):
    assert seen(context, url_of(context)) == everywhere()


@when('the ledger is verified on a connection of "{namespace}"')
def verified_in_part(context, namespace):
    context.world.attempt(lambda: sessionledger.verify(url_of(context, namespace)))


@when("the role downgrades to {target}")
def role_downgrades(context, target):
    with contextlib.closing(Database(url_of(context))) as database:
        context.world.attempt(lambda: schema.downgrade(database, target))


@then("raw SQL with row_security off is refused")
def refused_aloud(context):
    for query in TABLES.values():
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            raise AssertionError(f"{query} gave {rows(context, url_of(context, row_security='off'), query)}")


@then('raw SQL for "{namespace}" that sets the namespace "{other}" sees the sessions of "{found}"')
def can_set(context, namespace, other, found):
    assert set_and_seen(context, url_of(context, namespace), other) == {context.namespaces[found]}


def set_and_seen(context, url, other):
    query = f"SELECT set_config('sessionledger.namespace', '{context.namespaces[other]}', false)"
    with context.world.kind.asked(url) as ask:
        ask(query)
        return {row["namespace"] for row in ask(TABLES["sessions"])}


@then('raw SQL of the role of "{role}" sees sessions, messages, token usage and workspaces of "{own}" alone')
def role_sees_own(context, role, own):
    assert seen(context, url_of(context, role=context.namespaces[role])) == everywhere(own)


@then('raw SQL of the role of "{role}" that sets the namespace "{other}" sees "{own}" alone')
def role_cannot_set(context, role, other, own):
    url = url_of(context, role=context.namespaces[role])
    assert set_and_seen(context, url, other) == {context.namespaces[own]}


@when('raw SQL for "{namespace}" {does} a "{other}" session')
@when('raw SQL for "{namespace}" {does} of "{other}"')
@when('raw SQL for "{namespace}" {does} to "{other}"')
def raw_sql_writes(context, namespace, does, other):
    name, session_id = context.namespaces[other], context.sessions[other].session_id
    new = sessionledger.new_id()
    statements = {
        "inserts a session": "INSERT INTO sessions (session_id, namespace, created_at, updated_at)"
        f" VALUES ('{new}', '{name}', {NOW}, {NOW})",
        "inserts a message into": "INSERT INTO session_messages"
        " (message_id, session_id, sequence, role, content, created_at)"
        f" VALUES ('{new}', '{session_id}', 2, 'user', '\"Hello\"', {NOW})",
        "inserts token usage": "INSERT INTO token_usage (session_id, usage_id, namespace, recorded_at)"
        f" VALUES ('{session_id}', '{new}', '{name}', {NOW})",
        "inserts a workspace": "INSERT INTO resources (resource_id, namespace, kind, name, created_at, updated_at)"
        f" VALUES ('{new}', '{name}', 'workspace', 'west', {NOW}, {NOW})",
        "gives its sessions": f"UPDATE sessions SET namespace = '{name}' RETURNING session_id",
        "updates the sessions": f"UPDATE sessions SET title = 'Taken' WHERE session_id = '{session_id}'"
        " RETURNING session_id",
        "deletes the sessions": f"DELETE FROM sessions WHERE session_id = '{session_id}' RETURNING session_id",
        "deletes the messages": f"DELETE FROM session_messages WHERE session_id = '{session_id}' RETURNING session_id",
    }
    context.world.attempt(lambda: rows(context, url_of(context, namespace), statements[does]))


@then("row-level security refuses it")
def policy_refuses(context):
    error = context.world.refusal(psycopg.errors.InsufficientPrivilege)
    assert "row-level security policy" in str(error), error  # and no right that is missing


@then("no row is found")
def no_row_found(context):
    assert context.world.result == []


@when('a service of "{namespace}" on a connection without a namespace gets the session')
def service_without_setting(context, namespace):
    service = context.world.connect(url_of(context), namespace=context.namespaces[namespace])
    context.world.attempt(lambda: service.get(context.sessions[namespace].session_id))


@when('a service of "{namespace}" on a connection of "{other}" {call}')
def service_astray(context, namespace, other, call):
    own = context.world.connect(namespace=context.namespaces[namespace])
    session_id, archive = context.sessions[namespace].session_id, io.BytesIO()
    own.export_session(session_id, archive)
    service = context.world.connect(url_of(context, other), namespace=context.namespaces[namespace])
    calls = {
        "gets the session": lambda: service.get(session_id),
        "appends a message": lambda: service.append_message(session_id, "user", "Hello"),
        "updates the session": lambda: service.update(session_id, title="Taken"),
        "adds token usage": lambda: service.update_token_usage(session_id, input_tokens=1),
        "deletes the session": lambda: service.delete(session_id),
        "exports the session": lambda: service.export_session(session_id, io.BytesIO()),
        "exports the session by its id": lambda: service.export_sessions(io.BytesIO(), session_ids=[session_id]),
        "creates a session": service.create,
        "imports an archive": lambda: service.import_session(io.BytesIO(archive.getvalue())),
        "imports an archive of several": lambda: service.import_sessions(io.BytesIO(archive.getvalue())),
    }
    context.world.attempt(calls[call])


@when('a service of "{namespace}" creates, appends, reads, lists, updates, counts, exports, imports and deletes')
def library_works(context, namespace):
    name, others = context.namespaces[namespace], set(context.namespaces) - {namespace}
    context.others = {other: owned(context, other) for other in others}
    url = url_of(context, role=name) if hasattr(context, "logs_in") else url_of(context, namespace)
    context.told = everything(context.world.connect(url, namespace=name))
    plain = context.world.connect(context.world.fresh(), namespace=name)
    fill(plain)
    context.expected = everything(plain)


def owned(context, namespace):
    """All rows of a namespace, as the superuser sees them."""
    contents, name = context.world.contents(), context.namespaces[namespace]
    ids = {row["session_id"] for row in contents["sessions"] if row["namespace"] == name}
    return {
        table: [row for row in found if row.get("namespace") == name or row.get("session_id") in ids]
        for table, found in contents.items()
    }


@then("every answer is what it is without row-level security")
def answers_equal(context):
    assert len(context.told) > 12
    assert context.told == context.expected, f"{context.told}\n{context.expected}"


@then('the rows of "{namespace}" have not changed')
def rows_unchanged(context, namespace):
    assert owned(context, namespace) == context.others[namespace]
    assert context.others[namespace]["session_messages"]
