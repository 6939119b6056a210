"""What makes a database refuse a message, past the library: by name, the SQL to run before it is appended.

Where `{content}` stands, the text does that must not be told: databases quote rows, parameters and statements in their
errors. Each is refused for real, by the database's own error of that class.
"""

from __future__ import annotations

_REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'refused: ' || NEW.content, DETAIL = NEW.metadata,
            HINT = NEW.content, TABLE = NEW.content, CONSTRAINT = NEW.content;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON session_messages FOR EACH ROW EXECUTE FUNCTION refuse()
"""

_CODES = (
    "08006", "0A000", "21000", "22P05", "25P02", "40001", "40P01", "42501", "42601", "53100", "53200", "53300",
    "54001", "55000", "55P03", "57014", "57P01", "58030", "XX000", "XX001",
)  # fmt: skip

POSTGRESQL = {
    "a unique index over the content": "CREATE UNIQUE INDEX once ON session_messages (content)",
    "a CHECK": "ALTER TABLE session_messages ADD CHECK (length(content) < 5)",
    "a column that is NOT NULL": "ALTER TABLE session_messages ADD approved boolean NOT NULL",
    "a foreign key": "ALTER TABLE session_messages ADD FOREIGN KEY (tool_call_id) REFERENCES resources (resource_id)",
    "an exclusion": "ALTER TABLE session_messages ADD EXCLUDE (content WITH =)",
    "a column that is too short": "ALTER TABLE session_messages ALTER content TYPE varchar(5)",
    "an index that casts to a number": "CREATE INDEX ON session_messages ((content::int))",
    "an index that overflows": "CREATE INDEX ON session_messages ((length(content) + 2147483647))",
    "an index that divides by zero": "CREATE INDEX ON session_messages ((1 / (length(content) * 0)))",
    "a role that cannot be cast": "CREATE INDEX ON session_messages (((metadata || content)::numeric))",
    "a missing column": "ALTER TABLE session_messages DROP format",
    "a missing table": "DROP TABLE session_messages CASCADE",
    "a column of another type": "ALTER TABLE session_messages ALTER content TYPE bytea USING content::bytea",
    "a generated column": "ALTER TABLE session_messages DROP content_sha256, "
    "ADD content_sha256 text GENERATED ALWAYS AS (content) STORED",
    **{f"a trigger that raises {code}": _REFUSE.replace("{code}", code) for code in _CODES},
}

_COLUMN = """
    PRAGMA writable_schema = ON;
    UPDATE sqlite_master SET sql = replace(sql, '{column}', '{column} {rule}') WHERE name = 'session_messages';
    PRAGMA writable_schema = RESET
