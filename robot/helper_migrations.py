"""What the processes of `migrations.robot` do, on an installed wheel: old schemas with rows, and back."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Any

import sqlalchemy

import sessionledger
from helper_process import answer
from sessionledger.infrastructure.database import Database, schema
from sessionledger.infrastructure.database.revision import REVISIONS

KEY = "case 17"
SESSION = sessionledger.session_id_for("default", KEY)
RESOURCE, FIRST, SECOND, THIRD, USAGE = (f"01J8ZC0000000000000000000{digit}" for digit in "12345")
CALL = '{"content":"Yes","role":"assistant"}'
UNKNOWN = '{"mood":"calm"}'

ROWS = {
    "b1_001_resource_registry": [
        (
            "INSERT INTO resources (resource_id, namespace, kind, name, created_at, updated_at)"
            " VALUES (:resource, 'default', 'workspace', 'parcels', :at, :at)"
        ),
    ],
    "a7_001_session_persistence": [
        (
            "INSERT INTO sessions (session_id, namespace, actor_name, metadata, last_sequence, input_tokens,"
            " output_tokens, created_at, updated_at)"
            " VALUES (:session, 'default', 'support-bot', '{\"a\":1}', 2, 12, 4, :at, :at)"
        ),
        (
            "INSERT INTO session_messages (message_id, session_id, sequence, role, content, created_at)"
            " VALUES (:first, :session, 1, 'user', '\"Where is my parcel?\"', :at)"
        ),
        (
            "INSERT INTO session_messages (message_id, session_id, sequence, role, content, created_at)"
            " VALUES (:second, :session, 2, 'tool', '[\"in\",\"Linden\"]', :at)"
        ),
    ],
    "a7_002_session_details": [
        "UPDATE sessions SET title = 'A parcel', key = :key, workspace = :resource, version = 3",
    ],
    "a7_003_message_format": [
        (
            "INSERT INTO session_messages (message_id, session_id, sequence, role, content, created_at, format,"
            " content_sha256) VALUES (:third, :session, 3, 'assistant', :call, :at, 'openai.chat', :hash)"
        ),
        "UPDATE sessions SET last_sequence = 3",
    ],
    "a7_004_token_usage": [
        (
            "INSERT INTO token_usage (session_id, usage_id, namespace, input_tokens, output_tokens, cost, recorded_at)"
            " VALUES (:session, :usage, 'default', 12, 4, 5000000000, :at)"
        ),
        "UPDATE sessions SET cost = 5000000000",
    ],
    "a7_005_listing_indexes": [],
    "a7_006_compatible_revisions": [],
    "a7_007_imports": [
        "UPDATE sessions SET source_session_id = :session, source_sha256 = :hash, unknown_fields = :unknown",
        "UPDATE session_messages SET unknown_fields = :unknown WHERE message_id = :third",
        "UPDATE token_usage SET unknown_fields = :unknown",
    ],
    "a7_008_storage_of_sessions": [],
}
VALUES = {
    "resource": RESOURCE,
    "session": SESSION,
    "first": FIRST,
    "second": SECOND,
    "third": THIRD,
    "usage": USAGE,
    "key": KEY,
    "call": CALL,
    "unknown": UNKNOWN,
    "hash": hashlib.sha256(CALL.encode()).hexdigest(),
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}


def fill(url: str, revision: str) -> None:
    """Put rows into tables that are at a revision, as the release of that time would have."""
    engine = sqlalchemy.create_engine(url)
    at = sqlalchemy.bindparam("at", type_=sqlalchemy.DateTime(timezone=True))
    with engine.begin() as connection:
        for step in REVISIONS[: REVISIONS.index(revision) + 1]:
            for text in ROWS[step]:
                statement = sqlalchemy.text(text.replace("'{\"a\":1}'", "'{\"a\"\\:1}'"))
                statement = statement.bindparams(at) if ":at" in text else statement
                used = {name: value for name, value in VALUES.items() if f":{name}" in text}
                connection.execute(statement, used)
    engine.dispose()


def from_each_revision(urls: list[str]) -> dict[str, list[str]]:
    """Take empty databases to one revision each, put rows into them, upgrade to the newest; say what is wrong then."""
    return {revision: _from_revision(url, revision) for url, revision in zip(urls, REVISIONS, strict=True)}


def _from_revision(url: str, revision: str) -> list[str]:
    database = Database(url)
    schema.upgrade(database, revision)
    wrong = [] if schema.current(database) == revision else ["the upgrade did not stop where it was told to"]
    fill(url, revision)
    schema.upgrade(database)
    schema.verify(database)
    database.close()
    at = REVISIONS.index(revision)

    def expect(what: str, found: Any, expected: Any) -> None:
        if found != expected:
            wrong.append(f"{what} is {found!r}, not {expected!r}")

    with sessionledger.connect(url) as sessions:
        other = sessions.create(workspace="parcels")
        expect("the workspace", other.workspace, "parcels")
        with Database(url).engine.connect() as connection:
            resources = connection.exec_driver_sql("SELECT resource_id FROM resources").scalars().all()
        expect("the registry", resources, [RESOURCE])
        if at >= 1:
            session = sessions.get(SESSION)
            messages = sessions.get_messages(SESSION)
            contents = ["Where is my parcel?", ["in", "Linden"], {"content": "Yes", "role": "assistant"}]
            texts = ['"Where is my parcel?"', '["in","Linden"]', CALL]
            count = 3 if at >= 3 else 2
            expect("metadata", session.metadata, {"a": 1})
            expect("created_at", session.created_at, VALUES["at"])
            expect("the totals", (session.usage.input_tokens, session.usage.output_tokens), (12, 4))
            expect("the contents", [message.content for message in messages], contents[:count])
            expect("the sequences", [message.sequence for message in messages], list(range(1, count + 1)))
            hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts[:count]]
            expect("the hashes", [message.content_sha256 for message in messages], hashes)
            formats = ["text", "json", "openai.chat"] if at != 3 else ["json", "json", "openai.chat"]
            if at < 3:  # later, the release of that time wrote the format itself
                expect("the formats", [message.format for message in messages], formats[:count])
            expect("the next sequence", sessions.append_message(SESSION, "user", "Thanks.").sequence, count + 1)
            totals = sessions.update_token_usage(SESSION, input_tokens=1)
            expect("the new totals", (totals.input_tokens, totals.output_tokens), (13, 4))
            expect("the ledger", sessions.export_session(SESSION, io.BytesIO()).usage_records, 2)
        if at >= 2:
            found = sessions.find(KEY)
            details = found and (found.session_id, found.title, found.workspace, found.version)
            expect("the details", details, (SESSION, "A parcel", "parcels", 3))
        if at >= 4:
            expect("the cost", str(sessions.get(SESSION).usage.cost), "0.5")
        if at >= 7:
            expect("the source", sessions.get(SESSION).source, sessionledger.SessionSource(SESSION, VALUES["hash"]))
    return wrong


def down_step_by_step(url: str) -> list[list[str]]:
    """Go back from the newest revision with rows in every table: each step is refused, then allowed."""
    database = Database(url)
    schema.upgrade(database)
    fill(url, REVISIONS[-1])
    steps = []
    for revision in (*reversed(REVISIONS[:-1]), "base"):
        before = schema.current(database)
        try:
            schema.downgrade(database, revision)
        except sessionledger.StorageError as error:
            refused = "refused" if "would lose" in str(error) else str(error)
        else:
            refused = "not refused"
        kept = "kept" if schema.current(database) == before else "not kept"
        schema.downgrade(database, revision, allow_data_loss=True)
        steps.append([revision, refused, kept, schema.current(database) or "base"])
    schema.upgrade(database)
    database.verify()
    database.close()
    return steps


def current(url: str) -> str | None:
    """The revision the tables are at."""
    database = Database(url)
    try:
        return schema.current(database)
    finally:
        database.close()


def verified(url: str) -> str:
    """The revision, if it is the one that this release needs."""
    database = Database(url)
    schema.verify(database)
    database.close()
    return current(url)


VERBS = [fill, from_each_revision, down_step_by_step, current, verified]

if __name__ == "__main__":
    answer({verb.__name__: verb for verb in VERBS})
