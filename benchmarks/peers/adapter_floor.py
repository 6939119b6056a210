"""The floor: the same rows by hand with the raw driver (benchmarks/floor.py). It stands twice: once as the control."""

import contextlib
import json
import sys
from datetime import timedelta
from pathlib import Path

from peer import PAGE, Peer

import sessionledger
from sessionledger.infrastructure.database import Database, schema

sys.path.append(str(Path(__file__).parent.parent))
import floor
from floor import FLOORS, START


def load_sessions(loader, count):
    """Make sessions to be listed: a call each would take minutes."""
    new = sessionledger.new_id
    times = [START + timedelta(seconds=at) for at in range(count)]
    rows = (
        (new(), "default", f"actor-{at % 10}", "{}", 0, each, each, f"Session {at}") for at, each in enumerate(times)
    )
    loader.load(rows, [])


def floor_of(target):
    """The floor on a file, or on a server."""
    if target.startswith("postgresql"):
        return FLOORS["postgresql"](target)
    return FLOORS["sqlite"](f"sqlite:///{target}")


class Floor(Peer):
    packages = ("psycopg",)

    def open(self, target, make):
        if make:
            url = target if target.startswith("postgresql") else f"sqlite:///{target}"
            with contextlib.closing(Database(url)) as database:
                schema.upgrade(database)
        self.floor = floor_of(target)
        self.after = {0: None}

    def session(self, name, make):
        session_id = sessionledger.session_id_for("default", name)
        if make:
            self.floor.load([(session_id, "default", "writer", "{}", 0, START, START, name)], [])
        return session_id

    def append(self, session, text):
        self.floor.append(session, text)

    def append_many(self, session, texts):  # noqa: ARG002 - it has a hundred of its own, as long
        self.floor.append_batch(session)

    def fill(self, session, texts):
        rows = (self.floor.row(session, text) for text in texts)
        self.floor.load([], [(*row[:2], sequence, *row[2:]) for sequence, row in enumerate(rows, 1)])
        mark = "%s" if isinstance(self.floor, floor.PostgreSQLFloor) else "?"
        counter = f"UPDATE sessions SET last_sequence = {mark} WHERE session_id = {mark}"
        self.floor.connection.execute(counter, (len(texts), session))

    def last(self, session, count):  # noqa: ARG002 - always fifty
        return [row[4] for row in self.floor.read_last(session)]

    def column(self, name, session):
        query = f"SELECT {name} FROM session_messages WHERE session_id = '{session}' ORDER BY sequence"
        return [row[0] for row in self.floor.connection.execute(query)]

    def everything(self, session):
        return [json.loads(content) for content in self.column("content", session)]

    def positions(self, session):
        return self.column("sequence", session)

    def add_sessions(self, count):
        load_sessions(self.floor, count)

    def page(self, number):
        while number not in self.after:  # only the first time: found page by page
            row = self.floor.list(self.after[max(self.after)])[-1]
            self.after[max(self.after) + 1] = (row[7], row[0])
        rows = self.floor.list(self.after[number])
        assert len(rows) == PAGE
        return len(rows)


PEERS = {"floor": Floor, "floor-again": Floor}
