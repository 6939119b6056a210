"""What both services do, written once and without colour.

Each method checks the input, mints ids and the time, and returns a unit of work: a function of a transaction that may
run again. Where a write mints ids, they come with it, to travel in errors.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast, get_args

from sessionledger.application.services.appends import Append
from sessionledger.domain.content import (
    canonical,
    canonical_object,
    check_format,
    default_format,
)
from sessionledger.domain.errors import InvalidInputError, SessionExistsError, SessionNotFoundError
from sessionledger.domain.ids import checked_id, new_id, session_id_for
from sessionledger.domain.models import (
    MAX_TITLE,
    NO_USAGE,
    NewMessage,
    Session,
    SessionPage,
    TokenUsage,
    UsageRecord,
    checked_count,
    checked_flag,
    checked_name,
    checked_optional_name,
    checked_role,
    checked_time,
    checked_word,
    now,
)
from sessionledger.domain.service import UNSET, Messages, Metadata, SessionOrder, Unset, UsageSums
from sessionledger.infrastructure.database import UnitOfWork
from sessionledger.infrastructure.database.repositories import WORKSPACE, PossibleReplay
from sessionledger.infrastructure.database.rows import MessageDraft

T = TypeVar("T")
Work = Callable[[UnitOfWork], T]
Write = tuple[Work[T], tuple[str, ...]]

MAX_PAGE = 1000
MAX_BATCH = 10_000


class SessionWork:
    """The units of work of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = checked_name("namespace", namespace)

    def create(
        self,
        *,
        actor_name: str | None,
        key: str | None,
        title: str | None,
        metadata: Metadata | None,
        workspace: str | None,
        session_id: str | None,
    ) -> Write[Session]:
        """See `SessionService.create`."""
        session = self._new_session(actor_name, key, title, metadata, workspace, session_id)
        fresh = key is None and session_id is None

        def work(unit: UnitOfWork) -> Session:
            if stored(unit, session):
                return session if fresh else settled(unit, session)
            # Taken: by an earlier attempt of this very call, whose answer was lost, or by somebody else.
            there = found(unit, self.namespace, session.session_id)
            if replace(there, usage=session.usage) != session:
                raise SessionExistsError(session.session_id)
            return there

        return work, (session.session_id,)

    def get_or_create(
        self,
        key: str,
        *,
        actor_name: str | None,
        title: str | None,
        metadata: Metadata | None,
        workspace: str | None,
    ) -> Write[Session]:
        """See `SessionService.get_or_create`."""
        session = self._new_session(actor_name, checked_name("key", key), title, metadata, workspace, None)

        def work(unit: UnitOfWork) -> Session:
            there = unit.sessions.find_by_id(self.namespace, session.session_id)
            if there is None and stored(unit, session):
                return settled(unit, session)
            return there or found(unit, self.namespace, session.session_id)

        return work, (session.session_id,)

    def get(self, session_id: str) -> Work[Session]:
        """See `SessionService.get`."""
        checked_id("session_id", session_id)
        return lambda unit: unit.sessions.get_by_id(self.namespace, session_id)

    def find(self, key: str) -> Work[Session | None]:
        """See `SessionService.find`."""
        session_id = session_id_for(self.namespace, checked_name("key", key))
        return lambda unit: unit.sessions.find_by_id(self.namespace, session_id)

    def list(
        self,
        *,
        actor_name: str | None,
        workspace: str | None,
        include_archived: bool,
        order: SessionOrder,
        limit: int,
        cursor: str | None,
        offset: int,
    ) -> Work[SessionPage]:
        """See `SessionService.list`."""
        checked_optional_name("actor_name", actor_name)
        checked_optional_name("workspace", workspace, MAX_TITLE)
        checked_flag("include_archived", include_archived)
        if order not in get_args(SessionOrder):
            raise InvalidInputError("order", f"must be one of {', '.join(get_args(SessionOrder))}")
        if checked_count("limit", limit, minimum=1) > MAX_PAGE:
            raise InvalidInputError("limit", f"must be from 1 to {MAX_PAGE}")
        if checked_count("offset", offset) and cursor is not None:
            raise InvalidInputError("offset", "must not be given together with cursor")
        place = None if cursor is None else _place(cursor, order)

        def work(unit: UnitOfWork) -> SessionPage:
            sessions = unit.sessions.list_all(
                self.namespace,
                actor_name=actor_name,
                workspace=workspace,
                include_archived=include_archived,
                order=order,
                limit=limit + 1,
                offset=offset,
                cursor=place,
            )
            more = len(sessions) > limit
            return SessionPage(tuple(sessions[:limit]), _cursor(sessions[limit - 1], order) if more else None)

        return work

    def update(
        self,
        session_id: str,
        *,
        title: str | Unset | None,
        actor_name: str | Unset | None,
        metadata: Metadata | Unset | None,
        archived: bool | Unset,
        expected_version: int | None,
    ) -> Write[Session]:
        """See `SessionService.update`."""
        checked_id("session_id", session_id)
        if expected_version is not None:
            checked_count("expected_version", expected_version, minimum=1)
        at = now()
        changes: dict[str, Any] = {}
        if title is not UNSET:
            changes["title"] = checked_optional_name("title", title, MAX_TITLE)
        if actor_name is not UNSET:
            changes["actor_name"] = checked_optional_name("actor_name", actor_name)
        if metadata is not UNSET:
            changes["metadata"] = canonical_object("metadata", metadata).value
        if archived is not UNSET:
            changes["archived_at"] = at if checked_flag("archived", archived) else None

        def work(unit: UnitOfWork) -> Session:
            if unit.replaying:  # the answer of an earlier attempt was lost; a second one must not count the version up
                session = unit.sessions.get_by_id(self.namespace, session_id)
                if session.version != expected_version and _has(session, changes):
                    return session
            return unit.sessions.update(self.namespace, session_id, changes, at=at, expected_version=expected_version)

        return work, (session_id,)

    def delete(self, session_id: str) -> Write[None]:
        """See `SessionService.delete`."""
        checked_id("session_id", session_id)

        def work(unit: UnitOfWork) -> None:
            if not unit.sessions.delete(self.namespace, session_id) and not unit.replaying:
                raise SessionNotFoundError(session_id)

        return work, (session_id,)

    def append(
        self,
        session_id: str,
        messages: Sequence[NewMessage | Mapping[str, object]],
        *,
        expected_sequence: int | None,
    ) -> Append:
        """See `SessionService.append_messages`."""
        checked_id("session_id", session_id)
        if expected_sequence is not None:
            checked_count("expected_sequence", expected_sequence)
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
            raise InvalidInputError("messages", "must be a list of at least one message")
        if len(messages) > MAX_BATCH:
            raise InvalidInputError("messages", f"must be at most {MAX_BATCH} at once")
        at = now()
        append = Append(
            self.namespace,
            session_id,
            [_draft(NewMessage.of(message), at) for message in messages],
            at,
            expected_sequence,
        )
        if len(set(append.ids)) < len(messages):
            raise InvalidInputError("messages", "must not hold a message_id twice")
        return append

    def get_messages(
        self, session_id: str, *, after: int, before: int | None, limit: int | None, last: int | None
    ) -> Work[Messages]:
        """See `SessionService.get_messages`."""
        checked_id("session_id", session_id)
        checked_count("after", after)
        for name, value in (("before", before), ("limit", limit), ("last", last)):
            if value is not None:
                checked_count(name, value, minimum=1)
        if last is not None and (after or limit is not None):
            raise InvalidInputError("last", "must not be given together with after or limit")
        return lambda unit: unit.messages.get_for_session(
            self.namespace, session_id, after=after, before=before, limit=limit, last=last
        )

    def update_token_usage(
        self, session_id: str, usage: TokenUsage, *, model: str | None, usage_id: str | None
    ) -> Write[TokenUsage]:
        """See `SessionService.update_token_usage`."""
        checked_id("session_id", session_id)
        at = now()
        record = UsageRecord(
            usage_id=new_id() if usage_id is None else checked_id("usage_id", usage_id),
            usage=usage,
            recorded_at=at,
            model=checked_optional_name("model", model),
        )

        def work(unit: UnitOfWork) -> TokenUsage:
            try:
                return unit.token_usage.record(self.namespace, session_id, record, at=at)
            except PossibleReplay as signal:
                unit.restart()
                return unit.token_usage.answer_replay(self.namespace, session_id, record, signal.refusal)

        return work, (record.usage_id,)

    def sum_token_usage(
        self, *, session_id: str | None, since: datetime | None, until: datetime | None
    ) -> Work[UsageSums]:
        """See `SessionService.sum_token_usage`."""
        if session_id is not None:
            checked_id("session_id", session_id)
        times = [None if at is None else checked_time(name, at) for name, at in (("since", since), ("until", until))]
        return lambda unit: unit.token_usage.sums(self.namespace, session_id, *times)

    def _new_session(
        self,
        actor_name: str | None,
        key: str | None,
        title: str | None,
        metadata: Metadata | None,
        workspace: str | None,
        session_id: str | None,
    ) -> Session:
        if key is not None and session_id is not None:
            raise InvalidInputError("session_id", "must not be given together with key")
        if key is not None:
            session_id = session_id_for(self.namespace, checked_name("key", key))
        at = now()
        return Session(
            session_id=new_id() if session_id is None else checked_id("session_id", session_id),
            namespace=self.namespace,
            created_at=at,
            updated_at=at,
            key=key,
            title=checked_optional_name("title", title, MAX_TITLE),
            actor_name=checked_optional_name("actor_name", actor_name),
            metadata=canonical_object("metadata", metadata).value,
            workspace=checked_optional_name("workspace", workspace, MAX_TITLE),
            usage=NO_USAGE,
        )


