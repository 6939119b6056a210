"""Agno: `SqliteDb` and `PostgresDb`. A message is a run of one message, saved as `Agent.run` saves it."""

import time
import uuid
from typing import ClassVar

from agno.db.base import SessionType
from agno.db.postgres import PostgresDb
from agno.db.sqlite import SqliteDb
from agno.db.utils import build_single_run_row
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session import AgentSession
from peer import PAGE, Peer
from sqlalchemy import MetaData, Table


class Agno(Peer):
    packages = ("agno", "sqlalchemy", "psycopg")
    notes = (
        "A message is a run; two transactions: the session's row, then the run's. W2 is one run of 100 messages.",
        "W1 to W4 hold the session in memory; W6 reads it first, as `Agent.run` does at each call.",
    )
    faster: ClassVar = {"W2": "a run of a hundred messages is one row"}

    def open(self, target, make):  # noqa: ARG002 - it makes the tables when they are needed
        if target.startswith("postgresql"):
            self.db = PostgresDb(db_url=target.replace("postgresql://", "postgresql+psycopg://"))
        else:
            self.db = SqliteDb(db_file=target)

    def session(self, name, make):
        session = AgentSession(name, agent_id="a", user_id="u", session_data={}, created_at=int(time.time()), runs=[])
        if make:
            self.db.upsert_session(session)
        return session

    def run(self, session, texts):
        messages = [Message(role="user", content=text) for text in texts]
        status = RunStatus.completed
        return RunOutput(
            str(uuid.uuid4()), agent_id="a", session_id=session.session_id, messages=messages, status=status
        )

    def append(self, session, text):
        self.append_many(session, [text])

    def append_many(self, session, texts):
        run = self.run(session, texts)
        session.runs.append(run)
        self.db.upsert_session(session)
        self.db.upsert_run(run, session.session_id, user_id="u", run_index=len(session.runs) - 1)

    def turn(self, session, text):
        now = self.db.get_session(session.session_id, SessionType.AGENT)
        now.runs = now.runs or []
        self.append(now, text)

    def fill(self, session, texts):
        self.append(session, texts[0])  # makes the table; its other rows by SQL, a call each would take minutes
        with self.db.db_engine.begin() as connection:
            schema = getattr(self.db, "db_schema", None)
            table = Table(self.db.runs_table_name, MetaData(), schema=schema, autoload_with=connection)
            runs = [self.run(session, [text]) for text in texts[1:]]
            rows = [build_single_run_row(run, session.session_id, "u", at) for at, run in enumerate(runs, 1)]
            connection.execute(table.insert(), rows)
        session.runs += runs

    def last(self, session, count):
        found = self.db.get_session(session.session_id, SessionType.AGENT, runs_limit=count)
        return [message.content for run in found.runs for message in run.messages]

    def positions(self, session):
        return [row["run_index"] for row in self.db.get_runs(session.session_id, deserialize=False)[0]]

    def add_sessions(self, count):
        now = int(time.time())
        self.db.upsert_sessions(
            [AgentSession(f"s{at}", agent_id="a", user_id="u", created_at=now) for at in range(count)]
        )

    def page(self, number):
        kind = SessionType.AGENT
        return len(self.db.get_sessions(kind, limit=PAGE, page=number + 1, sort_by="created_at", include_runs=False))


PEERS = {"agno": Agno}
