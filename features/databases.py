"""The databases that scenarios run on: the one place of the features that knows one from the other.

Both kinds have the same methods. A scenario that only one of them can run names the capability it needs.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from sqlalchemy import make_url

import damages
import postgresql
import refusals
import sessionledger
from sessionledger.infrastructure.database import Database, schema

EMPTIED = ("token_usage", "session_messages", "sessions", "resources")

Row = dict[str, Any]


class SQLite:
    """Databases that are files."""

    name = "sqlite"
    async_driver = "sqlite+aiosqlite"
    transactions: ClassVar[dict[str, Any]] = {}  # each append is one
    impatient: ClassVar[dict[str, Any]] = {"connect_args": {"timeout": 0}}
    """The options of an engine that does not wait for another writer before it tells of it."""
    not_called = frozenset({"SessionMessageRepository.append_alone"})
    """Methods of repositories that other databases need."""
    capabilities = frozenset({"file"})

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sessionledger-features-"))
        self._numbers = itertools.count(1)
        self._template = self.folder / "template.db"
        with contextlib.closing(Database(self._url(self._template))) as database:
            schema.upgrade(database)

    def close(self) -> None:
        shutil.rmtree(self.folder)

    def empty(self) -> str:
        """The URL of a database without tables."""
        path = self.folder / f"{next(self._numbers)}.db"
        sqlite3.connect(path).close()
        return self._url(path)

    def fresh(self) -> str:
        """The URL of a database upgraded to the newest revision."""
        path = self.folder / f"{next(self._numbers)}.db"
        shutil.copyfile(self._template, path)
        return self._url(path)

    def remove(self, url: str) -> None:
        for file in self.path(url).parent.glob(f"{self.path(url).name}*"):
            file.unlink()

    drop = remove

    def load(self, url: str, script: str) -> None:
        """Run SQL on a database, past the library."""
        with contextlib.closing(sqlite3.connect(self.path(url))) as connection:
            connection.executescript(script)

    damages = damages.ROWS | damages.TABLES | damages.SQLITE
    refused_statements = refusals.SQLITE_STATEMENTS
    refused_values = refusals.SQLITE_VALUES
    unreadable = refusals.SQLITE_UNREADABLE
    states = refusals.SQLITE_STATES
    undo = "DROP TRIGGER IF EXISTS refuse"
    refusals = refusals.SQLITE
    load_in_steps = load

    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    indexes = "SELECT name, rootpage AS place FROM sqlite_master WHERE type = 'index'"
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"

    @contextlib.contextmanager
    def asked(self, url: str) -> Iterator[Callable[[str], list[Row]]]:
        """What answers a query, past the library."""
        with contextlib.closing(sqlite3.connect(self.path(url))) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda stored: stored.decode(errors="surrogateescape")  # whatever was written
            yield lambda query: [dict(row) for row in connection.execute(query)]

    @contextlib.contextmanager
    def in_state(self, state: str, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Bring a database into a state; give the URL and the options to connect to it."""
        path = self.path(url)
        if state == "that is locked":
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                yield url, {"retry_seconds": 0.2, "connect_args": {"timeout": 0.05}}
            return
        if state == "that is no database":
            path.write_text("Dear Ann, the parcel is on its way. " * 100)
        urls = {
            "that cannot be reached": self._url(self.folder / "no such folder" / "ledger.db"),
            "that is not there": self._url(path.with_suffix(".new.db")),
            "that is read-only": f"sqlite:///file:{path}?mode=ro&uri=true",
            "that is no database": url,
            "that is a folder": self._url(self.folder),
            "that is full": url,
        }
        yield urls[state], {"connect_args": {"factory": _Full}} if state == "that is full" else {}

    def commits_alone(self, _connection: Any, _statement: str) -> bool:
        """Whether a statement stores something and commits it by itself."""
        return False

    def spoil_index(self, url: str) -> None:
        """Let an index say something else than its table: it misses a change, and is put back as it was."""
        change = "PRAGMA writable_schema = ON; {} sqlite_master {} name = 'ix_sessions_actor_name'"
        (row,) = self._asked_once(url, "SELECT * FROM sqlite_master WHERE name = 'ix_sessions_actor_name'")
        self.load(url, change.format("DELETE FROM", "WHERE"))
        self.load(url, "UPDATE sessions SET actor_name = 'somebody else' WHERE key IS NULL")
        values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in row.values())
        self.load(url, f"PRAGMA writable_schema = ON; INSERT INTO sqlite_master VALUES ({values})")

    def spoil_page(self, url: str) -> None:
        """Overwrite a page of the file in the middle of the messages."""
        self.load(url, "PRAGMA wal_checkpoint(TRUNCATE)")
        pages = "SELECT pageno FROM dbstat WHERE name = 'session_messages' AND pagetype = 'leaf'"
        numbers = [row["pageno"] for row in self._asked_once(url, pages)]
        with self.path(url).open("r+b") as file:
            file.seek((numbers[len(numbers) // 2] - 1) * 4096)
            file.write(b"\xa5" * 4096)

    def _asked_once(self, url: str, query: str) -> list[Row]:
        with self.asked(url) as ask:
            return ask(query)

    def busy(self) -> Exception:
        """What the driver raises where trying again helps."""
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"
        return error

    @staticmethod
    def path(url: str) -> Path:
        return Path(make_url(url).database)

    @staticmethod
    def _url(path: Path) -> str:
        return f"sqlite:///{path}"


class _Full(sqlite3.Connection):
    """A connection to a database that cannot grow."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.execute("PRAGMA max_page_count = 1")


class PostgreSQL:
    """Databases of one server."""

    name = "postgresql"
    async_driver = "postgresql+psycopg"
    transactions: ClassVar[dict[str, Any]] = {"isolation_level": "READ COMMITTED"}
    """The options of an engine on which an append is a transaction."""
    impatient: ClassVar[dict[str, Any]] = {}
    not_called: frozenset[str] = frozenset()
    capabilities = frozenset({"server"})

    # All there is in a database but its rows: tables, columns, indexes, constraints, functions; and the revision.
    _SHAPE = """
        SELECT (SELECT string_agg(attrelid::regclass || attname || atttypid::regtype || attnotnull || atthasdef
                                  || attcollation, ',' ORDER BY attrelid, attnum)
                FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace),
               (SELECT string_agg(pg_get_constraintdef(oid), ',' ORDER BY oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace),
               (SELECT count(*) FROM pg_index WHERE NOT indisvalid),
               (SELECT string_agg(proname, ',') FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
               (SELECT string_agg(version_num, ',') FROM sessionledger_revision),
               (SELECT string_agg(revision, ',' ORDER BY revision) FROM sessionledger_compatible_revisions)
        """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._server = make_url(self._stack.enter_context(postgresql.running()))
        self._prefix = f"ledger_{sessionledger.new_id()}".lower()
        self._numbers = itertools.count(1)
        self._spare: list[str] = []
        self._template = self.empty()
        with contextlib.closing(Database(self._template)) as database:
            schema.upgrade(database)
        with psycopg.connect(self._template) as connection:
            self._shape = connection.execute(self._SHAPE).fetchone()

    def close(self) -> None:
        """Drop every database that was made here, also those that nobody has removed: the server may be anybody's."""
        with self.asked(self._server.render_as_string(hide_password=False)) as ask:
            made = ask(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{self._prefix}_')")
        for row in made:
            self._do(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
        self._stack.close()

    def empty(self, template: str = "template0") -> str:
        """The URL of a database without tables."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._do(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._server.set(database=name).render_as_string(hide_password=False)

    def fresh(self) -> str:
        """The URL of a database upgraded to the newest revision."""
        return self._spare.pop() if self._spare else self.empty(make_url(self._template).database)

    def remove(self, url: str) -> None:
        """Keep a database for the next scenario if it can be emptied (0.01 s against 0.2 s for a new one)."""
        if self._emptied(url):
            self._spare.append(url)
        else:
            self.drop(url)

    def _emptied(self, url: str) -> bool:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '1s'")
            try:
                if connection.execute(self._SHAPE).fetchone() != self._shape:
                    return False
                connection.execute("; ".join(f"DELETE FROM {table}" for table in EMPTIED))
            except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
                # The scenario left a transaction open, or other tables.
                return False
        return True

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._do(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')

    def load(self, url: str, script: str) -> None:
        """Run SQL on a database, past the library."""
        with psycopg.connect(url) as connection:
            connection.execute(script)

    damages = damages.ROWS | damages.TABLES | damages.POSTGRESQL
    refused_statements = refusals.POSTGRESQL_STATEMENTS
    refused_values = refusals.POSTGRESQL_VALUES
    unreadable = refusals.POSTGRESQL_UNREADABLE
    states = refusals.POSTGRESQL_STATES
    undo = "DROP FUNCTION IF EXISTS refuse CASCADE"  # a database that is as it was can be used again
    refusals = refusals.POSTGRESQL

    def load_in_steps(self, url: str, script: str) -> None:
        """Run SQL that ends its transactions itself, one statement after another, as a shell does."""
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in script.split(";\n"):
                connection.execute(statement)

    tables = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
    indexes = "SELECT relname AS name, oid AS place FROM pg_class WHERE relkind = 'i'"
    triggers = "SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal"

    @contextlib.contextmanager
    def asked(self, url: str) -> Iterator[Callable[[str], list[Row]]]:
        """What answers a query, past the library."""
        with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
            yield lambda query: connection.execute(query).fetchall()

    @contextlib.contextmanager
    def in_state(self, state: str, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Bring a database into a state; give the URL, with a password, and the options to connect to it."""
        known = make_url(url).set(password="hunter2")
        options = {"retry_seconds": 0.2}
        if state == "that is locked":
            known = known.update_query_dict({"options": "-c lock_timeout=50ms"})
            with psycopg.connect(url) as connection:
                connection.execute("LOCK TABLE sessions")
                yield known.render_as_string(hide_password=False), options
            return
        role = f"{self._prefix}_reader"
        if state == "where the user has no rights":
            self._do(f'CREATE ROLE "{role}"')
        urls = {
            "that cannot be reached": known.set(port=1),  # nothing listens there
            "that is read-only": known.update_query_dict({"options": "-c default_transaction_read_only=on"}),
            "without a database of the name": known.set(database="no_such_ledger"),
            "that does not know the user": known.set(username="no_such_user"),
            "where the user has no rights": known.update_query_dict({"options": f"-c role={role}"}),
        }
        yield urls[state].render_as_string(hide_password=False), options
        self._do(f'DROP ROLE IF EXISTS "{role}"')

    def commits_alone(self, connection: Any, statement: str) -> bool:
        """Whether a statement stores something and commits it by itself; asked outside a transaction, or after it."""
        driver = connection.connection.driver_connection
        idle = driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        return driver.autocommit and idle and "INSERT INTO" in statement

    def spoil_index(self, url: str) -> None:
        """Let an index be as one whose concurrent build has failed."""
        self.load(url, self.damages["an invalid index"])

    def busy(self) -> Exception:
        """What the driver raises where trying again helps."""
        return psycopg.errors.SerializationFailure("could not serialize access due to concurrent update")

    def lost(self) -> Exception:
        """What the driver raises when the server goes away before it answers: no code tells it from anything else."""
        return psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly")

    def cut(self, driver_connection: Any) -> None:
        """Let the server end a connection's session, as an administrator or a failover does."""
        self._do(f"SELECT pg_terminate_backend({driver_connection.info.backend_pid}, 5000)")

    def _do(self, statement: str) -> None:
        with psycopg.connect(self._server.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement)


KINDS = {"sqlite": SQLite, "postgresql": PostgreSQL}


class Kinds:
    """The kinds of databases, each started when it is first asked for."""

    def __init__(self) -> None:
        self._started: dict[str, SQLite | PostgreSQL] = {}

    def __getitem__(self, name: str) -> SQLite | PostgreSQL:
        if name not in self._started:
            self._started[name] = KINDS[name]()
        return self._started[name]

    def close(self) -> None:
        for kind in self._started.values():
            kind.close()
