"""Up, down and up again with rows in every table: a downgrade loses nothing, or refuses and changes nothing."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from unittest import mock

import sessionledger
from harness import Found, Kind, control, fault
from sessionledger.infrastructure.database import Database, schema
from sessionledger.infrastructure.database.revision import COMPATIBLE_TABLE
from tables import (
    LATE,
    STEPS,
    at,
    change,
    changed,
    columns,
    contents,
    copied,
    current,
    difference,
    id_of,
    only,
    plant,
    shape,
    upgraded,
)

# What a release writes into a column that an upgrade leaves at its default; none where it follows from another column.
WRITTEN: dict[str, tuple[object, ...]] = {
    "title": ("A parcel",),
    "key": ("case 17",),
    "workspace": (id_of("R", 0),),
    "version": (2,),
    "archived_at": (LATE,),
    "format": ("acme.chat", "json"),  # json: for content that is a string, whose own format is text
    "content_sha256": (),
    "cached_input_tokens": (1,),
    "cache_write_tokens": (1,),
    "reasoning_tokens": (1,),
    "cost": (1,),
    "source_session_id": (id_of("A", 0),),
    "source_sha256": (f"{5:064x}",),
    "unknown_fields": ('{"mood":"calm"}',),
}

OF = {"session_messages": ("sessions",)}
"""Tables whose rows belong to a row of another one that is as new."""


@dataclass(frozen=True)
class Ledger:
    """A database at a revision, with something in what the revision has added.

    Attributes:
        words: What that is.
        base: Gives a database without it.
        write: Writes it.
    """

    words: str
    base: Callable[[], str]
    write: Callable[[str], None] = lambda _: None


def ledgers(kind: Kind, before: str | None, target: str, rows: int, known: dict[str, set[str]]) -> list[Ledger]:
    """Everything that a revision added to the columns known before, at once and each by itself."""
    full = at(kind, target, rows=rows)
    there = columns(full)

    def upgraded_from_before(tokens: int) -> str:
        url = at(kind, before, rows=rows, tokens=tokens)
        upgraded(url, target)
        return url

    # Without tokens, so that the ledger that the upgrade opens for them does not hide what else would be lost.
    quiet = functools.cache(lambda: upgraded_from_before(0))
    return [
        Ledger("every column of every row", lambda: full),
        Ledger("nothing written since the upgrade", lambda: upgraded_from_before(5)),
        *(
            Ledger(f"a row in {table}", quiet, lambda url, table=table: plant(url, [*OF.get(table, ()), table], [0]))
            for table in sorted(there.keys() - known.keys())
            if not table.startswith("sessionledger_")
        ),
        *(
            Ledger(f"{table}.{name} = {value}", quiet, writing(table, name, value, counted="token_usage" not in known))
            for table in sorted(there.keys() & known.keys())
            for name in sorted(there[table] - known[table])
            for value in WRITTEN[name]
        ),
    ]


def writing(table: str, name: str, value: object, *, counted: bool) -> Callable[[str], None]:
    """Write a value into a column of one row; a total of tokens never without its record in the ledger."""

    def write(url: str) -> None:
        change(url, table, 0, **{name: value})
        if counted:
            plant(url, ["token_usage"], [0])

    return write


def down(url: str, target: str | None, *, allowed: bool = False) -> bool:
    """Go down one revision; whether that was not refused."""
    with closing(Database(url)) as database:
        try:
            schema.downgrade(database, target or "base", allow_data_loss=allowed)
        except sessionledger.StorageError as error:
            if "would lose" not in str(error):
                raise
            return False
    return True


def down_and_up(kind: Kind, url: str, before: str | None, target: str, below: dict[str, set[str]]) -> tuple[bool, int]:
    """Go down one revision and up to the newest; whether it had to be allowed, and how many rows were lost silently."""
    rows, tables = contents(kind, url), shape(kind, url)
    refused = not down(url, before)
    if refused:
        lost = changed(rows, contents(kind, url))
        wrong = difference(shape(kind, url), tables)
        assert not wrong, f"refused, and yet changed: {wrong}"
        assert down(url, before, allowed=True), "refused although the loss was allowed"
    assert current(url) == before
    # A step takes its own record of a compatible release back.
    kept = {table: known for table, known in below.items() if table != COMPATIBLE_TABLE}
    lost_below = changed(only(rows, kept), contents(kind, url))
    if not refused:
        upgraded(url, target)
        lost = changed(rows, contents(kind, url))
    upgraded(url)
    goes_on(kind, url)
    return refused, lost + lost_below


def goes_on(kind: Kind, url: str) -> None:
    """Use a ledger: a session that is there, and a new one."""
    with kind.asked(url) as ask:
        ids = [row["session_id"] for row in ask("SELECT session_id FROM sessions ORDER BY session_id LIMIT 1")]
    with sessionledger.connect(url) as sessions:
        ids.append(sessions.create(key="after the upgrade", workspace="a new office").session_id)
        for session_id in ids:
            session = sessions.get(session_id)
            message = sessions.append_message(session_id, "user", "Thanks.", usage={"input_tokens": 2})
            assert message.sequence == session.last_sequence + 1
            assert len(sessions.get_messages(session_id)) == message.sequence
            assert sessions.get(session_id).usage.input_tokens == session.usage.input_tokens + 2
            assert sessions.export_session(session_id, io.BytesIO()).messages == message.sequence


@fault(
    "up, down, up with rows in every table",
    short={"rows": 20, "steps": (*STEPS[2:4], STEPS[7]), "every": 3},
    full={"rows": 1000, "steps": STEPS},
)
def downgrade(
    kind: Kind, found: Found, *, rows: int, steps: tuple[tuple[str | None, str], ...], every: int = 1
) -> None:
    found |= {"revisions": len(steps), "downgrades": 0, "refused": 0, "rows": 0, "silent_losses": 0}
    losses = []
    for before, target in steps:
        below = columns(at(kind, before))
        for ledger in ledgers(kind, before, target, rows, below)[::every]:
            with copied(kind, ledger.base()) as url:
                ledger.write(url)
                found["rows"] += sum(map(len, contents(kind, url).values()))
                refused, lost = down_and_up(kind, url, before, target, below)
            found["downgrades"] += 1
            found["refused"] += refused
            found["silent_losses"] += lost
            if lost:
                losses.append(f"{target} with {ledger.words}: {lost}")
    assert found["refused"], "no downgrade was refused"
    assert not losses, f"rows lost without a word: {losses}"


@control(
    "without the refusal",
    short={"rows": 20, "steps": STEPS[1:3]},
    full={"rows": 1000, "steps": (*STEPS[:5], STEPS[7])},  # the others add nothing that rows are in
)
def downgrade_unrefused(kind: Kind, found: Found, *, rows: int, steps: tuple[tuple[str | None, str], ...]) -> None:
    found |= {"downgrades": 0, "silent_losses": 0}
    with mock.patch.multiple(schema, refuse_loss=mock.DEFAULT, refuse_losses=mock.DEFAULT):
        for before, target in steps:
            url = at(kind, target, rows=rows)
            _, lost = down_and_up(kind, url, before, target, columns(at(kind, before)))
            found["downgrades"] += 1
            found["silent_losses"] += lost
            assert lost, f"{target}: nothing was lost"
