"""Upgrades and downgrades beside a running service: invalid indexes, locks and limits."""

import contextlib
import dataclasses
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import psycopg
from alembic import op
from behave import given, then, when
from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine

import locks
import sessionledger
from sessionledger.infrastructure.database import Database, dialects, indexes, schema
from steps.database_states import current, migrated
from steps.migrations import database_of, upgrade_alone
from steps.observability import busy_at_first

LISTING = {
    f"ix_sessions_{'_'.join(columns)}": ", ".join(columns)
    for columns in (
        ("namespace", "created_at", "session_id"),
        ("namespace", "actor_name", "created_at", "session_id"),
        ("namespace", "workspace", "created_at", "session_id"),
    )
}
LISTING_REVISION = "a7_005_listing_indexes"
INVALIDATE = (
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN"
    " (SELECT oid FROM pg_class WHERE relname LIKE 'ix_sessions_namespace_%')"
)
ID = "01J8ZC00000000000000000009"
SHORT = 0.3
"""Seconds that a migration waits for a lock in a scenario."""


@given("a database at {name}, with {count:d} sessions of one namespace")
def at_revision(context, name, count):
    world = context.world
    world.url = world.empty()
    migrated(world.url, name)
    for number in range(count):
        values = f"'01J8ZC0000000000000000000{number}', 'acme', '2026-01-01 00:00:00', '2026-01-01 00:00:00'"
        world.kind.load(
            world.url, f"INSERT INTO sessions (session_id, namespace, created_at, updated_at) VALUES ({values})"
        )


