"""LangGraph's savers: a checkpoint of a thread whose channel `messages` has grown by what is appended."""

import sqlite3
from types import SimpleNamespace
from typing import ClassVar

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import create_checkpoint, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from peer import Peer
from psycopg import Connection
from psycopg.rows import dict_row


class Saver(Peer):
    packages = ("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres")
    missing: ClassVar = {"W5": "it lists checkpoints; no call lists threads"}
    faster: ClassVar = {
        "W1": "to a thread of a few messages it writes one row with all of them; it grows with the thread (W4)",
        "W4": "to a thread of a few messages it writes one row with all of them; it grows with the thread",
        "W2": "a hundred messages are one value: it writes one row for each state, however many messages are in it",
    }
    notes = (
        "Each append stores every message of the thread again (its default channel).",
        "W1 to W4 hold the last checkpoint in memory; W6 reads it first, as a graph does at each call.",
    )

    def open(self, target, make):
        if target.startswith("postgresql"):
            self.saver = PostgresSaver(Connection.connect(target, autocommit=True, row_factory=dict_row))
        else:
            self.saver = SqliteSaver(sqlite3.connect(target, check_same_thread=False))
        if make:
            self.saver.setup()

    def session(self, name, make):
        config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
        session = SimpleNamespace(config=config, name=name, checkpoint=empty_checkpoint(), messages=[], step=0)
        if not make:
            self.read(session)
        return session

    def read(self, session):
        found = self.saver.get_tuple({"configurable": {"thread_id": session.name, "checkpoint_ns": ""}})
        if found:
            session.config, session.checkpoint = found.config, found.checkpoint
            session.messages, session.step = found.checkpoint["channel_values"]["messages"], found.metadata["step"] + 1

    def append(self, session, text):
        self.append_many(session, [text])

    def append_many(self, session, texts):
        checkpoint = create_checkpoint(session.checkpoint, None, session.step)
        messages = [*session.messages, *(HumanMessage(text) for text in texts)]
        version = self.saver.get_next_version(checkpoint["channel_versions"].get("messages"), None)
        checkpoint["channel_values"] = {"messages": messages}
        checkpoint["channel_versions"] = {"messages": version}
        metadata = {"source": "loop", "step": session.step}
        session.config = self.saver.put(session.config, checkpoint, metadata, {"messages": version})
        session.checkpoint, session.messages, session.step = checkpoint, messages, session.step + 1

    def turn(self, session, text):
        self.read(session)
        self.append(session, text)

    def last(self, session, count):
        self.read(session)
        return [message.content for message in session.messages[-count:]]


PEERS = {"langgraph": Saver}
