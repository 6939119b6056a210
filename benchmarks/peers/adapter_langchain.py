"""langchain-postgres: `PostgresChatMessageHistory` on an autocommitting connection."""

import uuid
from typing import ClassVar

import psycopg
from langchain_core.messages import HumanMessage
from langchain_postgres import PostgresChatMessageHistory
from peer import Peer

TABLE = "chat_history"
LEAN = "it inserts a row and nothing else: no session, no place in it, no hash, no key that a replay would meet"


class History(Peer):
    packages = ("langchain-postgres", "langchain-core", "psycopg")
    missing: ClassVar = {"W5": "it has no sessions: a session is an id in its rows"}
    faster: ClassVar = {
        "W1": LEAN,
        "W2": LEAN,
        "W4": LEAN,
        "W6": "its writers share nothing, so none waits for another",
    }
    notes = ("It reads a whole history; the last 50 are cut from it.",)

    def open(self, target, make):
        # Without autocommit each read would leave a transaction open.
        self.connection = psycopg.connect(target, autocommit=True)
        if make:
            PostgresChatMessageHistory.create_tables(self.connection, TABLE)

    def session(self, name, make):  # noqa: ARG002 - it is made by its first message
        session_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        return PostgresChatMessageHistory(TABLE, session_id, sync_connection=self.connection)

    def append(self, session, text):
        session.add_messages([HumanMessage(text)])

    def append_many(self, session, texts):
        session.add_messages([HumanMessage(text) for text in texts])

    def last(self, session, count):
        return [message.content for message in session.get_messages()[-count:]]

    def close(self):
        self.connection.close()


PEERS = {"langchain-postgres": History}
