"""Strands: `FileSessionManager`, a file for each message."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from peer import Peer
from strands.session.file_session_manager import FileSessionManager
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType

AGENT = "agent"
SOFT = "it forces nothing to the disk: a power cut loses what was acknowledged"


class Files(Peer):
    packages = ("strands-agents",)
    missing: ClassVar = {"W5": "no call lists its sessions"}
    faster: ClassVar = {"W1": SOFT, "W4": SOFT, "W6": SOFT}
    notes = (
        "Files, not SQLite, and never fsync: not durable.",
        "No call takes a batch: W2 is a hundred calls.",
        "As in its session manager, each writer counts the messages' places by itself.",
    )

    def open(self, target, make):  # noqa: ARG002 - it makes the folders that are missing
        self.files = FileSessionManager("main", storage_dir=target)

    def session(self, name, make):
        if make:
            self.files.create_session(Session(session_id=name, session_type=SessionType.AGENT))
            agent = SessionAgent(agent_id=AGENT, state={}, conversation_manager_state={})
            self.files.create_agent(name, agent)
        return SimpleNamespace(name=name, next=0 if make else len(self.files.list_messages(name, AGENT)))

    def append(self, session, text):
        message = {"role": "user", "content": [{"text": text}]}
        session.next += 1
        self.files.create_message(session.name, AGENT, SessionMessage.from_message(message, session.next - 1))

    def append_many(self, session, texts):
        for text in texts:
            self.append(session, text)

    def fill(self, session, texts):
        self.append(session, texts[0])  # the rest as copies of its file: a call each would take minutes
        first = next(Path(self.files.storage_dir).glob(f"*{session.name}/**/message_0.json"))
        row = json.loads(first.read_text())
        for number, text in enumerate(texts[1:], 1):
            row |= {"message_id": number, "message": {"role": "user", "content": [{"text": text}]}}
            first.with_name(f"message_{number}.json").write_text(json.dumps(row, indent=2))
        session.next = len(texts)

    def last(self, session, count):
        found = self.files.list_messages(session.name, AGENT, limit=count, offset=max(0, session.next - count))
        return [each.message["content"][0]["text"] for each in found]

    def everything(self, session):
        return [each.message["content"][0]["text"] for each in self.files.list_messages(session.name, AGENT)]


PEERS = {"strands": Files}
