"""What a scenario may use: a fresh database, services on it in the mode of the run, and what the database itself says.

Steps are written once. What awaits they see through `Blocking`, on one event loop a scenario.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine, create_engine, orm
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import sessionledger
from databases import Kinds, PostgreSQL, Row, SQLite
from sessionledger.application.services import AsyncPersistentSessionService, PersistentSessionService
from sessionledger.infrastructure.database import Database
from sessionledger.infrastructure.database.aio import AsyncDatabase

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method's name, its arguments, its named arguments."""


class Blocking:
    """What awaits, seen as something that blocks."""

    def __init__(self, awaiting: Any, runner: asyncio.Runner) -> None:
        self.awaiting = awaiting
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.awaiting, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            async def awaited() -> Any:
                result = found(*arguments, **named)
                return await result if inspect.isawaitable(result) else result

            return self._runner.run(awaited())

        return call


class World:
    """What a scenario may use: its database, services on it, and what the database itself says."""

    def __init__(self, kinds: Kinds, name: str) -> None:
        self._kinds = kinds
        self.kind = kinds[name]
        self.stack = contextlib.ExitStack()
        self._url: str | None = None
        self.statements: list[str] = []
        """Every SQL statement that went through SQLAlchemy since the last attempt began."""
        self.before: dict[str, list[Row]] = {}
        """What the database held before the last attempt."""
        self._result: Any = None
        self._error: Exception | None = None

    mode = "sync"

    @property
    def url(self) -> str:
        """The scenario's database, upgraded to the newest revision."""
        if self._url is None:
            self._url = self.fresh()
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        self._url = url

    def fresh(self) -> str:
        """One more database at the newest revision."""
        return self._owned(self.kind, self.kind.fresh())

    def empty(self) -> str:
        """One more database, without tables."""
        return self._owned(self.kind, self.kind.empty())

    def elsewhere(self) -> str:
        """A fresh database of the other kind."""
        kind = self._kinds["postgresql" if self.kind.name == "sqlite" else "sqlite"]
        return self._owned(kind, kind.fresh())

    def _owned(self, kind: SQLite | PostgreSQL, url: str) -> str:
        self.stack.callback(kind.remove, url)
        return url

    def contents(self, url: str | None = None) -> dict[str, list[Row]]:
        """Every row of every table, as the database itself tells them."""
        with self.kind.asked(url or self.url) as ask:
            names = sorted(row["name"] for row in ask(self.kind.tables))
            return {name: sorted(ask(f'SELECT * FROM "{name}"'), key=repr) for name in names}

    def attempt(self, call: Callable[[], Any], *, usable: bool = True) -> None:
        """Make a call, and keep what it gives or raises for the next step to judge."""
        self.before = self.contents() if usable else {}
        self.statements.clear()
        self._result = self._error = None
        try:
            self._result = call()
        except Exception as error:  # noqa: BLE001 - the scenario judges it
            self._error = error

    @property
    def result(self) -> Any:
        """What the last attempt gave; what it raised is raised."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._result

    @property
    def succeeded(self) -> bool:
        """Whether the last attempt gave something."""
        return self._error is None

    def refusal(self, kind: type[Exception]) -> Exception:
        """The error of the last attempt, which has to be of this kind."""
        error, self._error = self._error, None
        assert isinstance(error, kind), f"expected {kind.__name__}, got {error!r} (result {self._result!r:.200})"
        return error

    @functools.cached_property
    def service(self) -> Any:
        """The service on the scenario's database, in the namespace `default`."""
        return self.connect()

    def connect(self, url: str | None = None, **options: Any) -> Any:
        """A service, closed with the scenario."""
        return self.stack.enter_context(sessionledger.connect(url or self.url, **options))

    def database(self, source: str | Engine | None = None, **options: Any) -> Any:
        """`Database` or its twin on a URL or an engine, closed with the scenario."""
        return self.stack.enter_context(contextlib.closing(Database(source or self.url, **options)))

    def own_engine(self, **options: Any) -> Any:
        """An engine as an application makes it, without our help."""
        engine = create_engine(self.url, **options)
        self.stack.callback(engine.dispose)
        return engine

    def service_of(self, database: Any, namespace: str = "default") -> Any:
        return PersistentSessionService(database, namespace=namespace)

    def engine_of(self, database: Any) -> Engine:
        return database.engine

    @contextlib.contextmanager
    def taken_connection(self, database: Any) -> Iterator[None]:
        """Somebody else's use of one of the pool's connections."""
        with self.engine_of(database).connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            yield

    def on_connection(self, database: Any, work: Callable[[Any], Any]) -> Any:
        """Run a function of one of the pool's connections, and give that back."""
        with self.engine_of(database).connect() as connection:
            return work(connection)

    def orm(self, database: Any, work: Callable[[orm.Session], Any]) -> Any:
        """Run a function of SQLAlchemy's session in a transaction of its own."""
        with orm.Session(database.engine) as session, session.begin():
            return work(session)

    @contextlib.contextmanager
    def callers_transaction(self, engine: Any, through: str) -> Iterator[tuple[Any, Any]]:
        """A transaction of the caller's own: a service that joins it, and itself."""
        opened = engine.connect() if through == "connection" else orm.Session(engine)
        with opened as transaction:
            yield PersistentSessionService(Database.joined(transaction), namespace="default"), transaction

    def connect_at_once(self, count: int) -> list[Any]:
        """So many services, all connecting at the same time, closed with the scenario."""
        url = self.url
        with ThreadPoolExecutor(count) as pool:
            services = list(pool.map(lambda _: sessionledger.connect(url), range(count)))
        return [self.stack.enter_context(service) for service in services]

    def at_once(self, service: Any, writers: list[list[Call]]) -> list[list[Any]]:
        """Let writers call a service at the same time, each in a thread; return what each call gave or raised."""

        def write(calls: list[Call]) -> list[Any]:
            outcomes = []
            for name, arguments, named in calls:
                try:
                    outcomes.append(getattr(service, name)(*arguments, **named))
                except Exception as error:  # noqa: BLE001 - the scenario judges it
                    outcomes.append(error)
            return outcomes

        with ThreadPoolExecutor(len(writers)) as pool:
            return list(pool.map(write, writers))


