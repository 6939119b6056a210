"""Migrations: up, down, several at once, and what they make."""

import ast
import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from behave import given, then, when
from sqlalchemy import create_engine, inspect

import schemas
from forks import in_forks
from sessionledger.infrastructure.database import Database, SessionModel, revision, schema
from steps.database_states import current
from steps.sessions import said

OURS = {"resources", "sessions", "session_messages", "token_usage", revision.COMPATIBLE_TABLE}


def engine_of(context, url=None):
    engine = create_engine(url or context.world.url)
    context.world.stack.callback(engine.dispose)
    return engine


def database_of(context):
    return context.world.stack.enter_context(contextlib.closing(Database(context.world.url)))


def chain():
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    return ScriptDirectory.from_config(config)


def shape(engine):
    """All that the database tells about our tables, order aside."""
    asked = inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in asked.get_columns(table)
            },
            "primary key": asked.get_pk_constraint(table),
            "foreign keys": named(asked.get_foreign_keys(table)),
            "unique constraints": named(asked.get_unique_constraints(table)),
            "checks": named(asked.get_check_constraints(table)),
            "indexes": named(asked.get_indexes(table)),
            "options": asked.get_table_options(table),
        }
        for table in asked.get_table_names()
        if table in OURS
    }


def named(constraints):
    return {constraint["name"]: constraint for constraint in constraints}


def made_by_models(context):
    """The schema of a database whose tables the models have made."""
    engine = engine_of(context, context.world.empty())
    SessionModel.metadata.create_all(engine)
    return shape(engine)


@given("a database of the released revision {name}, with rows in it")
def released(context, name):
    context.revision = name
    context.world.url = context.world.empty()
    dump = schemas.dump_path(name, context.world.kind.name).read_text(encoding="utf-8")
    context.world.kind.load(context.world.url, dump)
    context.was = context.world.contents()


@given("an empty database, upgraded to {name}")
def upgraded_to(context, name):
    context.other_url = context.world.url
    context.world.url = context.world.empty()
    schema.upgrade(database_of(context), name)


@when("it is upgraded")
def upgrade(context):
    schema.upgrade(database_of(context))


@when("the database is upgraded again")
@when("it is upgraded, perhaps in vain")
def upgrade_again(context):
    context.world.attempt(lambda: schema.upgrade(database_of(context)))


@when("the database is upgraded to {name}")
def upgrade_to(context, name):
    context.world.attempt(lambda: schema.upgrade(database_of(context), name))


@when("the database is downgraded to {target}, allowing the loss of rows")
def downgrade_allowed(context, target):
    context.world.service.close()
    schema.downgrade(database_of(context), target, allow_data_loss=True)


@when("the database is downgraded to {target:S}")
def downgrade(context, target):
    context.world.attempt(lambda: schema.downgrade(database_of(context), target))


@when("it is downgraded revision by revision")
def downgrade_step_by_step(context):
    database = database_of(context)
    for target in (*revision.REVISIONS[-2::-1], "base"):
        schema.downgrade(database, target)
        assert schema.current(database) == (None if target == "base" else target)


def upgrade_alone(url):
    """Upgrade and return `None`, or what went wrong."""
    try:
        with contextlib.closing(Database(url)) as database:
            return schema.upgrade(database)
    except Exception as error:  # noqa: BLE001 - the scenario judges it
        return repr(error)


@when("{count:d} processes upgrade it at once")
def upgrade_at_once(context, count):
    context.outcomes = in_forks(count, lambda _: upgrade_alone(context.world.url))


@when("{count:d} threads upgrade it at once")
def upgrade_in_threads(context, count):
    with ThreadPoolExecutor(count) as pool:
        context.outcomes = list(pool.map(upgrade_alone, [context.world.url] * count))


@when("{count:d} processes upgrade an empty database at once without the lock, {tries:d} times")
def upgrade_at_once_unlocked(context, count, tries):
    context.unlocked = []
    for _ in range(tries):
        url = context.world.empty()
        with mock.patch.object(schema, "locked", contextlib.nullcontext):
            outcomes = in_forks(count, lambda _, url=url: upgrade_alone(url))
        context.unlocked += [outcome for outcome in outcomes if outcome is not None]


@when("the SQL of the upgrade is written and run past the library")
def run_sql(context):
    context.world.kind.load_in_steps(context.world.url, schema.sql(context.world.url))


@when("the SQL of the downgrade to {target} is written and run past the library")
def run_down_sql(context, target):
    context.world.kind.load_in_steps(context.world.url, schema.sql(context.world.url, f"head:{target}", down=True))


@when('"alembic {arguments}" is run with the URL by {way}')
def run_alembic(context, arguments, way):
    context.arguments = arguments.split()
    context.ended = alembic(context, way, *context.arguments)


