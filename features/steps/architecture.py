"""What the design promises about the code itself."""

import inspect
import os
import pickle
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import sqlalchemy
from behave import then, when
from sqlalchemy.dialects import postgresql as postgresql_dialect
from ulid import ULID

import sessionledger
from forks import in_forks
from sessionledger.application.services import AsyncPersistentSessionService, PersistentSessionService
from sessionledger.domain import errors
from sessionledger.infrastructure.database import Database, SessionModel, schema
from sessionledger.infrastructure.database.aio import AsyncDatabase
from steps import retry

SOURCE = Path(sessionledger.__file__).parent


def public(cls):
    members = inspect.getmembers(cls, inspect.isroutine)
    return {name: member for name, member in members if not name.startswith("_")}


def parameters(method):
    """Names, kinds and defaults; a type may be another one where what is awaited differs."""
    found = inspect.signature(method).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


def same_signatures(first, second):
    one, other = public(first), public(second)
    assert len(one) >= 4
    assert set(one) == set(other), set(one) ^ set(other)
    for name, method in one.items():
        assert parameters(method) == parameters(other[name]), name


@then("SessionService and AsyncSessionService have the same public methods, with the same parameters and defaults")
def contracts_alike(context):
    same_signatures(sessionledger.SessionService, sessionledger.AsyncSessionService)
    annotations = [
        {name: str(inspect.signature(method)) for name, method in public(cls).items()}
        for cls in (sessionledger.SessionService, sessionledger.AsyncSessionService)
    ]
    assert annotations[0] == annotations[1]


@then("the async ones are all to be awaited, the others are not")
def awaited(context):
    assert all(map(inspect.iscoroutinefunction, public(sessionledger.AsyncSessionService).values()))
    assert not any(map(inspect.iscoroutinefunction, public(sessionledger.SessionService).values()))


@then("both services keep the signatures of their contracts")
def services_keep(context):
    for contract, service in (
        (sessionledger.SessionService, PersistentSessionService),
        (sessionledger.AsyncSessionService, AsyncPersistentSessionService),
    ):
        for name, method in public(contract).items():
            assert parameters(getattr(service, name)) == parameters(method), name
            assert inspect.iscoroutinefunction(getattr(service, name)) == inspect.iscoroutinefunction(method), name
    same_signatures(PersistentSessionService, AsyncPersistentSessionService)


@then("Database and AsyncDatabase have the same public methods, with the same parameters and defaults")
def databases_alike(context):
    same_signatures(Database, AsyncDatabase)


@then("every public method of SessionService has a docstring, and its twin refers to it")
def docstrings(context):
    for name, method in public(sessionledger.SessionService).items():
        assert (method.__doc__ or "").strip(), name
        assert public(sessionledger.AsyncSessionService)[name].__doc__ == f"See `SessionService.{name}`."


def python(program, *without):
    """Run a program in a new Python where some modules cannot be imported."""
    block = f"import sys\nfor name in {without!r}: sys.modules[name] = None\n"
    # Coverage, where it measures us, would load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-c", block + program], env=environment, capture_output=True, text=True, check=False
    )


@when("Python imports sessionledger")
def imports(context):
    context.ended = python("import sessionledger\nprint(*sys.modules)")


@when("Python connects to a ledger and {does}")
def connects(context, does):
    database = Database(context.world.url)
    schema.upgrade(database)
    database.close()
    calls = {
        "appends a message": 'sessions.append_message(session.session_id, "user", "Hello")',
        "exports a session": "sessions.export_session(session.session_id, io.BytesIO())",
    }
    program = f"""
import io, sys
import sessionledger
with sessionledger.connect({context.world.url!r}) as sessions:
    session = sessions.create(actor_name="agent")
    {calls[does]}
print(*sys.modules)
"""
    context.ended = python(program)


@then("none of {names} is loaded")
def none_loaded(context, names):
    assert not loaded(context, names, 10), loaded(context, names, 10)


@then("all of {names} are loaded")
def all_loaded(context, names):
    assert len(loaded(context, names, 2)) == 2


def loaded(context, names, count):
    """Those of so many modules that a program has loaded."""
    found = context.ended.stdout.split()
    assert "sessionledger.domain.models" in found, context.ended.stderr
    named = re.split(r", | and ", names)
    assert len(named) == count
    return set(named) & set(found)


