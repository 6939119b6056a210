"""What a release does with a ledger that it may share with a newer one, through public names only."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import sessionledger
from helper_process import answer
from sessionledger.infrastructure.database import Database, schema

CONTENTS = ["Where is my parcel? 📦", [{"type": "text", "text": "two of them"}], "In Linden."]


def make_tables(url: str) -> str:
    """Make or upgrade the tables, as this release does; return their revision."""
    with contextlib.closing(Database(url)) as database:
        schema.upgrade(database)
        return schema.current(database)


def use(url: str, writer: str) -> dict[str, Any]:
    """Make every kind of call; return what was wrong, and how many sessions of earlier uses were read."""
    wrong: list[str] = []

    def expect(what: str, found: Any, expected: Any) -> None:
        if found != expected:
            wrong.append(f"{what} is {found!r}, not {expected!r}")

    with sessionledger.connect(url) as sessions:
        earlier = list(sessions.list())
        for session in earlier:
            messages = sessions.get_messages(session.session_id)
            expect("an earlier session's contents", [message.content for message in messages], CONTENTS)
            expect("an earlier session's usage", session.usage.input_tokens, 22)
            expect("an earlier session's workspace", session.workspace, "parcels")
        session = sessions.create(key=f"{writer}-{len(earlier)}", title="A parcel", workspace="parcels")
        at = session.session_id
        id_ = sessionledger.new_id()
        for _ in range(2):  # a replay
            first = sessions.append_message(at, "user", CONTENTS[0], message_id=id_, usage={"input_tokens": 15})
            expect("the first sequence", first.sequence, 1)
        sessions.append_messages(at, [{"role": "user", "content": content} for content in CONTENTS[1:]])
        expect("the total", sessions.update_token_usage(at, input_tokens=7).input_tokens, 22)
        expect("the version", sessions.update(at, title="Parcels", metadata={"a": 1}).version, 2)
        archive = io.BytesIO()
        expect("the exported messages", sessions.export_session(at, archive).messages, len(CONTENTS))
        archive.seek(0)
        copy = sessions.import_session(archive, as_copy=True)
        expect("the copy's messages", copy.last_sequence, len(CONTENTS))
        sessions.delete(copy.session_id)
    with sessionledger.connect(url) as sessions:
        found = sessions.find(f"{writer}-{len(earlier)}")
        expect("the title", found and found.title, "Parcels")
        expect("the messages", [message.content for message in sessions.get_messages(at)], CONTENTS)
        expect("the sessions", len(sessions.list()), len(earlier) + 1)
    return {"wrong": wrong, "earlier": len(earlier)}


if __name__ == "__main__":
    answer({verb.__name__: verb for verb in (make_tables, use)})
