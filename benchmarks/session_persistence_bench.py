"""ASV suites over the public service, on real databases, for comparing one revision with another on one machine.

    python benchmarks/real_databases.py -- asv run --python=same --launch-method=forkserver --quick

sees that each one runs; without the first half every benchmark starts a server of its own. Times of a shared machine
say little: `run.py` gives ratios to the same work by hand, which say more.
"""

from __future__ import annotations

import asyncio
import atexit
import io
from contextlib import ExitStack
from datetime import timedelta
from typing import ClassVar

import real_databases
import sessionledger
from calls import rows_of, session_row
from floor import BATCH, FLOORS, MODEL, PAGE, START, TEXT, USAGE
from transfers import filled

SESSIONS = 5_000
ACTORS = 10
PAGES = 50
MESSAGES = 1_000

atexit.register(real_databases.stop)


class Suite:
    """A database of each kind, and what is open on it."""

    params: ClassVar = real_databases.DATABASES
    param_names: ClassVar = ["database"]
    timeout = 120

    def setup(self, database: str, *_: object) -> None:
        """Open an empty database."""
        self.closing = ExitStack()
        self.url = real_databases.fresh(database)
        self.sessions = self.closing.enter_context(sessionledger.connect(self.url))
        self.runner = self.closing.enter_context(asyncio.Runner())
        self.floor = FLOORS[database](self.url)
        self.closing.callback(self.floor.close)
        self.session_id = self.sessions.create(actor_name="writer").session_id

    def teardown(self, *_: object) -> None:
        """Close all of it."""
        self.closing.close()


class Awaiting(Suite):
    """A suite whose calls are awaited."""

    def setup(self, database: str, *_: object) -> None:
        """Open an empty database."""
        super().setup(database)
        self.awaiting = self.runner.run(sessionledger.connect_async(self.url))
        self.closing.callback(lambda: self.runner.run(self.awaiting.close()))


class SessionSuite(Suite):
    """Sessions: make one, get one, add usage."""

    def time_create(self, _: str) -> None:
        self.sessions.create(actor_name="support-bot", title="A parcel", metadata={"channel": "mail"})

    def time_get(self, _: str) -> None:
        self.sessions.get(self.session_id)

    def time_update_token_usage(self, _: str) -> None:
        self.sessions.update_token_usage(self.session_id, **USAGE)


class AppendSuite(Suite):
    """W1 and W2: append one, and a hundred."""

    def time_append_one(self, _: str) -> None:
        self.sessions.append_message(self.session_id, "user", TEXT)

    def time_append_one_with_usage(self, _: str) -> None:
        self.sessions.append_message(self.session_id, "assistant", TEXT, usage=USAGE, model=MODEL)

    def time_append_batch_of_100(self, _: str) -> None:
        self.sessions.append_messages(self.session_id, BATCH)


class AwaitingAppendSuite(Awaiting):
    """W1 for callers that await: one after the other, and by a hundred tasks."""

    def time_append_100_in_turn(self, _: str) -> None:
        async def append() -> None:
            for _ in range(100):
                await self.awaiting.append_message(self.session_id, "user", TEXT)

        self.runner.run(append())

    def time_append_100_by_tasks(self, _: str) -> None:
        async def append() -> None:
            await asyncio.gather(*(self.awaiting.append_message(self.session_id, "user", TEXT) for _ in range(100)))

        self.runner.run(append())


class LengthSuite(Suite):
    """W3 and W4: read the last fifty, and append, as the session grows."""

    params: ClassVar = (real_databases.DATABASES, (10, 1_000, 10_000))
    param_names: ClassVar = ["database", "messages"]

    def setup(self, database: str, length: int) -> None:
        """Load a session of a length."""
        super().setup(database)
        self.long = sessionledger.new_id()
        self.floor.load(*rows_of(self.floor, self.long, length))
        self.floor.settle()

    def time_append_one(self, *_: object) -> None:
        self.sessions.append_message(self.long, "user", TEXT)

    def time_read_last_50(self, *_: object) -> None:
        self.sessions.get_messages(self.long, last=PAGE)


class ListSuite(Awaiting):
    """W5: list fifty sessions of many."""

    def setup(self, database: str) -> None:
        """Load the sessions, and go far back."""
        super().setup(database)
        rows = (
            session_row(sessionledger.new_id(), 0, START + timedelta(seconds=at), actor=f"actor-{at % ACTORS}")
            for at in range(SESSIONS)
        )
        self.floor.load(rows, [])
        self.floor.settle()
        self.cursor = None
        for _ in range(PAGES - 1):
            self.cursor = self.sessions.list(limit=PAGE, cursor=self.cursor).next_cursor

    def time_first_page(self, _: str) -> None:
        self.sessions.list(limit=PAGE)

    def time_first_page_async(self, _: str) -> None:
        self.runner.run(self.awaiting.list(limit=PAGE))

    def time_page_50(self, _: str) -> None:
        self.sessions.list(limit=PAGE, cursor=self.cursor)

    def time_of_an_actor(self, _: str) -> None:
        self.sessions.list(actor_name="actor-7", limit=PAGE)


class TransferSuite(Suite):
    """W7: export and import a thousand messages."""

    def setup(self, database: str) -> None:
        """Make a session, and an archive of it."""
        super().setup(database)
        self.long = filled(self.sessions, MESSAGES)
        archive = io.BytesIO()
        self.sessions.export_session(self.long, archive)
        self.archive = archive.getvalue()

    def time_export_1000_messages(self, _: str) -> None:
        self.sessions.export_session(self.long, io.BytesIO())

    def time_import_1000_messages(self, _: str) -> None:
        self.sessions.import_session(io.BytesIO(self.archive), as_copy=True)


class StartSuite(Suite):
    """W8: what a fresh process takes until it has a connected service."""

    number = 1

    def timeraw_connect(self, _: str) -> str:
        return f"import sessionledger; sessionledger.connect({self.url!r})"


def timeraw_import() -> str:
    return "import sessionledger"
