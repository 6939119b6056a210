"""Upgrade, downgrade, verify: Alembic, run from code and from its own command line, under one lock.

`alembic upgrade head`, `sessionledger db upgrade` and `upgrade` here all go through `migrations/env.py`, which takes
the lock with `locked`. Any number of them may run at once.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import alembic
from alembic import command
from alembic.config import Config
from alembic.script.revision import RevisionError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from sessionledger.domain.errors import InvalidInputError, StorageError, StorageUnavailableError
from sessionledger.infrastructure.database import dialects, revision
from sessionledger.infrastructure.database.dialects import Beside
from sessionledger.infrastructure.database.engine import Call, Database
from sessionledger.infrastructure.database.retry import database_retry
from sessionledger.infrastructure.database.unit_of_work import no_work

if TYPE_CHECKING:
    from sessionledger.infrastructure.database.aio import AsyncDatabase

log = logging.getLogger(__name__)

LOCK_SECONDS = 300.0
"""How long an upgrade waits for another one to finish."""

LOCK_TIMEOUT_SECONDS = 2
"""How long a migration waits for a table's lock on a server, and so how long writers queue behind it. Then it lets them
pass for as long, and is tried again."""

STATEMENT_TIMEOUT_SECONDS = 3600
"""How long one statement of a migration may run on a server, whatever the role's own `statement_timeout` says."""

_ALEMBIC = threading.Lock()
"""Alembic keeps the migration that runs in globals: two in one process mix their connections up, and may crash it."""


def migrations_folder() -> Path:
    """Where the migrations are: in the checkout where there is one, else inside the installed package.

    An editable install copies them into the package once, so the checkout's own folder, when it is there, is the truth.
    """
    source = Path(__file__).parents[3]
    checkout = source.parent / "migrations"
    return checkout if source.name == "src" and checkout.is_dir() else Path(__file__).parent / "migrations"


@database_retry
def current(database: Database) -> str | None:
    """The revision the database is at; `None` if it has no tables of ours."""
    return _current(database)


def _current(database: Database) -> str | None:
    call = Call(database.dialect, lambda work: revision.found(work.connection))
    return call.attempt(database.engine, {})


def verify(database: Database) -> None:
    """Change nothing, and raise unless the database is at the revision this release works with.

    Raises:
        SchemaRevisionError: It is empty, older, newer or not ours; the text holds the command to run.
    """
    database.verify()


def upgrade(database: Database, target: str = "head") -> None:
    """Bring the database to a revision; make it first where it is a file. Harmless when it is there already.

    Raises:
        SchemaRevisionError: Its tables are not ours, or newer than this release.
        StorageUnavailableError: The database is away, or another upgrade held the lock for too long.
    """
    dialects.create_file(database.engine)
    if target == "head" and current(database) == revision.EXPECTED:
        return  # without the lock: most deploys find nothing to do
    on_connection(database, lambda connection: _on(connection, _config(), "upgrade", target))


async def upgrade_async(database: AsyncDatabase) -> None:
    """Make and upgrade an embedded database for callers that await; servers are upgraded by `upgrade`, in a deploy."""
    dialects.create_file(database.sync_engine)
    await _AsyncMigration(database).run(lambda connection: _on(connection, _config(), "upgrade", "head"))


def downgrade(database: Database, target: str, *, allow_data_loss: bool = False) -> None:
    """Take the database back to an older revision, or to `base`: nothing.

    Raises:
        StorageError: Rows would be lost, and `allow_data_loss` is not given; nothing is changed.
    """
    config = _config()
    config.attributes.update(downgrade_to=target, allow_data_loss=allow_data_loss)
    on_connection(database, lambda connection: _on(connection, config, "downgrade", target))


def sql(url: str, target: str = "head", *, down: bool = False) -> str:
    """The SQL that an upgrade (or, from a range `a:b`, a downgrade) would run; no database is asked.

    Raises:
        InvalidInputError: The URL is none, or names another kind of database.
    """
    config = _config()
    config.output_buffer = io.StringIO()
    config.attributes["url"] = dialects.checked_url(url)
    with _ALEMBIC:
        (command.downgrade if down else command.upgrade)(config, target, sql=True)
    return config.output_buffer.getvalue()


def on_connection(database: Database, migrate: Callable[[Connection], None]) -> None:
    """Run a migration on a connection of its own; again while the database is busy or away.

    Each revision that is reached begins the time anew: a long one leaves the next as many tries as a short one.
    """
    reached = current(database)
    while True:
        try:
            return _Migration(database).run(migrate)
        except StorageUnavailableError:
            if reached == (reached := _current(database)):  # it has been tried for long enough
                raise


class _Migration:
    """One run of Alembic over all its attempts, as `database_retry` wants it."""

    def __init__(self, database: Database) -> None:
        self.dialect = database.dialect
        self.retry_seconds = database.retry_seconds
        self._database = database

    @database_retry
    def run(self, migrate: Callable[[Connection], None]) -> None:
        call = Call(self.dialect, no_work, writes=True)
        try:
            with call.translated(), self._database.engine.connect() as connection:
                connection.execution_options(**self.dialect.writing)  # the engine may be one that autocommits
                migrate(connection)
        except StorageUnavailableError as error:
            if self.dialect.beside and error.code in self.dialect.busy:
                time.sleep(LOCK_TIMEOUT_SECONDS)  # writers have queued behind us: let them pass
            raise
        self._database.verified = False


