"""OpenAI Agents SDK: `SQLiteSession`, and `SQLAlchemySession` on aiosqlite and asyncpg, one engine for all sessions."""

from typing import ClassVar

from agents import SQLiteSession
from agents.extensions.memory import SQLAlchemySession
from peer import Peer
from sqlalchemy.ext.asyncio import create_async_engine

LISTING = {"W5": "its sessions are not listed by any call"}
LEAN = "it writes a row and its session's time: no place in the session, no hash, no key that a replay would meet"


def item(text):
    return {"role": "user", "content": text}


class OnSQLite(Peer):
    packages = ("openai-agents",)
    missing = LISTING
    faster: ClassVar = {"W1": LEAN, "W2": LEAN, "W3": "it gives back the parsed item and nothing else", "W4": LEAN}
    notes = ("Rows are ordered by a number that the whole table shares.",)

    def open(self, target, make):  # noqa: ARG002 - each session makes the tables that are missing
        self.target = target

    def session(self, name, make):  # noqa: ARG002 - as above
        return SQLiteSession(name, self.target)

    async def append(self, session, text):
        await session.add_items([item(text)])

    async def turn(self, session, text):
        await self.append(session, text)

    async def append_many(self, session, texts):
        await session.add_items([item(text) for text in texts])

    async def last(self, session, count):
        return [each["content"] for each in await session.get_items(limit=count)]

    async def everything(self, session):
        return [each["content"] for each in await session.get_items()]


class OnSQLAlchemy(OnSQLite):
    packages = ("openai-agents", "sqlalchemy", "aiosqlite", "asyncpg")
    notes = ("Rows are ordered by the second (SQLite) or the start of the transaction (PostgreSQL), then by id.",)

    async def open(self, target, make):
        url = f"sqlite+aiosqlite:///{target}"
        if target.startswith("postgresql"):
            url = target.replace("postgresql://", "postgresql+asyncpg://")
        self.engine = create_async_engine(url)
        if make:  # or the first of its calls would make them, one per session
            await SQLAlchemySession("tables", engine=self.engine, create_tables=True).get_items()

    def session(self, name, make):  # noqa: ARG002 - it is made by its first message
        return SQLAlchemySession(name, engine=self.engine)

    async def fill(self, session, texts):
        for at in range(0, len(texts), 1000):
            await self.append_many(session, texts[at : at + 1000])

    async def close(self):
        await self.engine.dispose()


PEERS = {"openai-sqlite": OnSQLite, "openai-sqlalchemy": OnSQLAlchemy}
