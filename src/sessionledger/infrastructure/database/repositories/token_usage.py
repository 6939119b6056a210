"""The ledger of token usage: append-only; a session's totals are its sum."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Executable,
    Integer,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal,
    select,
    type_coerce,
)

from sessionledger.domain.errors import SessionLedgerError, UsageConflictError
from sessionledger.domain.models import (
    COST_PLACES,
    COUNTS,
    EXACT,
    NO_USAGE,
    TokenUsage,
    UsageRecord,
    UsageSum,
    add_usage,
)
from sessionledger.infrastructure.database import rows
from sessionledger.infrastructure.database.dialects import Dialect, dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories.sessions import SessionRepository
from sessionledger.infrastructure.database.repositories.tables import PossibleReplay, insert_new
from sessionledger.infrastructure.database.statements import Statement
from sessionledger.infrastructure.database.tables import USAGE


class TokenUsageRepository:
    """The table `token_usage`: an append-only ledger. A session's totals move only with a new record."""

    def __init__(self, held: HeldConnection) -> None:
        self._held = held

    def record(self, namespace: str, session_id: str, record: UsageRecord, *, at: datetime) -> TokenUsage:
        """Store a record and add its counts to the session's totals, which are returned.

        Raises:
            SessionNotFoundError: There is no such session.
            PossibleReplay: The id is recorded already, or the record is refused unless it is: undo this work and ask
                `answer_replay`.
        """
        session = SessionRepository(self._held).advance(namespace, session_id, messages=0, usage=record.usage, at=at)
        if not self.restore(namespace, session_id, [replace(record, actor_name=session.actor_name)]):
            raise PossibleReplay
        return session.usage

    def answer_replay(
        self, namespace: str, session_id: str, record: UsageRecord, refusal: SessionLedgerError | None
    ) -> TokenUsage:
        """Answer a record whose id is stored: with the session's totals, if it is the same one.

        Raises:
            SessionNotFoundError: There is no such session.
            UsageConflictError: The usage id is recorded with other counts.
            InvalidInputError: It is not recorded; the counts would take a total too far.
        """
        session = SessionRepository(self._held).get_by_id(namespace, session_id)
        if refusal is not None and not self._stored(namespace, session_id, [record]):
            raise refusal
        self.refuse_others(namespace, session_id, [record])
        return session.usage

    def record_appended(self, namespace: str, session_id: str, records: Sequence[UsageRecord], *, at: datetime) -> None:
        """Store the records of messages just appended, whose counts are in the totals already.

        A usage id that `record` stored before counts once: its counts are taken back.

        Raises:
            UsageConflictError: A usage id is recorded with other counts.
        """
        new = self.restore(namespace, session_id, records)
        if before := [record for record in records if record.usage_id not in new]:
            self.refuse_others(namespace, session_id, before)
            SessionRepository(self._held).advance(
                namespace, session_id, messages=0, usage=summed(before), sign=-1, at=at
            )

    def restore(self, namespace: str, session_id: str, records: Sequence[UsageRecord]) -> set[str]:
        """Store records and leave the totals; return the ids that were new."""
        if len(records) == 1:
            values = rows.usage_values(namespace, session_id, records[0], dialect_of(self._held))
            return {usage_id for (usage_id,) in _INSERT.rows(self._held, values)}
        statement = insert_new(dialect_of(self._held), "token_usage")
        new = [rows.usage_record_row(namespace, session_id, record) for record in records]
        return {row.usage_id for row in self._held.connection.execute(statement, new)}

    def totals(self, namespace: str, session_id: str) -> TokenUsage:
        """The sum of the records under a session's id, those of a deleted session with this id included."""
        mine = and_(USAGE.c.session_id == session_id, USAGE.c.namespace == namespace)
        return _summed_row(self._held.connection.execute(select(*_sums()).where(mine)).one())

    def sums(
        self, namespace: str, session_id: str | None, since: datetime | None, until: datetime | None
    ) -> list[UsageSum]:
        """Add records up by actor, model and whether they were imported.

        Raises:
            InvalidInputError: A sum is beyond 2⁶³-1.
        """
        keys = [USAGE.c.actor_name, USAGE.c.model, USAGE.c.imported]
        query = (
            select(
                *keys, *_sums(), func.count().label("records"), func.count(USAGE.c.session_id.distinct()).label("of")
            )
            .where(USAGE.c.namespace == namespace)
            .group_by(*keys)
        )
        if session_id is not None:
            query = query.where(USAGE.c.session_id == session_id)
        if since is not None:
            query = query.where(USAGE.c.recorded_at >= since)
        if until is not None:
            query = query.where(USAGE.c.recorded_at < until)
        sums = [
            UsageSum(row.actor_name, row.model, row.imported, _summed_row(row), row.records, row.of)
            for row in self._held.connection.execute(query).all()
        ]
        # Not by the database: each has its own place for NULL, and its own collation.
        return sorted(sums, key=_place)

    def is_anothers(self, namespace: str, session_id: str) -> bool:
        """Whether the ledger holds what another namespace spent on a session of its own with this id, since deleted."""
        theirs = exists().where(USAGE.c.session_id == session_id, USAGE.c.namespace != namespace)
        return self._held.connection.execute(select(theirs)).scalar_one()

    def refuse_others(self, namespace: str, session_id: str, records: Sequence[UsageRecord]) -> None:
        """Hold records that are sent again against the stored ones.

        Raises:
            UsageConflictError: One is not stored, or with other counts or another model.
        """
        if not records:
            return
        stored = self._stored(namespace, session_id, records)
        for record in records:
            known = stored.get(record.usage_id)
            if known is None or (known.usage, known.model) != (record.usage, record.model):
                raise UsageConflictError(session_id, record.usage_id)

    def _stored(self, namespace: str, session_id: str, records: Sequence[UsageRecord]) -> dict[str, UsageRecord]:
        ids = [record.usage_id for record in records]
        mine = and_(USAGE.c.session_id == session_id, USAGE.c.namespace == namespace)
        query = select(USAGE).where(mine, USAGE.c.usage_id.in_(ids))
        return {row.usage_id: rows.usage_record(row) for row in self._held.connection.execute(query)}


