"""What a million appends leave of the table `sessions` on PostgreSQL, by the table's fillfactor.

An append changes the session's row. PostgreSQL writes a new version of it, in the same page where there is room (HOT:
no index is touched) and else in another one, with a new entry in every index. What is old is pruned when the page is
next read, or by autovacuum.

The appends are a procedure's, the counter's UPDATE and the message's INSERT in one statement and one commit, by four
connections at a time: what is kept of a row's versions depends on the statement's columns and not on who sends it, and
a million through a client take minutes. A smaller number through the service stands beside them, for comparison. These
appends do not wait for the disk and come at thousands a second, so the server has `autovacuum_naptime` at a second: as
many of its rounds an append as the default minute gives where a hundred or two come a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

import sessionledger

FILLFACTORS = (100, 90, 80, 70, 50)
WRITERS = 4
CHUNK = 2_500
OPEN = 50
"""How many sessions are appended to at a time where sessions come and go."""
APPENDS_EACH = 10
"""How many messages such a session gets, on average."""

PREPARE: LiteralString = """
CREATE OR REPLACE FUNCTION id_of(number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT '0' || upper(left(md5(number::text), 25)) $$;
CREATE OR REPLACE PROCEDURE make(first bigint, last bigint) LANGUAGE sql AS $$
    INSERT INTO sessions (session_id, namespace, actor_name, metadata, created_at, updated_at, title)
    SELECT id_of(number), 'default', 'actor-' || number % 100, '{"at":' || number || '}',
           timestamptz '2026-01-01' + number * interval '1 s', timestamptz '2026-01-01', 'Session ' || number
    FROM generate_series(first, last) number $$;
CREATE OR REPLACE PROCEDURE append(first bigint, last bigint, appends int, new_every int) LANGUAGE plpgsql AS $$
DECLARE id text;
BEGIN
    FOR at IN 1 .. appends LOOP
        IF new_every > 0 AND at % new_every = 0 THEN
            first := first + 1;
            last := last + 1;
            CALL make(last, last);
        END IF;
        id := id_of(first + floor(random() * (last - first + 1))::bigint);
        WITH counted AS (
            UPDATE sessions SET last_sequence = last_sequence + 1, updated_at = clock_timestamp()
            WHERE session_id = id AND namespace = 'default' RETURNING last_sequence)
        INSERT INTO session_messages
            (message_id, session_id, sequence, role, content, metadata, created_at, format)
        SELECT '0' || upper(left(md5(random()::text), 25)), id, last_sequence, 'user', '"Hello"', '{}',
               clock_timestamp(), 'text'
        FROM counted;
        COMMIT;
    END LOOP;
END $$;
"""


@dataclass(frozen=True)
class Workload:
    """Who is appended to.

    Attributes:
        name: What it is called in the tables.
        sessions: How many sessions there are before, loaded at once: their pages are as full as the fillfactor says.
        come_and_go: Whether each writer opens a session every ten appends, and appends to its newest fifty.
    """

    name: str
    sessions: int
    come_and_go: bool = False


def workloads(appends: int) -> list[Workload]:
    """The workloads, for so many appends each."""
    many = appends // APPENDS_EACH
    return [
        Workload("1 session", 1),
        Workload("1,000 sessions", 1_000),
        Workload(f"{many:,} sessions, loaded at once", many),
        Workload(f"{many:,} sessions that come and go", 0, come_and_go=True),
    ]


@dataclass(frozen=True)
class Updated:
    """What appends left of `sessions`.

    Attributes:
        workload: Who was appended to.
        fillfactor: The table's.
        appends: How many there were.
        hot: The share of the row's updates that touched no index.
        table_before: The table's bytes before.
        table_after: After.
        table_packed: After `VACUUM FULL` at fillfactor 100: what the rows themselves need.
        indexes_before: The bytes of all its indexes before.
        indexes_after: After.
        indexes_packed: Built anew.
        wal: Bytes of write-ahead log an append, the message's own share included.
        autovacuums: How often autovacuum cleaned the table meanwhile.
    """

    workload: str
    fillfactor: int
    appends: int
    hot: float
    table_before: int
    table_after: int
    table_packed: int
    indexes_before: int
    indexes_after: int
    indexes_packed: int
    wal: int
    autovacuums: int


def updates(url: str, appends: int, follow: Callable[[str], None]) -> Iterator[Updated]:
    """Append so often under each workload and fillfactor; the database is emptied before each."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PREPARE)
        for workload in workloads(appends):
            for fillfactor in FILLFACTORS:
                found = _measured(connection, url, workload, fillfactor, appends)
                follow(str(found))
                yield found


def _measured(connection: Any, url: str, workload: Workload, fillfactor: int, appends: int) -> Updated:
    connection.execute("TRUNCATE sessions, session_messages, token_usage")
    connection.execute(f"ALTER TABLE sessions SET (fillfactor = {fillfactor})")
    connection.execute("CALL make(1, %s)", (workload.sessions,))
    connection.execute("VACUUM ANALYZE sessions")
    connection.execute("REINDEX TABLE sessions")
    connection.execute("CHECKPOINT")
    before = _sizes(connection)
    connection.execute("SELECT pg_stat_reset()")
    place = _one(connection, "SELECT pg_current_wal_insert_lsn()")
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda number: _write(url, workload, number, appends // WRITERS), range(WRITERS)))
    wal = _one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", place)
    after = _sizes(connection)
    updated, hot, autovacuums = _told(connection)
    connection.execute("ALTER TABLE sessions SET (fillfactor = 100)")
    connection.execute("VACUUM FULL sessions")
    packed = _sizes(connection)
    return Updated(
        workload.name,
        fillfactor,
        updated,
        hot / updated,
        before[0],
        after[0],
        packed[0],
        before[1],
        after[1],
        packed[1],
        round(wal / updated),
        autovacuums,
    )


def _write(url: str, workload: Workload, number: int, appends: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:  # its statistics are told when it closes
        connection.execute("SET synchronous_commit = off")
        first, last, new_every = 1, workload.sessions, 0
        if workload.come_and_go:
            first = 1_000_000_000 * (number + 1)
            last, new_every = first + OPEN - 1, APPENDS_EACH
            connection.execute("CALL make(%s, %s)", (first, last))
        for done in range(0, appends, CHUNK):
            count = min(CHUNK, appends - done)
            connection.execute("CALL append(%s, %s, %s, %s)", (first, last, count, new_every))
            if new_every:
                first, last = first + count // new_every, last + count // new_every


def _told(connection: Any) -> tuple[int, int, int]:
    """What is counted of the updates of `sessions`, once all others are gone: they tell when they end."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while _one(connection, others + " AND backend_type = 'client backend'"):
        time.sleep(0.05)
    connection.execute("SELECT pg_stat_clear_snapshot()")
    query = "SELECT n_tup_upd, n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables WHERE relname = 'sessions'"
    return connection.execute(query).fetchone()


def _sizes(connection: Any) -> tuple[int, int]:
    return connection.execute("SELECT pg_relation_size('sessions'), pg_indexes_size('sessions')").fetchone()


def _one(connection: Any, query: str, *values: Any) -> Any:
    return connection.execute(query, values).fetchone()[0]


def through_the_service(url: str, appends: int) -> dict[str, Any]:
    """The same share for appends through the service, to one session of a database that holds others."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_reset()")
        with closing(sessionledger.connect(url)) as sessions:
            session_id = sessions.create().session_id
            for _ in range(appends):
                sessions.append_message(session_id, "user", "Hello")
        updated, hot, _ = _told(connection)
    return {"appends": updated, "hot": hot / updated}
