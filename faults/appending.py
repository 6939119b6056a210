"""How writers of the faults append: by numbers, so that what has no answer can be sent again under the same ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import sessionledger
from harness import Ack, Kind, content_of

SINGLES_AND_THREES = (1, 3)


def calls(sizes: Sequence[int] = SINGLES_AND_THREES, *, start: int = 0) -> Iterator[range]:
    """The numbers of each append's messages, without an end, from the append on that begins with `start`."""
    first = 0
    for size in itertools.cycle(sizes):
        if first >= start:
            yield range(first, first + size)
        first += size


def id_of(writer: int, number: int) -> str:
    """The id of a writer's message: whoever sends it again need only know its number."""
    return sessionledger.message_id_for(content_of(writer, number))


def append(sessions: sessionledger.SessionService, session_id: str, writer: int, numbers: range) -> list[int]:
    """Append one message, or a batch; return the sequences."""
    if len(numbers) == 1:
        [number] = numbers
        content, message_id = content_of(writer, number), id_of(writer, number)
        return [sessions.append_message(session_id, "user", content, message_id=message_id).sequence]
    batch = [
        {"role": "user", "content": content_of(writer, number), "message_id": id_of(writer, number)}
        for number in numbers
    ]
    return [message.sequence for message in sessions.append_messages(session_id, batch)]


def acks_of(writer: int, start: int, sequences: Sequence[int]) -> list[Ack]:
    """What a writer was told about its messages from `start` on."""
    return [Ack(writer, number, sequence) for number, sequence in enumerate(sequences, start)]


def new_session(url: str) -> str:
    """Make an empty session and close the database: the process is about to be forked."""
    with sessionledger.connect(url) as sessions:
        return sessions.create().session_id


def count(kind: Kind, url: str, session_id: str, message_ids: Sequence[str] = ()) -> int:
    """Count a session's messages, or those of them that have one of these ids, past the library."""
    query = f"SELECT count(*) AS messages FROM session_messages WHERE session_id = '{session_id}'"
    if message_ids:
        query += " AND message_id IN ({})".format(", ".join(f"'{message_id}'" for message_id in message_ids))
    with kind.asked(url) as ask:
        row: dict[str, Any] = ask(query)[0]
    return row["messages"]
