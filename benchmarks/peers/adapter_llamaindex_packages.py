"""LlamaIndex: the chat stores that are packages of their own, `SQLiteChatStore` and `PostgresChatStore`."""

from typing import ClassVar

from adapter_llamaindex import KEYS, chat
from llama_index.storage.chat_store.postgres import PostgresChatStore
from llama_index.storage.chat_store.sqlite import SQLiteChatStore
from peer import Peer


class Package(Peer):
    missing = KEYS
    notes = ("W2 sets the messages of a new key. It reads a whole key; the last 50 are cut from it.",)

    def session(self, name, make):  # noqa: ARG002 - a key is a session
        return name

    def append(self, session, text):
        self.store.add_message(session, chat([text])[0])

    def append_many(self, session, texts):
        self.store.set_messages(session, chat(texts))

    def last(self, session, count):
        return [each.content for each in self.store.get_messages(session)[-count:]]


class SQLite(Package):
    packages = ("llama-index-storage-chat-store-sqlite", "sqlalchemy")
    faster: ClassVar = {"W2": "it inserts rows and nothing else: no session, no place in it, no hash"}

    def open(self, target, make):  # noqa: ARG002 - it makes the table if it is missing
        self.store = SQLiteChatStore.from_params(target)


class Postgres(Package):
    packages = ("llama-index-storage-chat-store-postgres", "sqlalchemy", "psycopg")
    notes = (*Package.notes, "A key is one row with an array: each append writes all of it again.")
    faster: ClassVar = {"W2": "the hundred are one array in one row"}

    def open(self, target, make):  # noqa: ARG002 - it makes the table if it is missing
        url = target.replace("postgresql://", "postgresql+{}://")
        self.store = PostgresChatStore.from_params(
            connection_string=url.format("psycopg"), async_connection_string=url.format("asyncpg")
        )


PEERS = {"llamaindex-sqlite": SQLite, "llamaindex-postgres": Postgres}
