"""What may differ between databases, as capabilities; nothing in sessionledger asks for a database's name.

Its values are neither compared nor printed: the methods for that would be compiled anew in every process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine

from sessionledger.infrastructure.database.drivers import HeldConnection


class CallCancelledError(BaseException):
    """Nobody waits for the call any more; like a cancel of asyncio it is no ordinary error."""


@dataclass(frozen=True, eq=False, repr=False)
class Beside:
    """What an upgrade needs that runs beside a service, in several transactions.

    Attributes:
        take_lock: The statement that tries for the lock of an upgrade.
        give_lock: The statement that gives it back.
        no_limits: The statement that takes away a role's own limits of idleness and of transactions, and makes the
            database refuse where row-level security would leave rows out.
        lock_timeout: The statement that limits how long a statement waits for a lock; 0 is no limit.
        statement_timeout: The statement that limits how long a statement runs.
        lock_table: The statement that keeps everybody else away from a table until the transaction ends.
        index_options: What makes an index be built, or dropped, beside writers.
        index_is_valid: The query for whether the index `name` of `table` is valid; no row where there is none.
        refuse_invalid: The statement that fails unless it is, for SQL that is written out.
    """

    take_lock: str
    give_lock: str
    no_limits: str
    lock_timeout: str
    statement_timeout: str
    lock_table: str
    index_options: Mapping[str, Any]
    index_is_valid: str
    refuse_invalid: str


@dataclass(frozen=True, eq=False, repr=False)
class Checks:
    """What a verification needs, which trusts nothing that is stored.

    Attributes:
        own: The queries by which the database checks itself, with `{tables}` for ours; each row is a text that tells of
            damage.
        damaged: Codes of stored bytes that the database cannot read.
        time_text: A stored time as a text of ISO 8601, whatever was written.
        as_stored: While it is open, every row comes back as it is stored, or the database refuses; text too, where the
            driver would raise.
    """

    own: tuple[str, ...]
    damaged: frozenset[str]
    time_text: Callable[[Any], Any]
    as_stored: Callable[[Connection], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False, repr=False)
class Copy:
    """A faster way in for many rows than INSERT.

    Attributes:
        permitted: Whether it may be used on a table in this transaction.
        load: Store rows: takes a connection, a table's name, its columns' names and the rows.
    """

    permitted: Callable[[Connection, str], bool]
    load: Callable[[Connection, str, Sequence[str], Iterable[Sequence[Any]]], None]


@dataclass(frozen=True, eq=False, repr=False)
class Dialect:
    """One kind of database.

    Attributes:
        system: What OpenTelemetry calls it.
        embedded: A file of the process's own, made and upgraded on first use.
        drivers: The names its drivers have in a URL, first the one for callers that block, then, for callers that
            await, its last; psycopg is both.
        file_of: The file that a URL names; `None` where the database is in none.
        engine_options: The options of an engine of ours, from its URL, from those the caller gives, which win, and from
            whether callers await.
        prepare: Sets up an engine of ours, so that its connections keep the promises.
        insert: The INSERT construct with ON CONFLICT.
        time_in: A time as the driver takes it for a statement of our own (see `statements.py`).
        time_out: A time, aware and in UTC, from what the driver reads.
        each_text: The texts in a JSON array of them, as a query.
        commits_alone: Whether an append is one statement here that commits by itself.
        take_write_lock: Begins a transaction and takes its lock up front; waits for other writers until it is told that
            nobody waits for the call, and then raises `CallCancelledError`.
        duplicate: Codes of a key that is stored already.
        overflow: Codes of a total beyond 2⁶³-1.
        busy: Codes of a database that another transaction keeps busy: nothing was committed, try again.
        lost: Codes of a connection that is lost: around COMMIT the outcome is unknown, otherwise try again.
        full: Codes of a disk or quota without space.
        advice: What to do, by code, where trying again does not help.
        checks: What a verification needs.
        unnested: Arrays as rows, with these columns and the number of the row; `None` where there are no arrays.
        begin_reading: The statement that begins a snapshot, where the driver does not begin one by itself.
        begin_writing: The statement that begins a transaction and takes its lock up front, where there is one.
        reading: Execution options of a snapshot.
        writing: Execution options of a writing transaction on an application's engine, which may autocommit.
        beside: What an upgrade beside a running service needs; `None` where an upgrade is one transaction that takes
            the write lock up front.
        copy: A faster way in for many rows; `None` where there is none.
        loading: What is to be open while much is stored.
    """

    system: str
    embedded: bool
    drivers: tuple[str, ...]
    file_of: Callable[[URL], Path | None]
    engine_options: Callable[[URL, Mapping[str, Any], bool], Mapping[str, Any]]
    prepare: Callable[[Engine], None]
    insert: Callable[[Any], Any]
    time_in: Callable[[datetime], Any]
    time_out: Callable[[Any], datetime]
    each_text: Callable[[Any], Any]
    commits_alone: Callable[[Connection], bool]
    take_write_lock: Callable[[HeldConnection, Callable[[], bool]], None]
    duplicate: frozenset[str]
    overflow: frozenset[str]
    busy: frozenset[str]
    lost: re.Pattern[str]
    full: frozenset[str]
    advice: Mapping[str, str]
    checks: Checks
    unnested: Callable[[Sequence[Any], Sequence[str], str], Any] | None = None
    begin_reading: str | None = None
    begin_writing: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    writing: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    copy: Copy | None = None
    loading: Callable[[Connection], AbstractContextManager[Any]] = nullcontext
