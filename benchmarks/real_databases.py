"""The databases that are measured: an SQLite file and a PostgreSQL server that force every commit to the disk.

Both are throw-away and are gone when the process is. The server is always one of our own: the tests' server, which
SESSIONLEDGER_TEST_POSTGRES_URL may name, need not be durable.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from sessionledger.infrastructure.database import Database, schema

sys.path.append(str(Path(__file__).parent.parent / "features"))
import postgresql

DATABASES = ("sqlite", "postgresql")
SETTINGS = postgresql.DURABLE | {"shared_buffers": "256MB", "max_wal_size": "4GB"}

_running = ExitStack()  # closed when the interpreter ends, and the server's guard watches over the rest


@functools.cache
def url_of(kind: str) -> str:
    """The URL of the process's database of a kind; started and given its tables when it is first asked for."""
    if kind == "sqlite":
        folder = _running.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-benchmark-"))
        url = f"sqlite:///{folder}/ledger.db"
    else:
        url = _running.enter_context(postgresql.Server(settings=SETTINGS)).url
    database = Database(url)
    schema.upgrade(database)
    database.close()
    return url


def stop() -> None:
    """Stop the databases and remove them."""
    url_of.cache_clear()
    _running.close()
