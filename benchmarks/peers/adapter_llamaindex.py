"""LlamaIndex: `SQLAlchemyChatStore`, on aiosqlite and asyncpg."""

from typing import ClassVar

from llama_index.core.llms import ChatMessage
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from peer import Peer

KEYS = {"W5": "it gives all keys, without a page; there are no sessions"}


def chat(texts):
    return [ChatMessage(role="user", content=text) for text in texts]


class Core(Peer):
    packages = ("llama-index-core", "sqlalchemy", "aiosqlite", "asyncpg")
    missing = KEYS
    faster: ClassVar = {"W6": "its writers share nothing, so none waits for another"}
    notes = ("The last 50 are found by a count, which reads every id, and an offset.",)

    async def open(self, target, make):
        url = f"sqlite+aiosqlite:///{target}"
        if target.startswith("postgresql"):
            url = target.replace("postgresql://", "postgresql+asyncpg://")
        self.store = SQLAlchemyChatStore("chat", async_database_uri=url)
        if make:
            await self.store.count_messages("none")

    def session(self, name, make):  # noqa: ARG002 - a key is a session
        return name

    async def append(self, session, text):
        await self.store.add_message(session, chat([text])[0])

    async def turn(self, session, text):
        await self.append(session, text)

    async def append_many(self, session, texts):
        await self.store.add_messages(session, chat(texts))

    async def fill(self, session, texts):
        for at in range(0, len(texts), 1000):
            await self.append_many(session, texts[at : at + 1000])

    async def last(self, session, count):
        before = max(0, await self.store.count_messages(session) - count)
        return [each.content for each in await self.store.get_messages(session, limit=count, offset=before)]

    async def everything(self, session):
        return [each.content for each in await self.store.get_messages(session)]


PEERS = {"llamaindex-core": Core}
