"""Upgrade, downgrade, verify: Alembic, run from code and from its own command line, under one lock.

`alembic upgrade head`, `sessionledger db upgrade` and `upgrade` here all go through `migrations/env.py`, which takes
the lock with `locked`. Any number of them may run at once.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import alembic
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from sessionledger.domain.errors import InvalidInputError, StorageError, StorageUnavailableError
from sessionledger.infrastructure.database import dialects, revision
from sessionledger.infrastructure.database.engine import Call, Database, database_retry, no_work

if TYPE_CHECKING:
    from sessionledger.infrastructure.database.aio import AsyncDatabase

LOCK_SECONDS = 300.0
"""How long an upgrade waits for another one to finish."""

_LOCK_TIMEOUT = "5s"

_ALEMBIC = threading.Lock()
"""Alembic keeps the migration that runs in globals: two in one process mix their connections up, and may crash it."""


def migrations_folder() -> Path:
    """Where the migrations are: in the checkout where there is one, else inside the installed package.

    An editable install copies them into the package once, so the checkout's own folder, when it is there, is the truth.
    """
    source = Path(__file__).parents[3]
    checkout = source.parent / "migrations"
    return checkout if source.name == "src" and checkout.is_dir() else Path(__file__).parent / "migrations"


def current(database: Database) -> str | None:
    """The revision the database is at; `None` if it has no tables of ours."""
    call = Call(database.dialect, lambda work: revision.found(work.connection), writes=False)
    with call.translated(), database.engine.connect() as connection:
        return call.perform(connection)


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
    dialects.create_file(database.engine.sync_engine)
    await _AsyncMigration(database).run(lambda connection: _on(connection, _config(), "upgrade", "head"))


def downgrade(database: Database, target: str, *, allow_data_loss: bool = False) -> None:
    """Take the database back to an older revision, or to `base`: nothing.

    Raises:
        StorageError: Rows would be lost, and `allow_data_loss` is not given; nothing is changed.
    """
    config = _config()
    config.attributes["allow_data_loss"] = allow_data_loss
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
    """Run a migration on a connection of its own; again while the database is busy or away."""
    _Migration(database).run(migrate)


class _Migration:
    """One run of Alembic over all its attempts, as `database_retry` wants it."""

    def __init__(self, database: Database) -> None:
        self.retry_seconds = database.retry_seconds
        self._database = database

    @database_retry
    def run(self, migrate: Callable[[Connection], None]) -> None:
        call = Call(self._database.dialect, no_work, writes=True)
        with call.translated(), self._database.engine.connect() as connection:
            migrate(connection)
        self._database.verified = False


class _AsyncMigration:
    """The same for callers that await."""

    def __init__(self, database: AsyncDatabase) -> None:
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
        raise InvalidInputError("revision", "is not one that this release knows") from None
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
    if dialect.advisory_lock is None:
        _use_wal(connection)
        connection.exec_driver_sql(dialect.begin_writing or "BEGIN")
        yield
        connection.commit()
        return
    take, give = dialect.advisory_lock
    with connection.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder:
        deadline = time.monotonic() + LOCK_SECONDS
        while not holder.exec_driver_sql(take).scalar():
            if time.monotonic() > deadline:
                raise StorageUnavailableError("Another upgrade is running; wait for it, then run this one again")
            time.sleep(0.1)
        try:
            connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            connection.commit()
            yield
            connection.exec_driver_sql("RESET lock_timeout")
            connection.commit()
        except BaseException:
            connection.invalidate()  # it must not go back to the pool with our lock_timeout
            raise
        finally:
            holder.exec_driver_sql(give)


def _use_wal(connection: Connection) -> None:
    """Readers go on while one writes; kept in the file. Where it cannot be (memory), SQLite says so and goes on."""
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete":
        connection.rollback()
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    connection.rollback()


def refuse_loss(where: str, what: str) -> None:
    """For a downgrade: raise if rows match, unless losing them was allowed.

    Args:
        where: A table and a condition, as after FROM.
        what: What would be lost, in words.

    Raises:
        StorageError: Rows would be lost.
    """
    context = alembic.context
    allowed = context.config.attributes.get("allow_data_loss", False)
    if allowed or context.is_offline_mode():
        return
    if alembic.op.get_bind().execute(text(f"SELECT 1 FROM {where} LIMIT 1")).first():  # noqa: S608 - our own words
        raise StorageError(f"The downgrade would lose {what}; nothing was changed. Allow it with --allow-data-loss")
