"""sessionledger itself, this checkout, for callers that block."""

import contextlib

from adapter_floor import floor_of, load_sessions
from peer import PAGE, Peer

import sessionledger
import sessionledger.application.services  # or every writer of W6 would import it anew
from sessionledger.infrastructure.database import Database, schema


class Blocking(Peer):
    packages = ("sessionledger", "sqlalchemy", "psycopg")

    def open(self, target, make):
        url = target if target.startswith("postgresql") else f"sqlite:///{target}"
        if make:
            with contextlib.closing(Database(url)) as database:
                schema.upgrade(database)
        self.cursors, self.target = {}, target
        return self.connect(url)

    def connect(self, url):
        self.sessions = sessionledger.connect(url)

    def session(self, name, make):
        return self.sessions.get_or_create(name).session_id if make else self.sessions.find(name).session_id

    def append(self, session, text):
        self.sessions.append_message(session, "user", text)

    def append_many(self, session, texts):
        self.sessions.append_messages(session, [{"role": "user", "content": text} for text in texts])

    def fill(self, session, texts):
        for at in range(0, len(texts), 1000):
            self.append_many(session, texts[at : at + 1000])

    def last(self, session, count):
        return [message.content for message in self.sessions.get_messages(session, last=count)]

    def positions(self, session):
        return [message.sequence for message in self.sessions.get_messages(session)]

    def add_sessions(self, count):
        load_sessions(floor_of(self.target), count)

    def page(self, number):
        if number not in self.cursors:  # only the first time: found page by page
            cursor = None
            for _ in range(number):
                cursor = self.sessions.list(limit=PAGE, cursor=cursor).next_cursor
            self.cursors[number] = cursor
        return len(self.sessions.list(limit=PAGE, cursor=self.cursors[number]).sessions)

    def close(self):
        self.sessions.close()


PEERS = {"sessionledger": Blocking}