def alembic(context, way, *arguments):
    url = context.world.url
    environment = {name: value for name, value in os.environ.items() if name != "SESSIONLEDGER_DATABASE_URL"}
    by_option = ["-x", f"url={url}"] if way == "-x url" else []
    if not by_option:
        environment["SESSIONLEDGER_DATABASE_URL"] = url
    command = [sys.executable, "-m", "alembic", *by_option, *arguments]
    return subprocess.run(command, cwd=context.checkout, env=environment, capture_output=True, text=True, check=False)


@when("a session with {count:d} messages is written in the columns of a7_001_session_persistence")
def write_as_before(context, count):
    rows = schemas.rows()
    session = rows["sessions"][0] | {"last_sequence": count}
    names = "session_id, namespace, actor_name, metadata, last_sequence, input_tokens, output_tokens"
    insert_as_before(context, "sessions", f"{names}, created_at, updated_at", [session])
    names = "message_id, session_id, sequence, role, content, tool_call_id, metadata, created_at"
    insert_as_before(context, "session_messages", names, rows["session_messages"][:count])


def insert_as_before(context, table, names, rows):
    for row in rows:
        values = ", ".join("NULL" if row[name] is None else written(row[name]) for name in names.split(", "))
        context.world.kind.load(context.world.url, f"INSERT INTO {table} ({names}) VALUES ({values})")


def written(value):
    if isinstance(value, int):
        return str(value)
    text = (
        value
        if isinstance(value, str)
        else value.isoformat(" ").removesuffix("+00:00") + ".000000"[: 7 * (not value.microsecond)]
    )
    return "'" + text.replace("'", "''") + "'"


@then("its revision is {name}")
def revision_is(context, name):
    assert current(context.world.url) == name


@then("it is at the newest revision and verified")
def newest_and_verified(context):
    assert current(context.world.url) == revision.EXPECTED
    schema.verify(database_of(context))
    (row,) = context.world.contents()["sessionledger_revision"]
    assert row == {"version_num": revision.EXPECTED}


@then("a session with {count:d} messages can be stored in it")
def can_be_stored(context, count):
    service = context.world.connect()
    session = service.create()
    service.append_messages(session.session_id, said(count))
    assert len(service.get_messages(session.session_id)) == count


@then("every row is there, each value as it was")
def every_row(context):
    now = context.world.contents()
    assert context.was["resources"]
    for table, rows in context.was.items():
        if table in {revision.VERSION_TABLE, revision.COMPATIBLE_TABLE}:
            continue
        columns = list(rows[0])
        found = [{name: row[name] for name in columns} for row in now[table]]
        assert sorted(found, key=repr) == sorted(rows, key=repr), f"{table}: {found} is not {rows}"


@then("the schema is that of the models")
@then("the tables that the models make have the same columns, keys, checks, indexes and defaults")
def schema_is_the_models(context):
    same(shape(engine_of(context)), made_by_models(context))


def same(found, expected):
    assert set(found) == set(expected), f"{set(found)} is not {set(expected)}"
    for table, facts in expected.items():
        for fact, value in facts.items():
            assert found[table][fact] == value, f"{fact} of {table}: {found[table][fact]} is not {value}"


@then("both have the same schema")
def both_the_same(context):
    found = shape(engine_of(context, context.other_url))
    assert found
    same(found, shape(engine_of(context)))


@then("the service gives the released sessions, messages and token usage")
def service_gives(context):
    service = context.world.connect()
    stored = schemas.rows()
    if "sessions" not in context.was:
        assert list(service.list()) == []
        return
    session = service.get(schemas.ANN)
    row = context.was["sessions"][0]
    assert session.metadata == {"channel": "mail"}
    assert (session.actor_name, session.last_sequence, session.created_at) == ("ann", 3, schemas.MORNING)
    assert (session.title, session.version) == (("Parcel", 2) if "title" in row else (None, 1))
    assert session.workspace == ("north-office" if "workspace" in row else None)
    assert (session.usage.input_tokens, session.usage.output_tokens) == (15, 4)
    assert [session] == list(service.list())
    messages = service.get_messages(schemas.ANN)
    assert [message.sequence for message in messages] == [1, 2, 3]
    for message, sent in zip(messages, stored["session_messages"], strict=True):
        assert (message.message_id, message.role, message.format) == (sent["message_id"], sent["role"], sent["format"])
        assert message.content_sha256 == sent["content_sha256"]
        assert message.created_at == schemas.MORNING
    ledger = [row for row in context.world.contents()["token_usage"] if row["session_id"] == schemas.ANN]
    assert sum(row["input_tokens"] for row in ledger) == 15, ledger
    assert sum(row["output_tokens"] for row in ledger) == 4, ledger
    assert service.find("nobody") is None
    assert [other.session_id for other in context.world.connect(namespace="acme").list()] == [schemas.BEN]


