"""From a URL to an engine, and from an engine to its dialect: the one place that asks for a database's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, exc, make_url

from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.infrastructure.database.dialects.dialect import Dialect
from sessionledger.infrastructure.database.dialects.postgresql import POSTGRESQL
from sessionledger.infrastructure.database.dialects.sqlite import SQLITE
from sessionledger.infrastructure.database.pool import FairPool

_DIALECTS = {"postgresql": POSTGRESQL, "sqlite": SQLITE}


def dialect_of(bind: Any) -> Dialect:
    """The dialect of an engine or a connection.

    Raises:
        InvalidInputError: sessionledger does not know this kind of database.
    """
    try:
        return _DIALECTS[bind.dialect.name]
    except KeyError:
        raise InvalidInputError("database", "must be SQLite or PostgreSQL") from None


def checked_url(url: str | URL, *, awaiting: bool = False) -> URL:
    """Read a database URL and choose the driver; `postgres://` is taken for `postgresql://`.

    Args:
        url: The URL.
        awaiting: Whether for callers that await.

    Raises:
        InvalidInputError: It is no URL, names another kind of database or driver, or holds a password where SQLAlchemy
            would print it: in its query, or behind an @ of its own.
    """
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if isinstance(url, str) else url)
    except (exc.ArgumentError, ValueError, AttributeError):
        raise InvalidInputError("url", "must be a database URL, such as sqlite:///agent.db") from None
    dialect = _DIALECTS.get(parsed.get_backend_name())
    if dialect is None or parsed.drivername not in dialect.drivers:
        raise InvalidInputError("url", "must start with sqlite: or postgresql: (the driver is psycopg 3)")
    if dialect.embedded and (parsed.host or parsed.username or parsed.password):
        raise InvalidInputError("url", "must name a file behind three slashes, such as sqlite:///agent.db")
    if not dialect.embedded and "@" in f"{parsed.host}{parsed.database}":
        # What is behind the first @ is taken for the host, and so for no secret: errors and engines would show it.
        raise InvalidInputError("url", "must have one @ only; write one in a password as %40")
    if any("password" in name.lower() for name in parsed.query):
        raise InvalidInputError("url", "must hold a password before the @, not in the query")
    return parsed.set(drivername=dialect.drivers[-1 if awaiting else 0])


def create(make: Callable[..., Any], url: URL, options: Mapping[str, Any]) -> Any:
    """Make an engine (with `create_engine` or `create_async_engine`) whose errors show no values.

    Raises:
        ImportError: The driver is not installed; the text names the extra to install.
    """
    dialect = _DIALECTS[url.get_backend_name()]
    awaiting = make is not sqlalchemy.create_engine
    options = dialect.engine_options(url, options, awaiting)
    if not options.keys() & {"poolclass", "pool"}:
        # The connection that was used last: in turn, as is usual, five servers' processes are each cold when their turn
        # comes, and an append or a read of one caller took half as long again (measured).
        options = {"pool_use_lifo": True, **options}
        if not awaiting and (dialect.file_of(url) is not None or not dialect.embedded):
            options["poolclass"] = FairPool
    try:
        return make(url, hide_parameters=True, **options)
    except ModuleNotFoundError as missing:
        extra = "async" if missing.name in {"aiosqlite", "greenlet"} else "postgres"
        raise ImportError(f"{missing.name} is not installed; run: pip install 'sessionledger[{extra}]'") from None


def prepare(engine: Engine) -> None:
    """Set up an engine that we made, so that its connections keep the promises."""
    dialect_of(engine).prepare(engine)


def create_file(engine: Engine) -> None:
    """Make the empty file of an embedded database, readable by its owner only, if it is missing.

    Raises:
        StorageError: It cannot be made.
    """
    path = dialect_of(engine).file_of(engine.url)
    if path is not None and not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StorageError(f"The database file {path} cannot be made; check its folder: {error.strerror}") from None


def served_by_threads(url: URL, options: Mapping[str, Any]) -> bool:
    """Whether a blocking engine can stand in for an awaiting one: for a file, unless an option may be of that kind."""
    if options.keys() & {"async_creator", "pool", "poolclass"}:
        return False
    return _DIALECTS[url.get_backend_name()].file_of(url) is not None