@then("each public name of the package is listed and can be asked for first")
def public_names(context):
    assert set(sessionledger.__all__) <= set(dir(sessionledger))
    for name in sessionledger.__all__:
        ended = python(f"from sessionledger import {name}; print({name}.__name__)")
        assert ended.stdout == f"{name}\n", ended.stderr
    ended = python("from sessionledger import nothing")
    assert "cannot import name 'nothing' from 'sessionledger'" in ended.stderr, ended.stderr


@when("Python uses a ledger where {names} cannot be imported")
def uses_without(context, names):
    program = f"""
import sessionledger
with sessionledger.connect({context.world.url!r}) as sessions:
    session = sessions.create(key="k")
    sessions.append_message(session.session_id, "user", "Hello")
    print(len(sessions.get_messages(session.session_id)))
"""
    context.ended = python(program, *re.split(r", | and ", names))


@then("it ends well in one line")
def ends_well(context):
    assert (context.ended.returncode, context.ended.stdout) == (0, "1\n"), context.ended.stderr


@when("Python {does} where {module:w} cannot be imported")
def fails_without(context, does, module):
    programs = {
        "connects to a server": "sessionledger.connect('postgresql://db.example/ledger')",
        "connects to an embedded database, to await it": (
            "import asyncio; asyncio.run(sessionledger.connect_async('sqlite:///:memory:'))"
        ),
    }
    context.ended = python(f"import sessionledger; {programs[does]}", module)


@then('it fails with an ImportError that says "{words}"')
def fails_with(context, words):
    last = context.ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), context.ended.stderr
    assert words in last, last


def ids_of_forks(context, count, each, make):
    """Let forks make ids after their parent has made some; the clock stands still, so that it tells nothing apart."""
    with mock.patch("time.time_ns", return_value=time.time_ns()):
        make()
        context.ids = in_forks(count, lambda _: [make() for _ in range(each)])
        context.ids.append([make() for _ in range(each)])


@when("{count:d} forks make {each:d} ids each while the clock stands still")
def forks_make(context, count, each):
    ids_of_forks(context, count, each, sessionledger.new_id)


@when("{count:d} forks make {each:d} ids each with the library's default generator while the clock stands still")
def forks_make_by_default(context, count, each):
    ids_of_forks(context, count, each, lambda: str(ULID()))


@when("{count:d} threads make {each:d} ids each")
def threads_make(context, count, each):
    with ThreadPoolExecutor(count) as pool:
        context.ids = list(pool.map(lambda _: [sessionledger.new_id() for _ in range(each)], range(count)))


def made(context):
    ids = [each for made_ in context.ids for each in made_]
    assert len(ids) >= 4000
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", each) for each in ids)
    return ids


@then("all of them are different")
def all_different(context):
    assert len(set(made(context))) == len(made(context))


@then("some of them are equal")
def some_equal(context):
    assert len(set(made(context))) < len(made(context))


def every_error():
    """One of each kind, made from its own parameters."""
    values = {"str": "01HZX3V9QK2M4N5P6R7S8T9VWX", "int": 7, "tuple[str, ...]": ("01HZX3V9QK2M4N5P6R7S8T9VWX",)}
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.SessionLedgerError):
            wanted = [
                parameter
                for parameter in inspect.signature(kind.__init__).parameters.values()
                if parameter.name != "self" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            ]
            arguments = [values.get(str(parameter.annotation).split(" | ")[0], "x") for parameter in wanted]
            yield kind(*arguments) if wanted else kind("Something is wrong.")


@when("a fork raises each kind of error")
def fork_raises(context):
    context.raised = list(every_error())

    def work(number):
        raise context.raised[number]

    context.arrived = in_forks(len(context.raised), work)


@then("each arrives with its type, its text and its facts")
def arrives(context):
    assert len(context.raised) >= 15
    for raised, arrived in zip(context.raised, context.arrived, strict=True):
        assert (type(arrived), str(arrived), vars(arrived)) == (type(raised), str(raised), vars(raised))
        assert pickle.loads(pickle.dumps(raised)).retryable == raised.retryable