class _AsyncMigration:
    """The same for callers that await."""

    def __init__(self, database: AsyncDatabase) -> None:
        self.dialect = database.dialect
        self.retry_seconds = database.retry_seconds
        self._database = database

    @database_retry
    async def run(self, migrate: Callable[[Connection], None]) -> None:
        with Call(self._database.dialect, no_work, writes=True).translated():
            async with self._database.engine.connect() as connection:
                await connection.run_sync(migrate)
        self._database.verified = False


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def _on(connection: Connection, config: Config, verb: str, target: str) -> None:
    config.attributes["connection"] = connection
    # Tried, not waited for: a task that waits would stop the event loop, so the retry around this waits.
    if not _ALEMBIC.acquire(blocking=False):
        raise StorageUnavailableError("Another upgrade is running in this process; wait for it")
    try:
        getattr(command, verb)(config, target)
    except alembic.util.CommandError:
        way = {"upgrade": "a newer", "downgrade": "an older"}[verb]
        raise InvalidInputError(
            "revision", f"is not {way} one that this release knows; it knows {', '.join(revision.REVISIONS)}"
        ) from None
    finally:
        _ALEMBIC.release()


@contextmanager
def locked(connection: Connection) -> Iterator[None]:
    """Hold the lock of an upgrade; for `migrations/env.py`.

    PostgreSQL: an advisory lock, tried and polled on a connection of its own that autocommits. The blocking form would
    hold a snapshot that `CREATE INDEX CONCURRENTLY` waits for: a deadlock. SQLite: one transaction that takes the write
    lock up front and holds all the steps, so that a killed upgrade leaves nothing behind.

    Raises:
        StorageUnavailableError: Another upgrade held the lock for `LOCK_SECONDS`.
    """
    dialect = dialects.dialect_of(connection)
    if dialect.beside is None:
        _use_wal(connection)
        connection.exec_driver_sql(dialect.begin_writing or "BEGIN")
        with _told(connection):
            yield
            connection.commit()
        return
    with _holding(connection.engine, dialect.beside), _discarded(connection):
        connection.exec_driver_sql(dialect.beside.no_limits)
        for limit in limits(dialect.beside):
            connection.exec_driver_sql(limit)
        with _told(connection):
            connection.commit()
            yield
            connection.commit()


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """Log a migration that has changed the revision: from, to, and the seconds it took with the lock held."""
    before, began = revision.found(connection), time.monotonic()
    yield
    if (after := revision.found(connection)) != before:
        seconds = time.monotonic() - began
        log.info("The schema went from revision %s to %s in %.3f s", before or "none", after or "none", seconds)


@contextmanager
def _holding(engine: Engine, beside: Beside) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder, _discarded(holder):
        holder.exec_driver_sql(beside.no_limits)
        deadline, waiting = time.monotonic() + LOCK_SECONDS, False
        while not holder.exec_driver_sql(beside.take_lock).scalar():
            if not waiting:
                waiting = True
                log.info("Another upgrade is running; waiting up to %.0f s for it", LOCK_SECONDS)
            if time.monotonic() > deadline:
                raise StorageUnavailableError("Another upgrade is running; wait for it, then run this one again")
            time.sleep(0.1)
        try:
            yield
        finally:
            with suppress(DBAPIError):  # without its connection the lock is gone as well
                holder.exec_driver_sql(beside.give_lock)


@contextmanager
def _discarded(connection: Connection) -> Iterator[None]:
    """Close a connection for good: it must not go back to the pool with the limits of an upgrade."""
    try:
        yield
    finally:
        connection.invalidate()


def limits(beside: Beside) -> tuple[str, str]:
    """The statements that set how long a migration's statements may wait and run."""
    return (
        beside.lock_timeout.format(seconds=LOCK_TIMEOUT_SECONDS),
        beside.statement_timeout.format(seconds=STATEMENT_TIMEOUT_SECONDS),
    )


def _use_wal(connection: Connection) -> None:
    """Readers go on while one writes; kept in the file. Where it cannot be (memory), SQLite says so and goes on."""
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete":
        connection.rollback()
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    connection.rollback()


def refuse_loss(loses: Mapping[str, str]) -> None:
    """For a downgrade: lock tables, and raise if rows of them would be lost, unless losing them was allowed.

    Args:
        loses: What would be lost, in words, by a table and a condition, as after FROM.

    Raises:
        StorageError: Rows would be lost.
    """
    context = alembic.op.get_context()
    if context.as_sql:
        return
    beside = dialects.dialect_of(context).beside
    for where in loses:
        if beside:  # or a writer's row might come between the look and the drop
            alembic.op.execute(beside.lock_table.format(table=where.split()[0]))
    _refuse(alembic.op.get_bind(), loses)


def refuse_losses(connection: Connection, target: str) -> None:
    """For `migrations/env.py`: look at all steps of a downgrade first, so that all they would lose is named.

    Raises:
        StorageError: They would lose rows, and it was not allowed; nothing is changed.
    """
    at = revision.found(connection)
    if at is None:
        return
    loses: dict[str, str] = {}
    with suppress(RevisionError):  # not one to go back to: Alembic refuses it right after
        for script in alembic.context.script.iterate_revisions(at, target, select_for_downgrade=True):
            loses |= getattr(script.module, "LOSES", {})
    _refuse(connection, loses)
    if dialects.dialect_of(connection).beside:  # where each step is a transaction of its own
        connection.rollback()


def _refuse(connection: Connection, loses: Mapping[str, str]) -> None:
    if alembic.context.config.attributes.get("allow_data_loss", False):
        return
    lost = [
        what
        for where, what in loses.items()
        if connection.execute(text(f"SELECT 1 FROM {where} LIMIT 1")).first()  # noqa: S608 - our own words
    ]
    if lost:
        named = "; ".join(lost)
        raise StorageError(f"The downgrade would lose {named}. Nothing was changed. Allow it with --allow-data-loss")
