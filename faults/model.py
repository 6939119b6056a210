"""What a ledger must answer, in dictionaries and lists.

Written from the contract's sentences and from no line of the library: only the way an id is derived is public (decision
0011 and the docstrings of `session_id_for` and of `import_session`) and stands here a second time.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Place(NamedTuple):
    """Where a session is."""

    namespace: str
    session_id: str


class Refused(Exception):  # noqa: N818 - what must be raised, not an error of the model's
    """The error that must be raised, by its type's name, with facts that it must tell."""

    def __init__(self, kind: str, **facts: Any) -> None:
        super().__init__(kind, facts)
        self.kind = kind
        self.facts = facts


def canonical(value: Any) -> str:
    """A JSON value as text that tells 1 from 1.0 and from True."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def derived_id(*parts: str) -> str:
    """The first 128 bits of the SHA-256 over the parts, in base 32."""
    number = int.from_bytes(hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()[:16], "big")
    return "".join(DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def format_of(content: Any) -> str:
    if isinstance(content, str):
        return "text"
    parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    return "parts" if parts else "json"


class Usage(NamedTuple):
    """The counts of a record, or a session's totals."""

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None


def total(usages: Iterable[Usage]) -> Usage:
    """The sum: a count that was not reported is none, a cost that nobody reported stays `None`."""
    usages = list(usages)
    counts = [sum(usage[number] or 0 for usage in usages) for number in range(5)]
    costs = [usage.cost for usage in usages if usage.cost is not None]
    return Usage(*counts, cost=sum(costs, Decimal(0)) if costs else None)