def session_tables():
    found = [table for table in SessionModel.metadata.tables.values() if "session_id" in table.c]
    assert {"sessions", "session_messages", "token_usage"} <= {table.name for table in found}
    return found


@then("every primary key and unique index of a session's tables contains session_id")
def keys_contain(context):
    for table in session_tables():
        uniques = [table.primary_key, *(index for index in table.indexes if index.unique)]
        uniques += [each for each in table.constraints if isinstance(each, sqlalchemy.UniqueConstraint)]
        for unique in uniques:
            assert "session_id" in unique.columns, f"{table.name}: {unique.name}"


@then("no foreign key leads to another session, and none sets session_id to NULL")
def foreign_keys(context):
    for table in session_tables():
        for key in table.foreign_keys:
            assert (key.parent.name, key.column.name) == ("session_id", "session_id"), key
            assert key.ondelete != "SET NULL"
        assert not table.c.session_id.nullable


@then("session_id has one type and collation everywhere")
def one_type(context):
    dialect = postgresql_dialect.dialect()
    found = {table.c.session_id.type.compile(dialect) for table in session_tables()}
    assert found == {'VARCHAR(26) COLLATE "C"'}, found


@then("the database has no trigger")
def no_trigger(context):
    with context.world.kind.asked(context.world.url) as ask:
        assert ask(context.world.kind.triggers) == []


@when("every call of the service is made once")
def every_call(context):
    retry.begin(context)
    context.world.statements.clear()
    for prepare, do in (retry.READS | retry.WRITES).values():
        ledger = retry.Ledger(context)
        prepare(ledger)
        do(ledger)
    context.statements = {" ".join(statement.split()) for statement in context.world.statements}
    assert len(context.statements) > 20


TABLES = "sessions|session_messages|token_usage"


@then("every change of a session's rows names session_id")
def changes_name(context):
    changes = [each for each in context.statements if re.match(rf"(UPDATE|DELETE FROM) ({TABLES})\b", each)]
    assert len(changes) >= 4, changes
    for statement in changes:
        assert re.search(r"WHERE .*session_id = ", statement), statement
    inserts = [each for each in context.statements if re.match(rf"INSERT INTO ({TABLES})\b", each)]
    assert len(inserts) >= 3, inserts
    for statement in inserts:
        assert "session_id" in statement.split(")")[0], statement


@then("rows are locked only with session_id")
def locks_name(context):
    for statement in context.statements:
        if "FOR UPDATE" in statement or "FOR SHARE" in statement:
            assert re.search(r"WHERE .*session_id = ", statement), statement


@then("no ON CONFLICT sets a time of the database's")
def no_conflict_time(context):
    conflicts = [each for each in context.statements if "ON CONFLICT" in each]
    assert conflicts
    for statement in conflicts:
        after = statement.split("ON CONFLICT")[1].lower()
        assert not re.search(r"now\(|current_timestamp|random\(", after), statement


def source_lines():
    for file in SOURCE.rglob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield file.relative_to(SOURCE).as_posix(), line


@then("only dialects/engines.py asks for the name of a dialect, an engine or a driver")
def names_in_one_place(context):
    asks = re.compile(r"(dialect|engine|driver)\.name\b|get_backend_name|get_driver_name|drivername")
    found = {name for name, line in source_lines() if asks.search(line)}
    assert found == {"infrastructure/database/dialects/engines.py"}, found


@then("nothing reads the name of a violated constraint")
def constraints_unread(context):
    assert not [line for _, line in source_lines() if re.search(r"diag\.|constraint_name\b(?!\))", line)]


@when('a message with the text "{text}" is appended, listed and exported')
def append_injection(context, text):
    context.text, context.tables = text, set(context.world.contents())
    service = context.world.service
    made_ = service.create(key=text, title=text, actor_name=text, workspace=text, metadata={text: text})
    service.append_message(made_.session_id, "user", text, tool_call_id=text, metadata={text: text}, model=text)
    assert service.find(text).session_id == made_.session_id
    assert len(service.list(actor_name=text, workspace=text)) == 1


@then("no statement holds the text")
def not_in_sql(context):
    assert len(context.world.statements) > 5
    assert not [statement for statement in context.world.statements if "DROP TABLE" in statement]


@then("every table is still there")
def tables_there(context):
    assert set(context.world.contents()) == context.tables