"""


def _column(column: str, rule: str) -> str:
    return _COLUMN.replace("{column}", column).replace("{rule}", rule)


def _trigger(body: str) -> str:
    return f"CREATE TRIGGER refuse BEFORE INSERT ON session_messages BEGIN {body}; END"


SQLITE = {
    "a unique index over the content": "CREATE UNIQUE INDEX once ON session_messages (content)",
    "a CHECK": _column("content TEXT NOT NULL", "CHECK (length(content) < 5)"),
    "a column that is NOT NULL": _trigger("INSERT INTO sessions (session_id) VALUES (NEW.content)"),
    "a foreign key": _column("tool_call_id VARCHAR(255)", "REFERENCES resources (resource_id)"),
    "a foreign key to nowhere": _column("tool_call_id VARCHAR(255)", "REFERENCES {content} (resource_id)"),
    "an index that overflows": "CREATE INDEX refuse ON session_messages (abs(-9223372036854775807 - 1 - sequence * 0))",
    "an index over JSON": "CREATE INDEX refuse ON session_messages (json(content || content))",
    "an index over a path": "CREATE INDEX refuse ON session_messages (json_extract(content, content))",
    "a missing column": "ALTER TABLE session_messages DROP format",
    "a missing table": "DROP TABLE session_messages",
    "a trigger that raises ABORT": _trigger("SELECT RAISE(ABORT, 'refused: {content}')"),
    "a trigger that raises FAIL": _trigger("SELECT RAISE(FAIL, 'refused: {content}')"),
    "a trigger that raises ROLLBACK": _trigger("SELECT RAISE(ROLLBACK, 'refused: {content}')"),
    "a trigger that writes nowhere": _trigger("INSERT INTO {content} VALUES (NEW.content)"),
    "a trigger that calls nothing": _trigger("SELECT {content}(NEW.content)"),
    "a trigger that reads a path": _trigger("SELECT json_extract('{}', NEW.content)"),
}

# Statements that fail when they are run as work: what they would tell is in their own text.
STATEMENTS = {
    "bad syntax": "SELECT '{content}' FROM WHERE",
    "a string without an end": "SELECT '{content}",
    "an unknown column": "SELECT {content} FROM sessions",
    "an unknown table": "SELECT 1 FROM {content}",
    "an unknown function": "SELECT {content}('{content}')",
}
POSTGRESQL_STATEMENTS = STATEMENTS | {
    "a cast": "SELECT '{content}'::int",
    "a time": "SELECT '{content}'::timestamptz",
    "JSON": "SELECT '{content}'::jsonb",
    "a statement time-out": "SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(5), '{content}'",
    "a setting": "SET statement_timeout = '{content}'",
    "a message of its own": "DO $$ BEGIN RAISE '{content}'; END $$",
    "an assertion": "DO $$ BEGIN ASSERT false, '{content}'; END $$",
    "an end of the session": "SELECT pg_terminate_backend(pg_backend_pid()), '{content}'",
    "a COPY": "COPY sessions FROM PROGRAM '{content}; exit 1'",
    "a file": "SELECT pg_read_file('{content}')",
}
SQLITE_STATEMENTS = STATEMENTS | {
    "text that is no UTF-8": "SELECT CAST('{content}' || X'FF' AS TEXT)",
    "JSON": "SELECT json('{content}')",
    "a path": "SELECT json_extract('{}', '{content}')",
    "a file": "ATTACH '/no such folder/{content}' AS other",
    "a collation": "SELECT 1 ORDER BY '' COLLATE {content}",
}

# Values that a driver cannot send, each holding what must not be told.
_VALUES = {
    "a lone surrogate": lambda content: f"{content}\ud800",
    "an object": lambda content: {content},
    "a type of its own": lambda content: type("Own", (), {"__repr__": lambda _: content})(),
}
POSTGRESQL_VALUES = _VALUES | {"NUL": lambda content: f"{content}\0"}
SQLITE_VALUES = _VALUES

# Rows that something else has written to, so that they cannot be read.
_UNREADABLE = {
    "content that is no JSON": "UPDATE session_messages SET content = '{{content}'",
    "metadata that is no JSON": "UPDATE session_messages SET metadata = '{{content}'",
    "metadata that is a list": """UPDATE sessions SET metadata = '["{content}"]'""",
    "a role of two words": "UPDATE session_messages SET role = '{content} {content}'",
    "a format of two words": "UPDATE session_messages SET format = '{content} {content}'",
    "an id that is none": "UPDATE token_usage SET message_id = '{content}'",
}
POSTGRESQL_UNREADABLE = _UNREADABLE | {
    "a time that is none": "UPDATE sessions SET created_at = '-infinity', title = '{content}'",
}


def _not_checked(column: str, value: str) -> str:
    table, _, name = column.partition(".")
    where = " WHERE sequence = 1" if table == "session_messages" else ""
    return f"PRAGMA ignore_check_constraints = ON; UPDATE {table} SET {name} = {value}{where}"


SQLITE_UNREADABLE = (
    _UNREADABLE
    | {
        f"a {name} that is a word": _not_checked(name, "'{content}'")
        for name in (
            "sessions.created_at", "sessions.archived_at", "sessions.last_sequence", "sessions.input_tokens",
            "sessions.cost", "sessions.version", "session_messages.created_at", "session_messages.sequence",
            "token_usage.recorded_at", "token_usage.input_tokens", "token_usage.cost",
        )
    }
    | {
        f"a {name} that is no UTF-8": _not_checked(name, "CAST('{content}' || X'FF' AS TEXT)")
        for name in ("sessions.title", "sessions.created_at", "session_messages.content", "token_usage.model")
    }
)  # fmt: skip

# The states of `in_state` in which every call fails.
POSTGRESQL_STATES = (
    "that is locked",
    "that cannot be reached",
    "that is read-only",
    "without a database of the name",
    "that does not know the user",
    "where the user has no rights",
)
SQLITE_STATES = (
    "that is locked",
    "that cannot be reached",
    "that is not there",
    "that is read-only",
    "that is no database",
    "that is a folder",
    "that is full",
)
