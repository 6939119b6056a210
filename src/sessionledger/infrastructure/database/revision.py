"""The schema's revision: which one this release works with, and which one a database has.

Every process asks, few upgrade: so Alembic is not imported here but in `schema.py`.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from sessionledger.domain.errors import SchemaRevisionError
from sessionledger.infrastructure.database.drivers import HeldConnection

REVISIONS = (
    "b1_001_resource_registry",
    "a7_001_session_persistence",
    "a7_002_session_details",
    "a7_003_message_format",
    "a7_004_token_usage",
    "a7_005_listing_indexes",
    "a7_006_compatible_revisions",
    "a7_007_imports",
    "a7_008_storage_of_sessions",
)
"""Every revision of this release, oldest first; a test compares it with the migrations."""

EXPECTED = REVISIONS[-1]

# Not Alembic's default `alembic_version`: an application may keep its own migrations in the same database.
VERSION_TABLE = "sessionledger_revision"

COMPATIBLE_TABLE = "sessionledger_compatible_revisions"
"""Which revisions' releases may work with the database, by the word of the migrations that made it what it is."""

_FOUND = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - a name of our own


def found(connection: Connection) -> str | None:
    """The revision the database is at; `None` if it has no tables of ours.

    Raises:
        SchemaRevisionError: It has tables with our names that we did not make.
    """
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        revision: str | None = connection.execute(text(_FOUND)).scalar_one_or_none()
        if revision is not None:
            return revision
    if tables & {"sessions", "session_messages", "resources", "token_usage"}:
        raise SchemaRevisionError(
            "unknown", EXPECTED, "It has tables of these names that are not ours; use another one"
        )
    return None


def upgradable(connection: Connection) -> str | None:
    """The revision the database is at, if this release can upgrade it.

    Raises:
        SchemaRevisionError: It is newer than this release, or not ours.
    """
    revision = found(connection)
    if revision is not None and revision not in REVISIONS:
        raise _newer(revision)
    return revision


def verify(held: HeldConnection) -> None:
    """Change nothing, and raise unless this release works with the database.

    It does at the revision it expects, and at a newer one whose migrations have recorded that it does.

    Args:
        held: In no transaction: a statement that fails would end it.

    Raises:
        SchemaRevisionError: It is older, newer, empty or not ours; the text says what to do.
    """
    if _is_expected(held):
        return
    connection = held.connection
    revision = found(connection)
    if revision == EXPECTED:
        return
    if revision is not None and revision not in REVISIONS:
        if _compatible(connection):
            return
        raise _newer(revision)
    raise SchemaRevisionError(revision, EXPECTED)


def _is_expected(held: HeldConnection) -> bool:
    """Whether the database is at the revision of this release, as nearly every one is.

    One statement. To ask for the names of all tables first, and to compile that, took a process's first `connect` 5 ms
    more (SQLite, measured).
    """
    try:
        return held.rows(_FOUND, ()) == [(EXPECTED,)]
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False  # most likely there is no such table; `found` tells


def _compatible(connection: Connection) -> bool:
    if not inspect(connection).has_table(COMPATIBLE_TABLE):
        return False
    query = text(f"SELECT 1 FROM {COMPATIBLE_TABLE} WHERE revision = :expected")  # noqa: S608 - a name of our own
    return connection.execute(query, {"expected": EXPECTED}).first() is not None


def _newer(revision: str) -> SchemaRevisionError:
    return SchemaRevisionError(revision, EXPECTED, "It is newer; run: pip install --upgrade sessionledger")
