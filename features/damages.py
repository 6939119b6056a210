"""Damage for a verification to find: SQL that is run past the library, by what it does.

`A` and `B` stand for the ids of the two sessions, `RECORD` for a record of A's token usage with a cost, `NOBODY` for an
id that nobody has.
"""

from __future__ import annotations

import hashlib
import json

FIRST = "WHERE session_id = 'A' AND sequence = 1"
IN_A = "WHERE session_id = 'A'"


def stored(text: str) -> str:
    """Change the content of a message, and its hash with it."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return f"UPDATE session_messages SET content = '{text}', content_sha256 = '{sha256}'"


def copied(table: str, key: str, values: dict[str, str]) -> str:
    """Store a row again, with some of its values changed."""
    return (
        f"CREATE TABLE copied AS SELECT * FROM {table} {key};"
        + "".join(f"UPDATE copied SET {name} = {value};" for name, value in values.items())
        + f"INSERT INTO {table} SELECT * FROM copied; DROP TABLE copied"
    )


DEEP = json.dumps("x").join(["[" * 61, "]" * 61])

ROWS = {
    "a release that knew no hashes appended": f"UPDATE session_messages SET content_sha256 = NULL {IN_A}",
    "a letter of stored content is flipped": (
        f"UPDATE session_messages SET content = replace(content, 'ar', 'br') {FIRST}"
    ),
    "a stored hash is changed": f"UPDATE session_messages SET content_sha256 = '{'0' * 64}' {FIRST}",
    "content that is no JSON, under its hash": f"{stored('{not JSON')} {FIRST}",
    "content with a space too much, under its hash": f"{stored('[1, 2]')}, format = 'json' {FIRST}",
    "content nested too deeply, under its hash": f"{stored(DEEP)}, format = 'json' {FIRST}",
    "content that is no string, in the format text": f"{stored('7')} {FIRST}",
    "a message's metadata has its keys in another order": (
        f"""UPDATE session_messages SET metadata = '{{"b":1,"a":2}}' {FIRST}"""
    ),
    "a message's metadata is a list": f"UPDATE session_messages SET metadata = '[]' {FIRST}",
    "a role of two words": f"UPDATE session_messages SET role = 'two words' {FIRST}",
    "a format of two words": f"UPDATE session_messages SET format = 'two words' {FIRST}",
    "a message was sent at no time": f"UPDATE session_messages SET created_at = NO_TIME {FIRST}",
    "a message in the middle is lost": f"DELETE FROM session_messages {IN_A} AND sequence = 3",
    "two messages in the middle are lost": f"DELETE FROM session_messages {IN_A} AND sequence IN (3, 4)",
    "the last message is lost": f"DELETE FROM session_messages {IN_A} AND sequence = 5",
    "the last of them is changed": (
        "UPDATE session_messages SET content = replace(content, 'e', 'a') WHERE sequence = 1234"
    ),
    "the counter is ahead of its messages": f"UPDATE sessions SET last_sequence = 7 {IN_A}",
    "a session is lost, its messages are not": "UNCHECKED; DELETE FROM sessions WHERE session_id = 'B'",
    "a session's metadata is no JSON": f"UPDATE sessions SET metadata = 'mail' {IN_A}",
    "a session's metadata is a list": f"UPDATE sessions SET metadata = '[]' {IN_A}",
    "a session's version is 0": f"UPDATE sessions SET version = 0 {IN_A}",
    "a session has another key": "UPDATE sessions SET key = 'ticket/4712' WHERE session_id = 'B'",
    "a session's workspace is not there": f"UPDATE sessions SET workspace = 'NOBODY' {IN_A}",
    "a session's workspace is another namespace's": "UPDATE resources SET namespace = 'acme'",
    "a session's source has an id and no digest": f"UPDATE sessions SET source_session_id = session_id {IN_A}",
    "a session's source has a digest that is none": (
        f"UPDATE sessions SET source_session_id = session_id, source_sha256 = 'parcel' {IN_A}"
    ),
    "a session's unknown fields are a list": f"UPDATE sessions SET unknown_fields = '[]' {IN_A}",
    "a message's unknown fields have a space too much": (
        f"""UPDATE session_messages SET unknown_fields = '{{"mood": "calm"}}' {FIRST}"""
    ),
    "a record's unknown fields are no JSON": "UPDATE token_usage SET unknown_fields = 'calm' WHERE usage_id = 'RECORD'",
    "a workspace's aliases are no list": "UPDATE resources SET aliases = '{}'",
    "a workspace's aliases have a space too much": "UPDATE resources SET aliases = '[ ]'",
    "a record is lost": "DELETE FROM token_usage WHERE usage_id = 'RECORD'",
    "a record is there twice": copied("token_usage", "WHERE usage_id = 'RECORD'", {"usage_id": "'NOBODY'"}),
    "a record names a message that never was": (
        "UPDATE token_usage SET message_id = 'NOBODY' WHERE usage_id = 'RECORD'"
    ),
    "a record names a message that is no ULID": (
        "UPDATE token_usage SET message_id = 'nobody' WHERE usage_id = 'RECORD'"
    ),
    "a record has a negative count": "UPDATE token_usage SET input_tokens = -12 WHERE usage_id = 'RECORD'",
    "no record has a cost": f"UPDATE token_usage SET cost = NULL {IN_A}",
}

TABLES = {
    "an index is missing": "DROP INDEX ix_sessions_actor_name",
    "an index more": "CREATE INDEX extra ON sessions (title)",
    "an index on other columns": (
        "DROP INDEX ix_sessions_actor_name; CREATE INDEX ix_sessions_actor_name ON sessions (title)"
    ),
    "an index on some of the rows": (
        "DROP INDEX ix_sessions_actor_name;"
        " CREATE INDEX ix_sessions_actor_name ON sessions (actor_name) WHERE last_sequence > 0"
    ),
    "a column more": "ALTER TABLE session_messages ADD COLUMN extra INTEGER",
    "a column is missing": "ALTER TABLE session_messages DROP COLUMN tool_call_id",
    "a table is missing": "DROP TABLE token_usage",
    "a table was copied without its keys": (
        "ALTER TABLE token_usage RENAME TO old; CREATE TABLE token_usage AS SELECT * FROM old; DROP TABLE old"
    ),
    "a sequence is there twice, without an index": "DROP INDEX ix_session_messages_session_id_sequence; "
    + copied("session_messages", f"{IN_A} AND sequence = 2", {"message_id": "'NOBODY'"}),
}

SQLITE = {
    "NO_TIME": "'yesterday'",
    "UNCHECKED": "PRAGMA foreign_keys = OFF",
    "content whose bytes are no text": f"UPDATE session_messages SET content = CAST(x'22ff22' AS TEXT) {FIRST}",
    "content that is bytes": f"UPDATE session_messages SET content = x'2261220a' {FIRST}",
    "a role whose bytes are no text": f"UPDATE session_messages SET role = CAST(x'ff' AS TEXT) {FIRST}",
    "a message's session id is bytes": (
        f"UPDATE session_messages SET session_id = CAST(session_id AS BLOB) {IN_A} AND sequence = 5"
    ),
    "a title of 1001 characters": f"UPDATE sessions SET title = printf('%01001d', 0) {IN_A}",
    "a count that is a word": "UPDATE token_usage SET output_tokens = 'few' WHERE usage_id = 'RECORD'",
    "a cost that is a word": "UPDATE token_usage SET cost = 'much' WHERE usage_id = 'RECORD'",
    "another table refers to a session that is not": (
        "CREATE TABLE tickets (session_id TEXT REFERENCES sessions); INSERT INTO tickets VALUES ('NOBODY')"
    ),
}

POSTGRESQL = {
    "NO_TIME": "'infinity'",
    "UNCHECKED": "SET session_replication_role = replica",
    "an invalid index": "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_sessions_actor_name'::regclass",
    "a check is missing": "ALTER TABLE sessions DROP CONSTRAINT ck_sessions_cost",
    "a check more": "ALTER TABLE sessions ADD CHECK (version < 1000000)",
    "a unique constraint more": "ALTER TABLE sessions ADD UNIQUE (title)",
    "a foreign key is missing": "ALTER TABLE session_messages DROP CONSTRAINT fk_session_messages_session_id",
    "a column of another type": "ALTER TABLE sessions ALTER COLUMN title TYPE TEXT",
    "a column that may be NULL": "ALTER TABLE session_messages ALTER COLUMN role DROP NOT NULL",
    "a column without its default": "ALTER TABLE sessions ALTER COLUMN version DROP DEFAULT",
    "an id of another collation": 'ALTER TABLE token_usage ALTER COLUMN usage_id TYPE VARCHAR(26) COLLATE "default"',
}
