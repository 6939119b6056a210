"""The databases that are measured: an SQLite file and a PostgreSQL server that force every commit to the disk.

Both are throw-away and are gone when the process is. The server is never the tests' one, which need not be durable: it
is one of our own, or the one of whoever started us with::

    python benchmarks/real_databases.py -- asv run …
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

import psycopg

from sessionledger.infrastructure.database import Database, schema

sys.path.append(str(Path(__file__).parent.parent / "features"))
import postgresql

DATABASES = ("sqlite", "postgresql")
SETTINGS = postgresql.DURABLE | {"shared_buffers": "256MB", "max_wal_size": "4GB"}
VARIABLE = "SESSIONLEDGER_BENCHMARK_POSTGRES_URL"
"""Names the server of whoever started us; forked processes share it, and each has a database of its own there."""

_running = ExitStack()  # closed when the interpreter ends, and the server's guard watches over the rest


@functools.cache
def url_of(kind: str) -> str:
    """The URL of the process's database of a kind; made, with its tables, when it is first asked for."""
    return fresh(kind)


def fresh(kind: str) -> str:
    """The URL of a new database of a kind, with its tables."""
    name = f"measured_{uuid.uuid4().hex}"
    if kind == "sqlite":
        url = f"sqlite:///{_folder()}/{name}.db"
    else:
        server = _server()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = f"{server.rpartition('/')[0]}/{name}"
    database = Database(url)
    schema.upgrade(database)
    database.close()
    return url


@functools.cache
def _folder() -> str:
    return _running.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-benchmark-"))


@functools.cache
def _server() -> str:
    """The URL of the server's first database; the server is started where nobody has done so for us."""
    return os.environ.get(VARIABLE) or _running.enter_context(postgresql.Server(settings=SETTINGS)).url


def stop() -> None:
    """Stop the databases and remove them."""
    for cached in (url_of, _folder, _server):
        cached.cache_clear()
    _running.close()


def main() -> int:
    """Run a command whose benchmarks share one server."""
    try:
        environment = os.environ | {VARIABLE: _server()}
        return subprocess.run(sys.argv[sys.argv.index("--") + 1 :], env=environment, check=False).returncode
    finally:
        stop()


if __name__ == "__main__":
    sys.exit(main())
