"""What was released is kept: a dump of every revision of the schema on both databases, with rows in it.

The dumps are in `features/schemas/`; the upgrade of each is a scenario of `migrations.feature`. After a new revision::

    python features/schemas.py

writes the dumps that are missing. A dump that is there is never written again: it is what people have.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import MetaData, create_engine, insert

import postgresql
from sessionledger.infrastructure.database import Database, schema
from sessionledger.infrastructure.database.revision import REVISIONS

FOLDER = Path(__file__).parent / "schemas"
DUMP_VERSION = 16  # the oldest server the tests can start; a newer one reads its dumps

ANN, BEN = "01HZX3V9QK2M4N5P6R7S8T9VWX", "01HZX3V9QK2M4N5P6R7S8T9VWY"
WORKSPACE = "01HZX3V9QK2M4N5P6R7S8T9VWZ"
MORNING, NOON = datetime(2026, 3, 1, 9, 30, 0, 123456, UTC), datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONTENTS = (
    '"Where is my parcel? 📦"',
    '{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"track"},"id":"call_7"}]}',
    '"On its way: 1e16 -0.0 \\u0000"',
)


def rows() -> dict[str, list[dict[str, object]]]:
    """Rows with every column there is; a revision takes those it knows."""
    times = {"created_at": MORNING, "updated_at": NOON}
    ann = {"session_id": ANN, "namespace": "default", "actor_name": "ann", "metadata": '{"channel":"mail"}', **times}
    ann |= {"last_sequence": 3, "input_tokens": 15, "output_tokens": 4, "title": "Parcel", "key": None, "version": 2}
    ann |= {"cached_input_tokens": 10, "cache_write_tokens": 0, "reasoning_tokens": 2, "cost": 12_000}
    ben = {"session_id": BEN, "namespace": "acme", "actor_name": None, "metadata": "{}", **times}
    ben |= {"source_session_id": ANN, "source_sha256": 64 * "5", "unknown_fields": '{"mood":"calm"}'}
    workspace = {"resource_id": WORKSPACE, "namespace": "default", "kind": "workspace", "name": "north-office", **times}
    first = {"usage_id": f"{ANN[:-1]}1", "message_id": f"{ANN[:-1]}2", "model": "small", "actor_name": "ann"}
    second = {"usage_id": f"{ANN[:-1]}5", "model": "large", "actor_name": "ann"}
    first |= {"input_tokens": 12, "output_tokens": 4, "cached_input_tokens": 10, "cost": 12_000}
    second |= {"input_tokens": 3, "output_tokens": 0, "reasoning_tokens": 2, "unknown_fields": '{"tier":1}'}
    return {
        "resources": [workspace | {"aliases": "[]"}],
        "sessions": [ann | {"workspace": WORKSPACE}, ben],
        "session_messages": [
            {
                "message_id": f"{ANN[:-1]}{sequence}",
                "session_id": ANN,
                "sequence": sequence,
                "role": ("user", "assistant", "tool")[sequence - 1],
                "content": content,
                "tool_call_id": "call_7" if sequence == 3 else None,
                "metadata": "{}",
                "created_at": MORNING,
                "format": "json" if content.startswith("{") else "text",
                "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
                "unknown_fields": '{"stars":5}' if sequence == 3 else None,
            }
            for sequence, content in enumerate(CONTENTS, 1)
        ],
        "token_usage": [
            record | {"session_id": ANN, "namespace": "default", "recorded_at": NOON} for record in (first, second)
        ],
    }


def fill(url: str) -> None:
    """Put the rows into a database, whatever its revision, past the library."""
    engine = create_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, found in rows().items():
            if name in tables.tables:
                columns = tables.tables[name].c
                for row in found:
                    known = {column: value for column, value in row.items() if column in columns}
                    connection.execute(insert(tables.tables[name]).values(known))
    engine.dispose()


def dump_path(revision: str, database: str) -> Path:
    return FOLDER / f"{revision}.{database}.sql"


def prepared(url: str, revision: str) -> str:
    with contextlib.closing(Database(url)) as database:
        schema.upgrade(database, revision)
    fill(url)
    return url


def dump_sqlite(revision: str, folder: Path) -> str:
    path = folder / f"{revision}.db"
    prepared(f"sqlite:///{path}", revision)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def dump_postgresql(revision: str, server: postgresql.Server) -> str:
    name = f"at_{revision}"
    subprocess.run(
        [server.program("psql"), server.url, "-c", f"CREATE DATABASE {name}"], check=True, capture_output=True
    )
    url = prepared(server.url_of(name), revision)
    options = ["--inserts", "--no-owner", "--no-privileges", "--no-comments"]
    dumped = subprocess.run([server.program("pg_dump"), *options, url], check=True, capture_output=True, text=True)
    # What psql alone understands, and settings that another release may not know, say nothing about the schema.
    left_out = ("--", "SET ", "SELECT pg_catalog.set_config", "\\")
    lines = [line for line in dumped.stdout.splitlines() if line and not line.startswith(left_out)]
    return "\n".join(lines) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, postgresql.Server(DUMP_VERSION) as server:
        writers = {
            "sqlite": lambda revision: dump_sqlite(revision, Path(folder)),
            "postgresql": lambda revision: dump_postgresql(revision, server),
        }
        for revision in REVISIONS:
            for database, write in writers.items():
                path = dump_path(revision, database)
                if not path.exists():
                    path.write_text(write(revision), encoding="utf-8")
                    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