class AsyncWorld(World):
    """The same, with the async twins, on an event loop of the scenario's own."""

    mode = "async"

    def __init__(self, kinds: Kinds, name: str) -> None:
        super().__init__(kinds, name)
        self._runner = self.stack.enter_context(asyncio.Runner())

    def run(self, awaitable: Any) -> Any:
        """Await something on the scenario's event loop."""
        return self._runner.run(awaitable)

    def _closed_with_scenario(self, awaiting: Any) -> Blocking:
        blocking = Blocking(awaiting, self._runner)
        self.stack.callback(blocking.close)
        return blocking

    def connect(self, url: str | None = None, **options: Any) -> Any:
        opened = sessionledger.connect_async(url or self.url, **options)
        return self._closed_with_scenario(self._runner.run(opened))

    def database(self, source: str | Any = None, **options: Any) -> Any:
        return self._closed_with_scenario(AsyncDatabase(source or self.url, **options))

    def own_engine(self, **options: Any) -> Any:
        engine = create_async_engine(make_url(self.url).set(drivername=self.kind.async_driver), **options)
        self.stack.callback(lambda: self._runner.run(engine.dispose()))
        return engine

    def service_of(self, database: Any, namespace: str = "default") -> Any:
        return Blocking(AsyncPersistentSessionService(database.awaiting, namespace=namespace), self._runner)

    def engine_of(self, database: Any) -> Engine:
        return database.sync_engine

    @contextlib.contextmanager
    def taken_connection(self, database: Any) -> Iterator[None]:
        if not database.sync_engine.dialect.is_async:  # threads serve it
            with super().taken_connection(database):
                yield
            return
        connection = self._runner.run(_entered(database.engine.connect()))
        try:
            self._runner.run(connection.exec_driver_sql("SELECT 1"))
            yield
        finally:
            self._runner.run(connection.close())

    def on_connection(self, database: Any, work: Callable[[Any], Any]) -> Any:
        if not database.sync_engine.dialect.is_async:
            return super().on_connection(database, work)

        async def run() -> Any:
            async with database.engine.connect() as connection:
                return await connection.run_sync(work)

        return self._runner.run(run())

    def orm(self, database: Any, work: Callable[[orm.Session], Any]) -> Any:
        async def run() -> Any:
            async with AsyncSession(database.engine) as session, session.begin():
                return await session.run_sync(work)

        return self._runner.run(run())

    @contextlib.contextmanager
    def callers_transaction(self, engine: Any, through: str) -> Iterator[tuple[Any, Any]]:
        opened = engine.connect() if through == "connection" else AsyncSession(engine)
        transaction = self._runner.run(_entered(opened))
        try:
            joined = self._runner.run(AsyncDatabase.joined(transaction))
            yield (
                Blocking(AsyncPersistentSessionService(joined, namespace="default"), self._runner),
                Blocking(transaction, self._runner),
            )
        finally:
            self._runner.run(transaction.close())

    def connect_at_once(self, count: int) -> list[Any]:
        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(sessionledger.connect_async(self.url) for _ in range(count)))

        return [self._closed_with_scenario(service) for service in self._runner.run(all_of_them())]

    def at_once(self, service: Any, writers: list[list[Call]]) -> list[list[Any]]:
        async def write(calls: list[Call]) -> list[Any]:
            outcomes = []
            for name, arguments, named in calls:
                try:
                    outcomes.append(await getattr(service.awaiting, name)(*arguments, **named))
                except Exception as error:  # noqa: BLE001 - the scenario judges it
                    outcomes.append(error)
            return outcomes

        async def all_of_them() -> list[list[Any]]:
            return await asyncio.gather(*map(write, writers))

        return self._runner.run(all_of_them())


async def _entered(opened: Any) -> Any:
    return await opened.__aenter__()