@given("a failed build that left {name} invalid")
def failed_build(context, name):
    locks.fails(context.world.url, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON sessions (namespace)")
    assert locks.invalid_indexes(context.world.url) == [name]


@given("its listing indexes are there already")
def indexes_are_there(context):
    for name, columns in LISTING.items():
        context.world.kind.load(context.world.url, f"CREATE INDEX {name} ON sessions ({columns})")
    context.indexes = told_indexes(context)


@given("the name of a listing index is taken")
def name_is_taken(context):
    context.world.kind.load(context.world.url, f"CREATE INDEX {next(iter(LISTING))} ON resources (namespace)")


@given("a transaction that has {done} {table:S}")
def open_transaction(context, done, table):
    statements = {"read": f"SELECT * FROM {table}", "written to": f"UPDATE {table} SET metadata = metadata"}
    context.transaction = context.world.stack.enter_context(psycopg.connect(context.world.url))
    context.transaction.execute(statements[done])


def told_indexes(context):
    with context.world.kind.asked(context.world.url) as ask:
        return {row["name"]: row["place"] for row in ask(context.world.kind.indexes) if row["name"] in LISTING}


# Upgrades that run beside the scenario


def begin_upgrade(context, url=None):
    context.pool = context.world.stack.enter_context(ThreadPoolExecutor(1))
    context.upgrade = context.pool.submit(upgrade_alone, url or context.world.url)


@when("the transaction ends")
def transaction_ends(context):
    context.transaction.rollback()


@then("the upgrade ends well")
def upgrade_ends_well(context):
    assert context.upgrade.result(locks.SECONDS) is None, context.upgrade.result()


@then('the upgrade ends with {name:w}, which says "{words}"')
def upgrade_ends_with(context, name, words):
    outcome = context.upgrade.result(locks.SECONDS)
    assert outcome.startswith(f"{name}("), outcome
    assert words in outcome, outcome
    context.transaction.rollback()


# Invalid indexes


def careless(table, wanted, *, unique=False):
    """Build indexes as many a migration does."""
    with op.get_context().autocommit_block():
        for name, columns in wanted.items():
            op.create_index(name, table, list(columns), unique=unique, if_not_exists=True, postgresql_concurrently=True)


@when("it is upgraded with nothing but IF NOT EXISTS")
def upgrade_carelessly(context):
    with mock.patch.object(indexes, "create_indexes", careless):
        schema.upgrade(database_of(context))


@when("the upgrade's connection is cut while it builds an index, and the transaction ends")
def cut_while_building(context):
    url = context.world.url
    begin_upgrade(context)
    locks.terminate(url, locks.waiting(url, "CREATE INDEX"))
    # The same upgrade, on a new connection, clears away what the cut one has left.
    locks.waiting(url, "DROP INDEX")
    assert locks.invalid_indexes(url) == [next(iter(LISTING))]
    context.transaction.rollback()


@when("the upgrade is killed while it {verb:w} an index")
def kill_at_index(context, verb):
    process_id = os.fork()
    if process_id == 0:
        with contextlib.suppress(BaseException):
            upgrade_alone(context.world.url)
        os._exit(1)
    locks.waiting(context.world.url, {"builds": "CREATE INDEX", "drops": "DROP INDEX"}[verb])
    os.kill(process_id, signal.SIGKILL)
    _, status = os.waitpid(process_id, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@when("it is upgraded once more, and the transaction ends")
def upgrade_once_more(context):
    # The server goes on with the build of the killed one: the next upgrade waits for it before it drops the index.
    begin_upgrade(context)
    locks.waiting(context.world.url, "DROP INDEX")
    context.transaction.rollback()


@when("it is upgraded, and an index is made invalid as soon as it is built")
def made_invalid(context):
    url = context.world.url

    def invalidate(_connection, _cursor, statement, *_):
        if "CREATE INDEX CONCURRENTLY" in statement:
            context.world.kind.load(url, INVALIDATE)

    event.listen(Engine, "after_cursor_execute", invalidate)
    try:
        context.world.attempt(lambda: schema.upgrade(database_of(context)))
    finally:
        event.remove(Engine, "after_cursor_execute", invalidate)


@then("no index is invalid")
def none_invalid(context):
    assert locks.invalid_indexes(context.world.url) == []


@then("the index {name:S} is invalid")
def one_invalid(context, name):
    assert locks.invalid_indexes(context.world.url) == [name]


@then("no index was built a second time")
def not_built_again(context):
    assert len(context.indexes) == len(LISTING)
    assert told_indexes(context) == context.indexes


@when("the SQL of the indexes is run without one of them, passing over errors")
def run_without_an_index(context):
    missing = next(iter(LISTING))
    every = statements_of(context, LISTING_REVISION)
    statements = [each for each in every if f"CONCURRENTLY IF NOT EXISTS {missing}" not in each]
    assert len(statements) == len(every) - 1
    errors = locks.run_on(context.world.url, statements)
    assert missing in errors[0], errors


@when("the SQL of the indexes is run as it is")
def run_again(context):
    assert locks.run_on(context.world.url, statements_of(context, LISTING_REVISION)) == []


@when("the SQL to {name:S} is run, passing over errors: {runs}")
def run_over_errors(context, name, runs):
    every = statements_of(context, name)
    for run in runs.split(", "):
        missing = run.removeprefix("without ")
        statements = every if run == "complete" else [each for each in every if not each.strip().startswith(missing)]
        assert len(statements) == len(every) - (run != "complete")
        locks.run_on(context.world.url, statements)


def statements_of(context, name):
    """The SQL from the revision that the database is at to another one, one statement after another."""
    return schema.sql(context.world.url, f"{current(context.world.url)}:{name}").split(";\n")


# Locks and limits


def tries(context, statement):
    return sum(each.lstrip().startswith(statement) for each in context.world.statements)


def writer_beside(context, seconds, limit):
    """Upgrade with a limit for locks; when it waits, write with a limit of the writer's own."""
    context.world.stack.enter_context(mock.patch.object(schema, "LOCK_TIMEOUT_SECONDS", limit))
    context.world.statements.clear()
    begin_upgrade(context)
    locks.waiting(context.world.url, "ALTER TABLE sessions")
    before = tries(context, "ALTER TABLE sessions")
    options = f"-c lock_timeout={seconds}s"
    with psycopg.connect(context.world.url, options=options) as writer:
        try:
            context.written = writer.execute("UPDATE sessions SET metadata = metadata").rowcount
        except psycopg.errors.LockNotAvailable:
            context.written = None
    context.tries = tries(context, "ALTER TABLE sessions") - before + 1
    context.reading = context.transaction.info.transaction_status


@when("it is upgraded, and a writer comes while the upgrade waits for the reader")
def writer_comes(context):
    writer_beside(context, locks.SECONDS, SHORT)


@when("it is upgraded without a limit for locks, and a writer comes while the upgrade waits for the reader")
def writer_comes_in_vain(context):
    writer_beside(context, 1, 0)


@then("the writer is done while the reader still reads, after at most {most:d} tries of the upgrade")
def writer_is_done(context, most):
    assert context.written == 2, context.written
    assert context.reading == psycopg.pq.TransactionStatus.INTRANS, context.reading
    assert not context.upgrade.done()
    assert context.tries <= most, context.tries


@then("the writer has waited in vain")
def writer_in_vain(context):
    assert context.written is None, context.written


@when("it is upgraded with a single try a revision")
def single_try(context):
    context.world.stack.enter_context(mock.patch.object(schema, "LOCK_TIMEOUT_SECONDS", SHORT))
    with contextlib.closing(Database(context.world.url, retry_seconds=0)) as database:
        context.world.attempt(lambda: schema.upgrade(database))


@then('"{statement}" was tried {count:d} times')
def was_tried(context, statement, count):
    assert tries(context, statement) == count, context.world.statements


def limited(context, limit):
    """The URL of a role that has its own limits."""
    names = ("statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    options = " ".join(f"-c {name}={limit}s" for name in names)
    url = make_url(context.world.url).update_query_dict({"options": options})
    return url.render_as_string(hide_password=False)


@when("a role with limits of {limit:f} second upgrades it, and the transaction ends after {seconds:f} seconds")
def limited_upgrade(context, limit, seconds):
    begin_upgrade(context, limited(context, limit))
    locks.waiting(context.world.url, "CREATE INDEX", seconds)
    context.locks = locks.upgrade_locks(context.world.url)
    context.transaction.rollback()


@then("the lock of the upgrade was held all the time")
def lock_was_held(context):
    assert context.locks == 1, context.locks


@then("the lock of the upgrade was lost before its end")
def lock_was_lost(context):
    assert context.locks == 0, context.locks


def keeping(context, **limits):
    """Let upgrades keep some of the limits that a role has."""
    beside = dataclasses.replace(dialects.POSTGRESQL.beside, **limits)
    kept = dataclasses.replace(dialects.POSTGRESQL, beside=beside)
    context.world.stack.enter_context(mock.patch.object(dialects, "dialect_of", return_value=kept))


@when("a role with limits of {limit:f} second upgrades it, keeping that of statements")
def keeping_statements(context, limit):
    keeping(context, statement_timeout="SELECT '{seconds}'")
    begin_upgrade(context, limited(context, limit))


@when(
    "a role with limits of {limit:f} second upgrades it, keeping that of idleness,"
    " and the transaction ends after {seconds:f} seconds"
)
def keeping_idleness(context, limit, seconds):
    keeping(context, no_limits="SELECT 1")
    limited_upgrade(context, limit, seconds)


@when("it is upgraded on an engine of the application's own")
def on_own_engine(context):
    database = database_of(context)
    context.engine = database.engine
    schema.upgrade(database)


@then("the engine's connections have the server's own limits")
def own_limits(context):
    names = ("lock_timeout", "statement_timeout", "idle_session_timeout")
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # as many as the upgrade may have given back
            connection = stack.enter_context(context.engine.connect())
            for name in names:
                set_to = connection.exec_driver_sql(f"SHOW {name}").scalar()
                assert set_to == "0", f"{name} is {set_to}"
            source = "SELECT count(*) FROM pg_settings WHERE source = 'session' AND name LIKE '%%_timeout'"
            assert connection.exec_driver_sql(source).scalar() == 0


# Schemas, and a database that is busy


@given('an empty database with the schema "{name}", which search_path names')
def named_schema(context, name):
    url = context.world.empty()
    context.world.kind.load(url, f'CREATE SCHEMA "{name}"')
    in_schema(context, url, f'"{name}"'.replace(" ", "\\ "))


@given("an empty database whose search_path names no schema")
def no_schema(context):
    in_schema(context, context.world.empty(), "none")


def in_schema(context, url, path):
    options = {"options": f"-c search_path={path}"}
    context.world.url = make_url(url).update_query_dict(options).render_as_string(hide_password=False)


@when("it is upgraded, written to and verified")
def upgraded_and_verified(context):
    schema.upgrade(database_of(context))
    with sessionledger.connect(context.world.url) as service:
        service.append_message(service.create(workspace="depot").session_id, "user", "Hello")
    context.report = sessionledger.verify(context.world.url)


@then("its {count:d} message was checked, and nothing was found")
def sound(context, count):
    assert (context.report.ok, context.report.messages) == (True, count), context.report


@when("it is upgraded, waiting {seconds:d} second for others")
def upgrade_waiting(context, seconds):
    database = context.world.stack.enter_context(contextlib.closing(Database(context.world.url, retry_seconds=seconds)))
    with mock.patch.object(schema, "LOCK_SECONDS", seconds):
        context.world.attempt(lambda: schema.upgrade(database), usable=False)


@when("the {verb:w} to {name:w} begins, and the database is busy {times:d} times")
def busy_upgrade(context, verb, name, times):
    database = database_of(context)
    with busy_at_first(context, times, database.engine):
        getattr(schema, verb)(database, name)


# Downgrades


@given("a transaction of a writer that has recorded token usage")
def open_spending(context):
    statement = (
        "INSERT INTO token_usage (session_id, usage_id, namespace, input_tokens, recorded_at)"
        f" VALUES ('{ID}', '{ID}', 'acme', 7, now())"
    )
    context.transaction = context.world.stack.enter_context(psycopg.connect(context.world.url))
    context.transaction.execute(statement)


def downgrade_beside(context, waits_with):
    """Downgrade, and commit the transaction when the downgrade waits for it."""
    with ThreadPoolExecutor(1) as pool, contextlib.closing(Database(context.world.url)) as database:
        done = pool.submit(schema.downgrade, database, "a7_003_message_format")
        locks.waiting(context.world.url, waits_with)
        context.transaction.commit()
        context.world.attempt(lambda: done.result(locks.SECONDS))


@when("it is downgraded beside the transaction, which is committed")
def downgrade_beside_writer(context):
    downgrade_beside(context, "LOCK TABLE token_usage")


@when("it is downgraded beside the transaction without the lock, which is committed")
def downgrade_without_lock(context):
    keeping(context, lock_table="SELECT '{table}'")
    downgrade_beside(context, "DROP TABLE token_usage")


@then("the token usage is there")
def usage_is_there(context):
    (row,) = context.world.contents()["token_usage"]
    assert row["input_tokens"] == 7, row


@then("the token usage is lost")
def usage_is_lost(context):
    assert context.world.succeeded
    assert "token_usage" not in context.world.contents()
