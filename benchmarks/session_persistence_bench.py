"""ASV suites over the public service, on real databases: `asv run --python=same --quick` sees that each one runs.

Times of a shared machine say little; `floor.py` gives ratios to hand-written SQL, which say more.
"""

from __future__ import annotations

import atexit
import functools
import io
import random
import sys
from pathlib import Path
from typing import ClassVar

import sessionledger
from sessionledger.application.services import PersistentSessionService
from sessionledger.infrastructure.database import Database

sys.path.append(str(Path(__file__).parent))
import real_databases

SESSIONS = 1_000
MESSAGES = 1_000

atexit.register(real_databases.stop)


def words(source: random.Random, length: int) -> str:
    """A text of about `length` characters that is the same in every run."""
    return " ".join(f"word{source.randrange(1000)}" for _ in range(length // 8))


def messages(count: int, seed: int) -> list[dict[str, object]]:
    """Messages of about a kilobyte each."""
    source = random.Random(seed)
    return [{"role": "user" if at % 2 else "assistant", "content": words(source, 1000)} for at in range(count)]


class Ledger:
    """A service with sessions to list, and one session with messages to read."""

    def __init__(self, kind: str) -> None:
        url = real_databases.url_of(kind)
        self.sessions = sessionledger.connect(url)
        database = Database(url)
        with database.engine.begin() as connection:  # one commit, not a thousand
            filling = PersistentSessionService(Database.joined(connection))
            for at in range(SESSIONS):
                self.last = filling.create(actor_name=f"actor-{at % 10}", title=f"Session {at}", metadata={"at": at})
        database.close()
        self.long = self.sessions.create(actor_name="reader").session_id
        self.sessions.append_messages(self.long, messages(MESSAGES, seed=1))
        self.growing = self.sessions.create(actor_name="writer").session_id
        archive = io.BytesIO()
        self.sessions.export_session(self.long, archive)
        self.archive = archive.getvalue()


ledger = functools.cache(Ledger)


class SessionSuite:
    """Sessions: make one, get one, list a page."""

    params: ClassVar = real_databases.DATABASES
    param_names: ClassVar = ["database"]
    timeout = 120

    def setup(self, database: str) -> None:
        """Fill the database, the first time."""
        self.ledger = ledger(database)
        self.sessions = self.ledger.sessions

    def time_create(self, _: str) -> None:
        self.sessions.create(actor_name="support-bot", title="A parcel", metadata={"channel": "mail"})

    def time_get(self, _: str) -> None:
        self.sessions.get(self.ledger.last.session_id)

    def time_list_50(self, _: str) -> None:
        self.sessions.list(limit=50)

    def time_list_50_of_an_actor(self, _: str) -> None:
        self.sessions.list(actor_name="actor-7", limit=50)


class MessageSuite:
    """Messages: append, read, add usage, export, import."""

    params: ClassVar = real_databases.DATABASES
    param_names: ClassVar = ["database"]
    timeout = 120

    def setup(self, database: str) -> None:
        """Fill the database, the first time."""
        self.ledger = ledger(database)
        self.sessions = self.ledger.sessions
        self.batch = messages(100, seed=2)
        self.one = self.batch[0]["content"]

    def time_append_one(self, _: str) -> None:
        self.sessions.append_message(self.ledger.growing, "user", self.one)

    def time_append_batch_of_100(self, _: str) -> None:
        self.sessions.append_messages(self.ledger.growing, self.batch)

    def time_append_one_with_usage(self, _: str) -> None:
        usage = {"input_tokens": 120, "output_tokens": 30}
        self.sessions.append_message(self.ledger.growing, "assistant", self.one, usage=usage, model="any-model")

    def time_read_last_50(self, _: str) -> None:
        self.sessions.get_messages(self.ledger.long, last=50)

    def time_update_token_usage(self, _: str) -> None:
        self.sessions.update_token_usage(self.ledger.growing, input_tokens=120, output_tokens=30)

    def time_export_1000_messages(self, _: str) -> None:
        self.sessions.export_session(self.ledger.long, io.BytesIO())

    def time_import_1000_messages(self, _: str) -> None:
        self.sessions.import_session(io.BytesIO(self.ledger.archive), as_copy=True)