def _insert(dialect: Dialect) -> Executable:
    values = {name: bindparam(name, type_=_TYPES.get(name, String())) for name in _GIVEN}
    statement: Executable = (
        dialect.insert(USAGE)
        .values(values)
        .on_conflict_do_nothing(index_elements=list(USAGE.primary_key))
        .returning(USAGE.c.usage_id)
    )
    return statement


_TYPES: dict[str, Any] = {
    "recorded_at": DateTime(timezone=True),
    "imported": Boolean(),
    **dict.fromkeys((*COUNTS, "cost"), BigInteger()),
}
_GIVEN = [column.name for column in USAGE.c if column.name != "unknown_fields"]
_INSERT = Statement(_insert)


def _halves(name: str) -> Iterator[ColumnElement[Any]]:
    """The sums of a column's upper and lower 32 bits: SQLite fails where a sum goes beyond 2⁶³-1."""
    whole = type_coerce(USAGE.c[name], BigInteger)
    yield func.sum(whole.bitwise_rshift(literal(32, Integer))).label(f"{name}_upper")
    yield func.sum(whole.bitwise_and(literal(2**32 - 1, BigInteger))).label(f"{name}_lower")


@functools.cache
def _sums() -> list[ColumnElement[Any]]:
    return [half for name in (*COUNTS, "cost") for half in _halves(name)]


def _summed_row(row: Any) -> TokenUsage:
    """The sums as token usage.

    Raises:
        InvalidInputError: One is beyond 2⁶³-1.
    """
    upper, lower = ({name: getattr(row, f"{name}_{half}") for name in (*COUNTS, "cost")} for half in ("upper", "lower"))
    sums = {name: None if upper[name] is None else (int(upper[name]) << 32) + int(lower[name]) for name in upper}
    cost = sums.pop("cost")
    counts = {name: count or 0 for name, count in sums.items()}
    return TokenUsage(cost=None if cost is None else Decimal(cost).scaleb(-COST_PLACES, EXACT), **counts)


def _place(of: UsageSum) -> tuple[object, ...]:
    return (of.actor_name is not None, of.actor_name or "", of.model is not None, of.model or "", of.imported)


def summed(records: Iterable[UsageRecord]) -> TokenUsage:
    """The sum of the records."""
    return functools.reduce(add_usage, (record.usage for record in records), NO_USAGE)
