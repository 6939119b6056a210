"""`usage`: what was spent here, apart from what was imported as history."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cyclopts import Parameter

from sessionledger.cli import machine, tables, values, words
from sessionledger.cli.context import Context, UsageError
from sessionledger.domain.content import JSON
from sessionledger.domain.models import NO_USAGE, TokenUsage, UsageSum, add_usage

InContext = Annotated[Context, Parameter(parse=False)]


def usage(
    session_id: str | None = None,
    /,
    *,
    by: Literal["actor", "model"] | None = None,
    since: str | None = None,
    until: str | None = None,
    context: InContext,
) -> None:
    """Show token usage: of one session, or of all there are and were, summed by actor or model.

    What came with imported archives is history of another ledger: it stands apart, and is not spent here.
    What deleted sessions spent is counted.

    Args:
        session_id: The session's id; by default all sessions.
        by: Of all sessions: how it is summed; by default by actor.
        since: Only what was recorded since: a date or a time (without a zone it is UTC), or an age: 30m, 12h, 7d, 2w.
        until: Only what was recorded before; in the same forms.
        context: How the command was started.
    """
    if session_id is not None and by is not None:
        raise UsageError("--by is for all sessions; leave out the id")
    since_time, until_time = values.time("--since", since), values.time("--until", until)
    with context.connect() as sessions:
        session = None if session_id is None else sessions.get(session_id)
        sums = sessions.sum_token_usage(session_id=session_id, since=since_time, until=until_time)
    if session is None:
        _print_all(context, sums, by or "actor")
        return
    spent, imported = _added(sums, imported=False), _added(sums, imported=True)
    total = add_usage(spent.usage, imported.usage)
    if context.json:
        known = {"imported": machine.usage(imported.usage)}
        context.print_json({"session_id": session.session_id, **machine.usage(total), **known})
        return
    context.print(f"{words.name(session)}: {words.tokens(total)}")
    if imported.records:
        context.print(f"of these imported, and not spent here: {words.tokens(imported.usage)}")


@dataclass(slots=True)
class _Sum:
    """Token usage, and of how many records it is the sum."""

    usage: TokenUsage = field(default=NO_USAGE)
    records: int = 0

    def machine(self) -> dict[str, JSON]:
        return {"records": self.records, **machine.usage(self.usage)}


def _added(sums: Iterable[UsageSum], *, imported: bool) -> _Sum:
    """The total of what was imported, or of what was not."""
    total = _Sum()
    for each in sums:
        if each.imported == imported:
            total.usage, total.records = add_usage(total.usage, each.usage), total.records + each.records
    return total


def _print_all(context: Context, sums: list[UsageSum], by: Literal["actor", "model"]) -> None:
    name = {"actor": "actor_name", "model": "model"}[by]
    groups: dict[str | None, list[UsageSum]] = {}
    for each in sorted(sums, key=lambda each: getattr(each, name) or ""):
        groups.setdefault(getattr(each, name), []).append(each)
    if context.json:
        context.print_json({**_apart(sums), f"by_{by}": [{name: key, **_apart(each)} for key, each in groups.items()]})
        return
    rows: list[tuple[str, str, int, TokenUsage]] = []
    for imported, heading in ((False, "spent here"), (True, "imported")):
        for key, of in [*groups.items(), (None, sums)]:
            added = _added(of, imported=imported)
            if added.records or (of is sums and not imported):
                rows.append(("all" if of is sums else key or "-", heading, added.records, added.usage))
    tables.usage(context, by, rows)


def _apart(sums: list[UsageSum]) -> dict[str, JSON]:
    """What was spent here, and beside it what was imported."""
    return {**_added(sums, imported=False).machine(), "imported": _added(sums, imported=True).machine()}
