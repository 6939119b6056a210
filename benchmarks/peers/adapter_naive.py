"""The control of W6: what is written by hand in a hurry. MAX()+1 in Python, no unique index, no lock.

It must show doubled positions; a counting that finds none here proves nothing about the others.
"""

import sqlite3
from typing import ClassVar

import psycopg
from peer import Peer

TABLE = "CREATE TABLE messages (session text, position bigint, content text)"
INDEX = "CREATE INDEX by_position ON messages (session, position)"


class Naive(Peer):
    notes = ("The control: MAX()+1, no unique index. W6 must find doubled positions.",)
    missing: ClassVar = {"W5": "it has no sessions"}

    def open(self, target, make):
        if target.startswith("postgresql"):
            self.mark, self.connection = "%s", psycopg.connect(target)
        else:
            self.mark, self.connection = "?", sqlite3.connect(target)
        if make:
            self.connection.execute(TABLE)
            self.connection.execute(INDEX)
            self.connection.commit()

    def session(self, name, make):  # noqa: ARG002 - a name is a session
        return name

    def append(self, session, text):
        self.append_many(session, [text])

    def append_many(self, session, texts):
        place = f"SELECT coalesce(max(position), 0) FROM messages WHERE session = {self.mark}"
        first = self.connection.execute(place, (session,)).fetchone()[0] + 1
        rows = [(session, position, text) for position, text in enumerate(texts, first)]
        insert = f"INSERT INTO messages VALUES ({self.mark}, {self.mark}, {self.mark})"
        self.connection.cursor().executemany(insert, rows)
        self.connection.commit()

    def rows(self, session, count):
        query = (
            f"SELECT position, content FROM messages WHERE session = {self.mark} ORDER BY position DESC LIMIT {count}"
        )
        rows = self.connection.execute(query, (session,)).fetchall()
        self.connection.commit()
        return rows[::-1]

    def last(self, session, count):
        return [content for _, content in self.rows(session, count)]

    def positions(self, session):
        return [position for position, _ in self.rows(session, 1_000_000)]


PEERS = {"naive": Naive}
