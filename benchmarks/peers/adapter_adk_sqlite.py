"""Google ADK: `SqliteSessionService`."""

import sqlite3

from adapter_adk import WHO, OnSQLAlchemy, event
from google.adk.sessions.sqlite_session_service import SqliteSessionService


class OnSQLite(OnSQLAlchemy):
    packages = ("google-adk", "aiosqlite")

    async def open(self, target, make):  # noqa: ARG002 - each call makes the tables that are missing
        self.service, self.target = SqliteSessionService(target), target

    def fill(self, session, texts):
        events = [event(text) for text in texts]
        rows = [(each.id, session.id, "i", each.timestamp, each.model_dump_json(exclude_none=True)) for each in events]
        with sqlite3.connect(self.target) as connection:
            connection.executemany("INSERT INTO events VALUES (?, 'app', 'user', ?, ?, ?, ?)", rows)

    async def add_sessions(self, count):
        await self.service.create_session(**WHO)
        with sqlite3.connect(self.target) as connection:
            rows = [(f"listed-{at}", at, at) for at in range(count)]
            connection.executemany("INSERT INTO sessions VALUES ('app', 'user', ?, '{}', ?, ?)", rows)


PEERS = {"adk-sqlite": OnSQLite}
