"""What a message costs on SQLite: bytes in the file, bytes of log, and what the settings of a connection change."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event

import sessionledger
from floor import PAGE, TEXT
from growth_postgresql import BATCH, SHORT
from interleaved import Part
from sessionledger.application.services import PersistentSessionService
from sessionledger.infrastructure.database import Database

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "cache_size = 16 MiB": ("PRAGMA cache_size = -16384", {}),
    "cache_size = 64 MiB": ("PRAGMA cache_size = -65536", {}),
    "mmap_size = 256 MiB": ("PRAGMA mmap_size = 268435456", {}),
    "wal_autocheckpoint = 100 pages": ("PRAGMA wal_autocheckpoint = 100", {}),
    "wal_autocheckpoint = 10,000 pages": ("PRAGMA wal_autocheckpoint = 10000", {}),
    "cached_statements = 0": ("", {"cached_statements": 0}),
    "cached_statements = 1,000": ("", {"cached_statements": 1000}),
    "control: nothing changed": ("", {}),
}
"""What is changed against the defaults (2,000 KiB, 0, 1,000 pages, 128), by a pragma or an argument to connect."""

APPENDS = 50
"""How many appends are one act: so that the checkpoints, each after many, are among what is measured."""


def path_of(url: str) -> Path:
    """The file of a database."""
    return Path(url.removeprefix("sqlite:///"))


def fill(url: str, messages: int, sessions: int) -> list[str]:
    """Fill a ledger: sessions that are appended to in turn. Return their ids."""
    with closing(sessionledger.connect(url)) as service:
        ids = [service.create(actor_name=f"actor-{number % 100}").session_id for number in range(sessions)]
        batch = [{"role": "user", "content": TEXT}] * BATCH
        for at in range(0, messages, BATCH):
            service.append_messages(ids[at // BATCH % sessions], batch)
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ids


def storage(url: str, messages: int) -> dict[str, Any]:
    """Bytes a message in the file, and in each table and index where this SQLite can tell."""
    found: dict[str, Any] = {"messages": messages, "content": len(TEXT) + 2}
    with closing(sqlite3.connect(path_of(url))) as connection:
        found["file_each"] = round(path_of(url).stat().st_size / messages, 1)
        try:
            query = "SELECT name, sum(pgsize) FROM dbstat WHERE name LIKE '%session_messages%' GROUP BY name"
            each = {name: round(size / messages, 1) for name, size in connection.execute(query)}
        except sqlite3.OperationalError:
            each = {}  # this SQLite was built without dbstat
    return found | {"bytes_each": each}


def log(url: str, ids: list[str], appends: int) -> Iterator[dict[str, Any]]:
    """How the log grows with each append, before a checkpoint begins it anew."""
    chance, wal = random.Random(1), Path(f"{path_of(url)}-wal")
    for what, of in (("one session", ids[:1]), (f"{len(ids):,} sessions at random", ids)):
        for text in (SHORT, TEXT):
            with closing(_service(url, "PRAGMA wal_autocheckpoint = 0", {})) as service:
                service.append_message(ids[0], "user", text)
                with closing(sqlite3.connect(path_of(url))) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                before = wal.stat().st_size
                for _ in range(appends):
                    service.append_message(chance.choice(of), "user", text)
                grown = (wal.stat().st_size - before) / appends
            yield {"what": what, "content": len(text) + 2, "bytes": round(grown), "pages": round(grown / 4120, 2)}


def _service(url: str, pragma: str, arguments: dict[str, Any]) -> PersistentSessionService:
    """A service whose connections are set up so."""
    database = Database(url, connect_args=arguments)
    if pragma:

        @event.listens_for(database.engine, "connect")
        def configure(connection: Any, _: object) -> None:
            connection.execute(pragma).close()

    return PersistentSessionService(database)


def parts(url: str, ids: list[str], closing_all: ExitStack) -> Iterator[Part]:
    """Each setting against the defaults, each on a copy of the same file."""
    plain = closing_all.enter_context(_copied(url, "defaults", "", {}))
    for name, (pragma, arguments) in SETTINGS.items():
        changed = closing_all.enter_context(_copied(url, name, pragma, arguments))
        control = (0.85, 1.18) if name.startswith("control") else None
        for work, act, times in (("append", _append, 1), ("read the last 50 of sessions at random", _read, 5)):
            ours, others = partial(act, changed, random.Random(1), ids), partial(act, plain, random.Random(1), ids)
            part = partial(Part, "settings", "sqlite", f"{work}, {name}", ours, others, times=times)
            yield part(against="the defaults", control=control)


def _copied(url: str, name: str, pragma: str, arguments: dict[str, Any]) -> PersistentSessionService:
    copy = path_of(url).with_name("".join(filter(str.isalnum, name)) + ".db")
    shutil.copyfile(path_of(url), copy)
    return _service(f"sqlite:///{copy}", pragma, arguments)


def _append(service: PersistentSessionService, chance: random.Random, ids: list[str]) -> None:
    for _ in range(APPENDS):
        service.append_message(chance.choice(ids), "user", TEXT)


def _read(service: PersistentSessionService, chance: random.Random, ids: list[str]) -> None:
    service.get_messages(chance.choice(ids), last=PAGE)
