"""The statements that store messages: many rows at once, and a whole append in one statement.

Where the database has arrays (PostgreSQL), a hundred messages are one array for each column, unnested by the server:
a JSON array of them took the client twice and the server 1.2 times as long, a multi-row INSERT twice as long as that,
COPY 1.5 times (measured). Elsewhere (SQLite) they are a multi-row INSERT, in two thirds of the time of one by one.

Where it commits what it is sent, an append is one statement and one round trip: the counter's UPDATE and the INSERTs in
one CTE. In front of the UPDATE an advisory lock lets writers of one session queue up; those that wait for a row's lock
are all woken at once instead (32 writers: 1.45 times the throughput, p99 35 ms instead of 114 ms, measured). Nothing
else is locked while a statement waits for it, so it takes part in no deadlock.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, cast

import sqlalchemy
from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    DateTime,
    Executable,
    String,
    Text,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    update,
)

from sessionledger.domain.models import COUNTS
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories.tables import MESSAGE_COLUMNS, moved
from sessionledger.infrastructure.database.rows import MessageDraft
from sessionledger.infrastructure.database.statements import Statement
from sessionledger.infrastructure.database.tables import MESSAGES, SESSIONS, USAGE

CHARACTERS = 4 * 1024 * 1024
"""How many characters of content and metadata are sent at once; a longer message comes alone."""

MOST_ROWS = 100
"""How many rows a multi-row INSERT has: 1,000 of the 32,766 parameters that SQLite allows."""

_TYPES: dict[str, Any] = {
    "sequence": BigInteger(),
    "content": Text(),
    "metadata": Text(),
    "created_at": DateTime(timezone=True),
    "cost": BigInteger(),
    **dict.fromkeys(COUNTS, BigInteger()),
}
"""What the driver is given for a column; text for all others."""

_MESSAGE = [each.name for each in MESSAGE_COLUMNS]
_USAGE = [*COUNTS, "cost", "model"]
_NOT_REPORTED: dict[str, Any] = dict.fromkeys(_USAGE)
_NUMBER = "number"
_NUL, _BETWEEN = "\0", '","'


def parts(drafts: Sequence[MessageDraft]) -> Iterator[Sequence[MessageDraft]]:
    """Drafts in parts that are short enough to be sent at once."""
    if len(drafts) == 1:
        yield drafts
        return
    first, characters = 0, 0
    for at, draft in enumerate(drafts):
        size = len(draft.content.text) + len(draft.metadata.text)
        if at > first and characters + size > CHARACTERS:
            yield drafts[first:at]
            first, characters = at, 0
        characters += size
    yield drafts[first:] if first else drafts


def arrays(drafts: Sequence[MessageDraft], *, usage: bool) -> dict[str, str]:
    """Drafts as the parameters of `append` and `_insert_rows` for many messages: an array for each column."""
    times = {at: at.isoformat() for at in {draft.created_at for draft in drafts}}
    given: dict[str, list[str | None]] = {
        "message_id": [draft.message_id for draft in drafts],
        "role": [draft.role for draft in drafts],
        "content": [draft.content.text for draft in drafts],
        "tool_call_id": [draft.tool_call_id for draft in drafts],
        "metadata": [draft.metadata.text for draft in drafts],
        "created_at": [times[draft.created_at] for draft in drafts],
        "format": [draft.format for draft in drafts],
        "content_sha256": [draft.content_sha256 for draft in drafts],
    }
    if usage:
        reported = [_NOT_REPORTED if draft.usage is None else rows.reported(draft.usage) for draft in drafts]
        given |= {name: [None if each[name] is None else str(each[name]) for each in reported] for name in _USAGE}
    return {name: _array(column) for name, column in given.items()}


def _array(texts: list[str | None]) -> str:
    """An array as PostgreSQL reads it (its manual, section 8.15.6); psycopg writes element after element in Python."""
    if None in texts:
        return f"{{{','.join('NULL' if each is None else _quoted(each) for each in texts)}}}"
    # All at once; no text has a NUL.
    return f"{{{_quoted(_NUL.join(cast('list[str]', texts))).replace(_NUL, _BETWEEN)}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def values(session_id: str, draft: MessageDraft) -> dict[str, Any]:
    """A draft as the parameters of `append` for one message; the database gives the sequence."""
    given = dict(zip(_MESSAGE, rows.message_row(session_id, draft, 0, draft.created_at), strict=True))
    if draft.usage is not None:
        given |= rows.reported(draft.usage)
    return given


def _given(name: str) -> Any:
    return bindparam(name, type_=_TYPES.get(name, String()))


def _unnested(dialect: Dialect, names: Sequence[str], before: Any) -> tuple[Any, dict[str, Any]]:
    """The rows of `arrays`, and their columns; their sequences follow `before`."""
    given = [name for name in names if name not in {"session_id", "sequence"}]
    unnested = cast("Callable[..., Any]", dialect.unnested)  # asked for only where there is one
    found = unnested([bindparam(name, type_=ARRAY(_TYPES.get(name, String()))) for name in given], given, _NUMBER)
    return found, {
        **{name: found.c[name] for name in given},
        "session_id": _given("session_id"),
        "sequence": before + found.c[_NUMBER],
    }


def _insert_rows(dialect: Dialect) -> Any:
    """Store rows from arrays but for those that are stored already, and give the ids of the new ones."""
    found, given = _unnested(dialect, _MESSAGE, bindparam("before", type_=BigInteger()))
    return (
        dialect.insert(MESSAGES)
        .from_select(_MESSAGE, select(*(given[name] for name in _MESSAGE)).select_from(found), include_defaults=False)
        .on_conflict_do_nothing(index_elements=list(MESSAGES.primary_key))
        .returning(MESSAGES.c.message_id)
    )


def _insert(dialect: Dialect, count: int) -> Any:
    """Store so many rows but for those that are stored already; the values are those of `rows.message_row`."""
    given = [
        {name: bindparam(f"{name}_{at}", type_=_TYPES.get(name, String())) for name in _MESSAGE} for at in range(count)
    ]
    return dialect.insert(MESSAGES).values(given).on_conflict_do_nothing(index_elements=list(MESSAGES.primary_key))


_ARRAYS = Statement(_insert_rows)
_ROW = Statement(lambda dialect: _insert(dialect, 1))
_ROWS = Statement(lambda dialect: _insert(dialect, MOST_ROWS))


def insert(held: HeldConnection, session_id: str, drafts: Sequence[MessageDraft], first: int) -> int:
    """Store messages, the first of which has the sequence `first`, but for those that are stored already.

    Returns:
        How many were new.
    """
    dialect = dialect_of(held)
    if dialect.unnested is not None and len(drafts) > 1:
        values = {"session_id": session_id, "before": first - 1, **arrays(drafts, usage=False)}
        return len(_ARRAYS.rows(held, values))
    times = {at: dialect.time_in(at) for at in {draft.created_at for draft in drafts}}
    found = [
        rows.message_row(session_id, draft, sequence, times[draft.created_at])
        for sequence, draft in enumerate(drafts, first)
    ]
    stored, done = 0, 0
    while len(found) - done >= MOST_ROWS:
        done += MOST_ROWS
        stored += _ROWS.each(held, [list(chain.from_iterable(found[done - MOST_ROWS : done]))])
    return stored + _ROW.each(held, found[done:])


@functools.cache
def append(*, many: bool, usage: bool) -> Statement:
    """The statement of a whole append; it gives the session's last sequence, or nothing where `append` says why.

    Args:
        many: Whether the messages come as arrays, and not as parameters.
        usage: Whether any of them has token usage.
    """
    return Statement(lambda dialect: _append(dialect, many=many, usage=usage))


def _append(dialect: Dialect, *, many: bool, usage: bool) -> Executable:
    moved_to = _advanced(usage=usage)
    if many:
        before = moved_to.c.last_sequence - bindparam("messages", type_=BigInteger())
        found, given = _unnested(dialect, [*_MESSAGE, *_USAGE] if usage else _MESSAGE, before)
        both = found.join(moved_to, true())
    else:
        given = {name: _given(name) for name in (*_MESSAGE, *_USAGE)}
        given["sequence"] = moved_to.c.last_sequence
        both = moved_to
    stored = sqlalchemy.insert(MESSAGES).from_select(
        _MESSAGE, select(*(given[name] for name in _MESSAGE)).select_from(both), include_defaults=False
    )
    ctes = [stored.cte("stored")]
    if usage:
        ctes.append(_spent(given, both, moved_to).cte("spent"))
    return select(moved_to.c.last_sequence).add_cte(*ctes)


def _advanced(*, usage: bool) -> CTE:
    """The session's row, moved on, once it is this statement's turn."""
    given, expected = _given("session_id"), bindparam("expected_sequence", type_=BigInteger())
    queue = select(func.pg_advisory_xact_lock(func.hashtextextended(given, 0)).label("turn")).cte("queue")
    return (
        update(SESSIONS)
        .where(
            SESSIONS.c.session_id == given,
            SESSIONS.c.namespace == bindparam("namespace", type_=String()),
            exists(select(queue.c.turn)),
            or_(expected.is_(None), SESSIONS.c.last_sequence == expected),
        )
        .values(moved(usage=usage))
        .returning(SESSIONS.c.last_sequence, SESSIONS.c.actor_name, SESSIONS.c.namespace)
        .cte("advanced")
    )


def _spent(given: Any, both: Any, moved_to: CTE) -> Any:
    """The INSERT of the records of token usage; a message without any has no input tokens."""
    values = {
        "session_id": given["session_id"],
        "usage_id": given["message_id"],
        "message_id": given["message_id"],
        "actor_name": moved_to.c.actor_name,
        "namespace": moved_to.c.namespace,
        "recorded_at": given["created_at"],
        **{name: given[name] for name in _USAGE},
    }
    found = select(*values.values()).select_from(both).where(given["input_tokens"].is_not(None))
    return sqlalchemy.insert(USAGE).from_select(list(values), found, include_defaults=False)