@then("the service goes on where the released sessions end")
def service_goes_on(context):
    service = context.world.connect()
    if "sessions" not in context.was:
        assert service.create().last_sequence == 0
        return
    first = schemas.rows()["session_messages"][0]
    again = service.append_message(schemas.ANN, "user", "Where is my parcel? 📦", message_id=first["message_id"])
    assert again.sequence == 1
    message = service.append_message(schemas.ANN, "user", "Thank you", usage={"input_tokens": 1})
    assert message.sequence == 4
    assert service.get(schemas.ANN).usage.input_tokens == 16


@then("the service gives it and appends to it")
def gives_and_appends(context):
    service = context.world.service
    session = service.get(schemas.ANN)
    assert (session.version, session.last_sequence, session.usage.input_tokens) == (1, 2, 15)
    assert [message.content_sha256 for message in service.get_messages(schemas.ANN)] == [
        row["content_sha256"] for row in schemas.rows()["session_messages"][:2]
    ]
    assert service.append_message(schemas.ANN, "user", "Thank you").sequence == 3


@then("the chain of migrations is the release's list of revisions, from its only base to its only head")
def chain_is_the_list(context):
    scripts = chain()
    assert (len(scripts.get_bases()), len(scripts.get_heads())) == (1, 1)
    walked = tuple(script.revision for script in scripts.walk_revisions())[::-1]
    assert walked == revision.REVISIONS, walked


@then("a dump of every revision is kept for both databases")
def dumps_are_kept(context):
    for name in revision.REVISIONS:
        for database in ("sqlite", "postgresql"):
            assert schemas.dump_path(name, database).is_file(), f"run: python features/schemas.py ({name})"


@then("this feature upgrades each of them")
def feature_upgrades_each(context):
    outlines = [each for each in context.feature if "<revision>" in each.name]
    assert len(outlines) == 2, outlines
    for outline in outlines:
        assert [row["revision"] for row in outline.examples[0].table] == list(revision.REVISIONS), outline.name


@then("Alembic finds no difference between the database and the models")
def no_difference(context):
    options = {"compare_type": True, "compare_server_default": True, "version_table": revision.VERSION_TABLE}
    with engine_of(context).connect() as connection:
        migration = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(migration, SessionModel.metadata)
    assert found == [], found


@then("the table {table} has exactly these columns")
def exactly_these_columns(context, table):
    found = [column["name"] for column in inspect(engine_of(context)).get_columns(table)]
    assert found == context.table.headings, found


@then("session_messages has the primary key session_id, message_id")
def primary_key(context):
    found = inspect(engine_of(context)).get_pk_constraint("session_messages")["constrained_columns"]
    assert found == ["session_id", "message_id"], found


@then("session_messages has a unique index on session_id, sequence")
def unique_index(context):
    found = inspect(engine_of(context)).get_indexes("session_messages")
    assert [(each["column_names"], bool(each["unique"])) for each in found] == [(["session_id", "sequence"], True)]


@then("sessions has an index on {column:S}")
def index_on(context, column):
    found = [each["column_names"] for each in inspect(engine_of(context)).get_indexes("sessions")]
    assert [column] in found, found


@then("it has no tables of ours and no revision")
def nothing_left(context):
    assert not OURS & set(context.world.contents()), context.world.contents()
    assert current(context.world.url) is None


@then("all of them succeed")
def all_succeed(context):
    assert len(context.outcomes) > 1
    assert set(context.outcomes) == {None}, context.outcomes


@then("some of them fail")
def some_fail(context):
    assert context.unlocked


@then('"alembic check" finds no drift')
def check_finds_nothing(context):
    ended = alembic(context, "-x url", "check")
    assert ended.returncode == 0, ended.stderr
    assert "No new upgrade operations detected" in ended.stdout + ended.stderr


@then("it prints the SQL of the upgrade")
def prints_sql(context):
    assert context.ended.returncode == 0, context.ended.stderr
    assert context.ended.stdout == schema.sql(context.world.url)
    assert "CREATE TABLE session_messages" in context.ended.stdout


@then('it fails in one line that says "{words}"')
def fails_in_one_line(context, words):
    assert context.ended.returncode != 0
    lines = [line for line in context.ended.stderr.splitlines() if not line.startswith("INFO")]
    assert len(lines) == 1, context.ended.stderr
    assert words in lines[0], lines


@then("the ledger is as it was")
def ledger_as_it_was(context):
    assert context.world.service.get(context.session.session_id) == context.session
    assert context.world.service.get_messages(context.session.session_id) == context.messages


@then("no migration imports anything of sessionledger but {what}")
def imports_nothing(context, what):
    assert what == "the refusal to lose rows and what builds indexes"
    allowed = {"refuse_loss", "create_indexes", "drop_indexes", "replace_index"}
    files = list((Path(schema.migrations_folder()) / "versions").glob("*.py"))
    assert len(files) == len(revision.REVISIONS)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("sessionledger") for name in node.names), file
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sessionledger"):
                assert {name.name for name in node.names} <= allowed, file