def stored(unit: UnitOfWork, session: Session, unknown: str | None = None) -> bool:
    """Store a session and its workspace; `False` if its id is taken."""
    workspace_id = session.workspace and unit.resources.register(
        session.namespace, WORKSPACE, session.workspace, at=session.created_at
    )
    return unit.sessions.create(session, workspace_id, unknown)


def found(unit: UnitOfWork, namespace: str, session_id: str) -> Session:
    """The session that has an id which is taken; of another namespace's, only that it is taken is told."""
    session = unit.sessions.find_by_id(namespace, session_id)
    if session is None:
        raise SessionExistsError(session_id)
    return session


def settled(unit: UnitOfWork, session: Session) -> Session:
    """Bring a new session's totals to the ledger's: a deleted one with the same id may have left records there.

    Left by another namespace, they keep the id taken: a usage id of ours would meet theirs.
    """
    if unit.token_usage.is_anothers(session.namespace, session.session_id):
        raise SessionExistsError(session.session_id)
    usage = unit.token_usage.totals(session.namespace, session.session_id)
    if usage != session.usage:
        unit.sessions.set_usage(session.namespace, session.session_id, usage)
    return replace(session, usage=usage)


def _draft(message: NewMessage, at: datetime) -> MessageDraft:
    """Check a message and make it ready to be stored."""
    content = canonical("content", message.content)
    if message.format is None:
        format_name = default_format(message.content)
    else:
        format_name = checked_word("format", message.format)
        check_format(message.content, format_name)
    role = checked_role(message.role, format_name)
    message_id = new_id() if message.message_id is None else checked_id("message_id", message.message_id)
    model = checked_optional_name("model", message.model)
    usage = None
    if message.usage is not None:
        usage = UsageRecord(message_id, TokenUsage.of(message.usage), at, message_id=message_id, model=model)
    return MessageDraft(
        message_id,
        role,
        content,
        format_name,
        content.sha256,
        at,
        checked_optional_name("tool_call_id", message.tool_call_id),
        canonical_object("metadata", message.metadata),
        usage,
    )


def _has(session: Session, values: Mapping[str, Any]) -> bool:
    return all(getattr(session, name) == value for name, value in values.items())


def _cursor(session: Session, order: SessionOrder) -> str:
    at = session.updated_at if order == "updated" else session.created_at
    place = json.dumps([order, at.isoformat(), session.session_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str, order: SessionOrder) -> tuple[datetime, str]:
    """Read a cursor.

    Raises:
        InvalidInputError: It is none, or comes from a listing in another order.
    """
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found, at, session_id = cast("list[str]", json.loads(text))
        place = checked_time("cursor", datetime.fromisoformat(at)), checked_id("cursor", session_id)
    except (AttributeError, TypeError, ValueError, RecursionError, binascii.Error):
        raise InvalidInputError("cursor", "must be the next_cursor of a page") from None
    if found != order:
        raise InvalidInputError("cursor", f"must come from a listing in the same order, {order}")
    return place