class Model:
    """The sessions of all namespaces, and the ledger of token usage, which outlives them."""

    def __init__(self) -> None:
        self.sessions: dict[Place, dict[str, Any]] = {}
        self.ledger: dict[Place, dict[str, dict[str, Any]]] = {}
        self.deleted: set[Place] = set()

    # What is asked

    def get(self, place: Place) -> dict[str, Any]:
        session = self._there(place)
        shown = {name: value for name, value in session.items() if name != "messages"}
        return {**shown, "last_sequence": len(session["messages"]), "usage": self.totals(place)}

    def find(self, namespace: str, key: str) -> dict[str, Any] | None:
        place = Place(namespace, derived_id(namespace, key))
        return self.get(place) if place in self.sessions else None

    def totals(self, place: Place) -> Usage:
        return total(record["usage"] for record in self.ledger.get(place, {}).values())

    def sums(self, namespace: str, session_id: str | None = None) -> list[tuple[Any, ...]]:
        """What was spent, by actor, model and whether it was imported; nothing stands before every name."""
        groups: dict[tuple[Any, ...], list[tuple[Place, Usage]]] = {}
        for place, records in self.ledger.items():
            if place.namespace == namespace and session_id in {None, place.session_id}:
                for record in records.values():
                    key = (record["actor_name"], record["model"], record["imported"])
                    groups.setdefault(key, []).append((place, record["usage"]))
        return [
            (*key, total(usage for _, usage in groups[key]), len(groups[key]), len({place for place, _ in groups[key]}))
            for key in sorted(groups, key=lambda key: [(each is not None, str(each)) for each in key])
        ]

    def listing(
        self,
        namespace: str,
        *,
        order: str = "newest",
        include_archived: bool = False,
        **wanted: str | None,
    ) -> list[dict[str, Any]]:
        """All sessions of a namespace, in order; `wanted` says of which actor or workspace."""
        found = [
            self.get(place)
            for place, session in self.sessions.items()
            if place.namespace == namespace
            and (include_archived or session["archived_at"] is None)
            and all(value in {None, session[name]} for name, value in wanted.items())
        ]
        time = "updated_at" if order == "updated" else "created_at"
        return sorted(found, key=lambda each: (each[time], each["session_id"]), reverse=order != "oldest")

    def messages(
        self,
        place: Place,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> list[dict[str, Any]]:
        found = [
            message
            for message in self._there(place)["messages"]
            if message["sequence"] > after and (before is None or message["sequence"] < before)
        ]
        return found[-last:] if last else found[:limit]

    # What is written

    def create(self, namespace: str, session_id: str | None, at: datetime, **values: Any) -> dict[str, Any]:
        key = values.get("key")
        place = Place(namespace, derived_id(namespace, key) if key else str(session_id))
        self._refuse_taken(place)
        named = {"key": None, "title": None, "actor_name": None, "workspace": None, **values}
        self.sessions[place] = {
            **named,
            **place._asdict(),
            "metadata": canonical(values.get("metadata") or {}),
            "version": 1,
            "created_at": at,
            "updated_at": at,
            "archived_at": None,
            "source": None,
            "messages": [],
        }
        return self.get(place)

    def get_or_create(self, namespace: str, at: datetime, **values: Any) -> dict[str, Any]:
        return self.find(namespace, values["key"]) or self.create(namespace, None, at, **values)

    def update(self, place: Place, at: datetime, expected_version: int | None = None, **changes: Any) -> dict[str, Any]:
        session = self._there(place)
        if expected_version not in {None, session["version"]}:
            raise Refused("VersionConflictError", expected=expected_version, found=session["version"])
        if "archived" in changes:
            changes["archived_at"] = at if changes.pop("archived") else None
        if "metadata" in changes:
            changes["metadata"] = canonical(changes["metadata"] or {})
        session.update(changes, version=session["version"] + 1, updated_at=at)
        return self.get(place)

    def delete(self, place: Place) -> None:
        self._there(place)
        del self.sessions[place]
        self.deleted.add(place)

    def append(
        self, place: Place, drafts: list[dict[str, Any]], at: datetime, expected_sequence: int | None = None
    ) -> list[dict[str, Any]]:
        """Append drafts that have their ids, or find that they are stored."""
        session = self._there(place)
        stored = {message["message_id"]: message for message in session["messages"]}
        sent = [self._message(draft, number, at) for number, draft in enumerate(drafts, len(stored) + 1)]
        records = {
            draft["message_id"]: self._record(session, draft["usage"], draft.get("model"), draft["message_id"])
            for draft in drafts
            if draft.get("usage")
        }
        if any(message["message_id"] in stored for message in sent):
            self._refuse_others(place, sent, stored)
            self._refuse_other_usage(place, records, known=True)
            return [stored[message["message_id"]] for message in sent]
        if expected_sequence not in {None, len(stored)}:
            raise Refused("SequenceConflictError", expected=expected_sequence, found=len(stored))
        self._refuse_other_usage(place, records)
        self._add(place, records)
        session["messages"] += sent
        session["updated_at"] = at
        return sent

    def use(self, place: Place, usage_id: str, usage: Usage, at: datetime, model: str | None = None) -> Usage:
        """Add token usage, or find that it was added."""
        session = self._there(place)
        record = {usage_id: self._record(session, usage, model)}
        self._refuse_other_usage(place, record)
        if usage_id not in self.ledger.get(place, {}):
            self._add(place, record)
            session["updated_at"] = at
        return self.totals(place)

    # Archives

    def exported(self, place: Place) -> dict[str, Any]:
        """What an archive of a session holds."""
        session = self._there(place)
        return copy.deepcopy({"session": session, "ledger": self.ledger.get(place, {})})

    def imported(
        self, namespace: str, archive: dict[str, Any], sha256: str, session_id: str | None = None
    ) -> dict[str, Any]:
        """Store an archive, or find that it is stored; a copy has a random id, which is given."""
        session = copy.deepcopy(archive["session"])
        place = Place(namespace, session_id or derived_id("import", namespace, sha256, session["session_id"]))
        if place in self.sessions:
            return self.get(place)
        self._refuse_taken(place)
        session.update(place._asdict(), key=None, version=1, source=(session["session_id"], sha256))
        for message in session["messages"]:
            message["message_id"] = derived_id(place.session_id, message["message_id"])
        self.sessions[place] = session
        records = {}
        for usage_id, record in archive["ledger"].items():
            message_id = record["message_id"] and derived_id(place.session_id, record["message_id"])
            records[derived_id(place.session_id, usage_id)] = {**record, "message_id": message_id, "imported": True}
        self._add(place, records)
        return self.get(place)

    def imported_all(self, namespace: str, archives: list[dict[str, Any]], sha256: str) -> list[str]:
        """Store an archive of several sessions, all or none; return the ids that they have."""
        before = dict(self.sessions), dict(self.ledger)
        try:
            return [self.imported(namespace, each, sha256)["session_id"] for each in archives]
        except Refused:
            self.sessions, self.ledger = before
            raise

    # The rules

    def _there(self, place: Place) -> dict[str, Any]:
        if place not in self.sessions:
            raise Refused("SessionNotFoundError", session_id=place.session_id)
        return self.sessions[place]

    def _refuse_taken(self, place: Place) -> None:
        """An id is taken by a session, or by what another namespace's deleted session spent (decision 0013)."""
        used = (each for each in self.ledger if each.namespace != place.namespace)
        if any(taken.session_id == place.session_id for taken in (*self.sessions, *used)):
            raise Refused("SessionExistsError", session_id=place.session_id)

    @staticmethod
    def _message(draft: dict[str, Any], sequence: int, at: datetime) -> dict[str, Any]:
        return {
            "message_id": draft["message_id"],
            "sequence": sequence,
            "role": draft["role"],
            "content": canonical(draft["content"]),
            "format": format_of(draft["content"]),
            "tool_call_id": draft.get("tool_call_id"),
            "metadata": canonical(draft.get("metadata") or {}),
            "created_at": at,
        }

    @staticmethod
    def _record(
        session: dict[str, Any], usage: Usage, model: str | None, message_id: str | None = None
    ) -> dict[str, Any]:
        return {
            "usage": usage,
            "model": model,
            "message_id": message_id,
            "actor_name": session["actor_name"],
            "imported": False,
        }

    @staticmethod
    def _refuse_others(place: Place, sent: list[dict[str, Any]], stored: dict[str, dict[str, Any]]) -> None:
        said = ("role", "content", "format", "tool_call_id")
        other = [
            message["message_id"]
            for message in sent
            if [message[name] for name in said] != [stored.get(message["message_id"], {}).get(name) for name in said]
        ]
        if other:
            raise Refused("MessageConflictError", session_id=place.session_id, message_ids=tuple(other))

    def _refuse_other_usage(self, place: Place, records: dict[str, dict[str, Any]], *, known: bool = False) -> None:
        ledger = self.ledger.get(place, {})
        for usage_id, record in records.items():
            found = ledger.get(usage_id)
            if (found is None and known) or (
                found is not None and (found["usage"], found["model"]) != (record["usage"], record["model"])
            ):
                raise Refused("UsageConflictError", session_id=place.session_id, usage_id=usage_id)

    def _add(self, place: Place, records: dict[str, dict[str, Any]]) -> None:
        if records:
            self.ledger[place] = {**records, **self.ledger.get(place, {})}
