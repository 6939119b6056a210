"""The contract: what a session service does, for callers that block and for callers that await.

Both classes have the same methods with the same signatures; the sentences stand once, in `SessionService`.

**Namespaces.** A service is bound to one namespace. A session of another namespace answers exactly like one that does
not exist. Only `create` with a `session_id` tells that an id is taken, because no two sessions of a database share one:
let nobody choose it who must not learn that. A `key` is each namespace's own.

**Order.** Each session has one order, `sequence` 1, 2, 3 … without gaps, given by the database inside the transaction
that stores the message. A reader that asks for what comes after n never misses a message.

**Replay.** Every write may be sent again with the same ids after an unknown outcome. A message id stored before answers
with the stored message; the same id with other content is an error.

**Durability.** When a write returns, it survives a kill of the client or the server.

**Errors.** Wrong input raises `InvalidInputError`, naming the field, before anything reaches the database. A database
that fails raises a `StorageError`. Any method may raise these two; only what else it raises is listed with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Self, TypeAlias

from sessionledger.domain.content import JSON
from sessionledger.domain.models import (
    NewMessage,
    Session,
    SessionMessage,
    SessionPage,
    TokenUsage,
    UsageSum,
)

if TYPE_CHECKING:
    from sessionledger.domain.archive import (
        ArchiveLimits,
        ArchiveReceipt,
        Compression,
        Follow,
        ImportReceipt,
        TrustedKey,
    )


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""The default of `update`'s parameters: leave this field as it is (`None` empties it)."""

SessionOrder: TypeAlias = Literal["newest", "oldest", "updated"]
"""By time of creation, newest or oldest first; or what was appended to or updated last first."""

Metadata: TypeAlias = Mapping[str, JSON]
Usage: TypeAlias = TokenUsage | Mapping[str, object]
Messages: TypeAlias = list[SessionMessage]  # inside the classes, `list` is the method
UsageSums: TypeAlias = list[UsageSum]


class SessionService(ABC):
    """Sessions and their messages, for callers that block."""

    @abstractmethod
    def create(
        self,
        *,
        actor_name: str | None = None,
        key: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        workspace: str | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Make a session.

        Args:
            actor_name: Who the conversation is with or for.
            key: The caller's own name for it, at most 255 characters; the session id is derived from it.
            title: For people, at most 1,000 characters.
            metadata: A JSON object, at most 64 KiB.
            workspace: The name of the workspace it belongs to; registered if it is new.
            session_id: A ULID of the caller's; by default a new one. Not together with `key`. It is taken if any
                namespace has a session with it, or had one and spent tokens on it.

        Raises:
            SessionExistsError: The id, or the id that the key gives, is taken.
        """

    @abstractmethod
    def get(self, session_id: str) -> Session:
        """Return a session, without its messages.

        Raises:
            SessionNotFoundError: There is none with this id.
        """

    @abstractmethod
    def find(self, key: str) -> Session | None:
        """Return the session with this key, or `None`."""

    @abstractmethod
    def get_or_create(
        self,
        key: str,
        *,
        actor_name: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        workspace: str | None = None,
    ) -> Session:
        """Return the session with this key; make it, with the other values, if there is none.

        Any number of callers may ask at once: one session is made and all get it.

        Raises:
            SessionExistsError: Another namespace has created a session with the very id that the key gives.
        """

    @abstractmethod
    def list(
        self,
        *,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = False,
        order: SessionOrder = "newest",
        limit: int = 50,
        cursor: str | None = None,
        offset: int = 0,
    ) -> SessionPage:
        """Return a page of sessions.

        A page by cursor costs the same however far it is; one by offset costs more the further it is.

        Args:
            actor_name: Only those of this actor.
            workspace: Only those of this workspace.
            include_archived: Archived ones as well.
            order: `newest`, `oldest` or `updated`.
            limit: How many at most, 1 to 1,000.
            cursor: The `next_cursor` of the page before, from a listing in the same order.
            offset: How many to pass over. Not together with `cursor`.
        """

    @abstractmethod
    def update(
        self,
        session_id: str,
        *,
        title: str | Unset | None = UNSET,
        actor_name: str | Unset | None = UNSET,
        metadata: Metadata | Unset | None = UNSET,
        archived: bool | Unset = UNSET,
        expected_version: int | None = None,
    ) -> Session:
        """Change what is given and leave the rest; the version goes up by one.

        Args:
            session_id: The session.
            title: The new title; `None` removes it.
            actor_name: The new actor; `None` removes it.
            metadata: The new metadata, in place of the old; `None` empties it.
            archived: Whether it is archived: hidden from `list`, otherwise whole.
            expected_version: Change nothing unless the session is at this version.

        Raises:
            SessionNotFoundError: There is no such session.
            VersionConflictError: The session is at another version than expected.
        """

    @abstractmethod
    def delete(self, session_id: str) -> None:
        """Delete a session with its messages. What it cost stays in the ledger of token usage.

        Raises:
            SessionNotFoundError: There is no such session.
        """

    @abstractmethod
    def append_message(
        self,
        session_id: str,
        role: str,
        content: JSON,
        *,
        format: str | None = None,  # noqa: A002 - the design's word
        tool_call_id: str | None = None,
        metadata: Metadata | None = None,
        usage: Usage | None = None,
        model: str | None = None,
        message_id: str | None = None,
        expected_sequence: int | None = None,
    ) -> SessionMessage:
        """Append one message. See `NewMessage` for the values and `append_messages` for what is raised."""

    @abstractmethod
    def append_messages(
        self,
        session_id: str,
        messages: Sequence[NewMessage | Mapping[str, object]],
        *,
        expected_sequence: int | None = None,
    ) -> Messages:
        """Append messages in one transaction: all of them or none.

        Message ids are compared before `expected_sequence`, so that an append sent again is never a conflict with
        itself.

        Args:
            session_id: The session.
            messages: `NewMessage` objects, or mappings with the same keys; 1 to 10,000.
            expected_sequence: The last sequence the caller has seen, 0 for an empty session; append only if it is
                still the last.

        Returns:
            The stored messages, in the order they were sent.

        Raises:
            SessionNotFoundError: There is no such session.
            MessageConflictError: A message id is stored with other content, or only some of the ids are stored.
            UsageConflictError: A message's id is recorded in the ledger of token usage with other counts, or the
                message is stored without them.
            SequenceConflictError: The session ends at another sequence than expected.
        """

    @abstractmethod
    def get_messages(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> Messages:
        """Return messages, ascending by sequence.

        Args:
            session_id: The session.
            after: Only those with a greater sequence.
            before: Only those with a smaller sequence.
            limit: The first so many of them.
            last: The last so many of them. Not together with `after` or `limit`.

        Raises:
            SessionNotFoundError: There is no such session.
        """

    @abstractmethod
    def export_session(
        self,
        session_id: str,
        file: BinaryIO,
        *,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """Write a session with its messages and token usage as an archive; see `export_sessions`."""

    @abstractmethod
    def export_sessions(
        self,
        file: BinaryIO,
        *,
        session_ids: Collection[str] | None = None,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = True,
        since: datetime | None = None,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """Write sessions with their messages and token usage as one archive, in one consistent state.

        Writers may go on beside it. Memory stays bounded however much there is. When an error is raised, what is in
        `file` is no archive. Inside a transaction of the caller's, the state is consistent if that transaction is a
        snapshot; otherwise a change meanwhile is an error.

        Args:
            file: A binary file open for writing; it is left open.
            session_ids: Exactly these sessions, at most 10,000; `None` for all that the filters leave.
            actor_name: Only those of this actor.
            workspace: Only those of this workspace.
            include_archived: Archived ones as well; by default, unlike in a listing, so that nothing is missing.
            since: Only those appended to or updated at this time or later.
            compression: `zstd` (needs the extra `archives`) or `gzip`; `None` for plain text.
            follow: Is told, now and then, how far it is (an `ArchiveProgress`), in the thread that does the work.

        Raises:
            SessionNotFoundError: One of `session_ids` is not there.
            StorageError: A content is no longer what was appended, or a session's counts are not those of its rows: no
                import would accept the archive.
            ImportError: The library of the compression is not installed.
        """

    @abstractmethod
    def import_session(
        self,
        file: BinaryIO,
        *,
        as_copy: bool = False,
        limits: ArchiveLimits | None = None,
        signature: bytes | None = None,
        trusted_keys: Collection[TrustedKey] = (),
        follow: Follow | None = None,
    ) -> Session:
        """Read an archive of one session and return the session; see `import_sessions`.

        Raises:
            ArchiveFormatError: As `import_sessions`, or it holds another number of sessions than one.
        """

    @abstractmethod
    def import_sessions(
        self,
        file: BinaryIO,
        *,
        as_copy: bool = False,
        limits: ArchiveLimits | None = None,
        signature: bytes | None = None,
        trusted_keys: Collection[TrustedKey] = (),
        follow: Follow | None = None,
    ) -> ImportReceipt:
        """Read an archive and store its sessions, all or nothing.

        The archive is verified whole before anything is written, in one transaction: on SQLite other writers wait for
        it, on PostgreSQL those who use a workspace that is new with it. Ids are fresh: derived from the archive's
        digest and the namespace, so that importing the same archive again finds the first import and changes nothing.
        A key is not taken over, because an id is derived from it. Where a session came from is kept as its `source`.
        Imported token usage is history: it is kept with the session and marked, and adds nothing to what this ledger
        spent (see `sum_token_usage`).

        Args:
            file: A binary file open for reading, plain or compressed; it is read from where it stands to its end and
                left open. A pipe is kept in a private temporary file, because it is read more than once.
            as_copy: Make one more copy, with random ids.
            limits: How large the archive may be; by default those of `ArchiveLimits`.
            signature: The bytes of the archive's `.sig` file.
            trusted_keys: Where there are any, the archive must be signed with one of them.
            follow: Is told, now and then, how far it is (an `ArchiveProgress`), in the thread that does the work.

        Returns:
            What the archive holds and under which ids; the same answer each time.

        Raises:
            SessionExistsError: Another namespace has created a session with the very id that is derived.
            ArchiveFormatError: It is no archive, or breaks a rule of the format.
            ArchiveVersionError: Its format version is newer or unknown.
            ArchiveChecksumError: It was changed or damaged.
            ArchiveLimitError: It is larger than the limits allow.
            ArchiveSignatureError: It must be signed, and is not, or not so.
            ImportError: A library that it needs is not installed: for zstd, or for signatures.
        """

    @abstractmethod
    def update_token_usage(
        self,
        session_id: str,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        cost: Decimal | None = None,
        model: str | None = None,
        usage_id: str | None = None,
    ) -> TokenUsage:
        """Add token usage to a session.

        Args:
            session_id: The session.
            input_tokens: To be added, as are the other counts.
            output_tokens: See `TokenUsage`.
            cached_input_tokens: See `TokenUsage`.
            cache_write_tokens: See `TokenUsage`.
            reasoning_tokens: See `TokenUsage`.
            cost: See `TokenUsage`.
            model: The model that was called.
            usage_id: A ULID, the idempotency key: the same id counts once. `None` means a new one.

        Returns:
            The session's new totals.

        Raises:
            SessionNotFoundError: There is no such session.
            UsageConflictError: The usage id is recorded with other counts.
        """

    @abstractmethod
    def sum_token_usage(
        self, *, session_id: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> UsageSums:
        """Return what was spent, added up by actor and model, apart from what was imported.

        It is the sum of the ledger, so deleted sessions are in it: what was spent stays true. Records that came with an
        archive (`imported`) are history of another ledger, and stand in sums of their own.

        Args:
            session_id: Only what is recorded under this id.
            since: Only what was recorded at this time or later.
            until: Only what was recorded before this time.

        Returns:
            The sums, ordered by actor, model and `imported`, with `None` first; an empty list where nothing is
            recorded.

        Raises:
            InvalidInputError: A sum is beyond 2⁶³-1; ask for a shorter time.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the service holds; it cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSessionService(ABC):
    """Sessions and their messages, for callers that await. The contract is `SessionService`'s, word for word."""

    @abstractmethod
    async def create(
        self,
        *,
        actor_name: str | None = None,
        key: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        workspace: str | None = None,
        session_id: str | None = None,
    ) -> Session:
        """See `SessionService.create`."""

    @abstractmethod
    async def get(self, session_id: str) -> Session:
        """See `SessionService.get`."""

    @abstractmethod
    async def find(self, key: str) -> Session | None:
        """See `SessionService.find`."""

    @abstractmethod
    async def get_or_create(
        self,
        key: str,
        *,
        actor_name: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        workspace: str | None = None,
    ) -> Session:
        """See `SessionService.get_or_create`."""

    @abstractmethod
    async def list(
        self,
        *,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = False,
        order: SessionOrder = "newest",
        limit: int = 50,
        cursor: str | None = None,
        offset: int = 0,
    ) -> SessionPage:
        """See `SessionService.list`."""

    @abstractmethod
    async def update(
        self,
        session_id: str,
        *,
        title: str | Unset | None = UNSET,
        actor_name: str | Unset | None = UNSET,
        metadata: Metadata | Unset | None = UNSET,
        archived: bool | Unset = UNSET,
        expected_version: int | None = None,
    ) -> Session:
        """See `SessionService.update`."""

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """See `SessionService.delete`."""

    @abstractmethod
    async def append_message(
        self,
        session_id: str,
        role: str,
        content: JSON,
        *,
        format: str | None = None,  # noqa: A002 - the design's word
        tool_call_id: str | None = None,
        metadata: Metadata | None = None,
        usage: Usage | None = None,
        model: str | None = None,
        message_id: str | None = None,
        expected_sequence: int | None = None,
    ) -> SessionMessage:
        """See `SessionService.append_message`."""

    @abstractmethod
    async def append_messages(
        self,
        session_id: str,
        messages: Sequence[NewMessage | Mapping[str, object]],
        *,
        expected_sequence: int | None = None,
    ) -> Messages:
        """See `SessionService.append_messages`."""

    @abstractmethod
    async def get_messages(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> Messages:
        """See `SessionService.get_messages`."""

    @abstractmethod
    async def export_session(
        self,
        session_id: str,
        file: BinaryIO,
        *,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """See `SessionService.export_session`."""

    @abstractmethod
    async def export_sessions(
        self,
        file: BinaryIO,
        *,
        session_ids: Collection[str] | None = None,
        actor_name: str | None = None,
        workspace: str | None = None,
        include_archived: bool = True,
        since: datetime | None = None,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """See `SessionService.export_sessions`."""

    @abstractmethod
    async def import_session(
        self,
        file: BinaryIO,
        *,
        as_copy: bool = False,
        limits: ArchiveLimits | None = None,
        signature: bytes | None = None,
        trusted_keys: Collection[TrustedKey] = (),
        follow: Follow | None = None,
    ) -> Session:
        """See `SessionService.import_session`."""

    @abstractmethod
    async def import_sessions(
        self,
        file: BinaryIO,
        *,
        as_copy: bool = False,
        limits: ArchiveLimits | None = None,
        signature: bytes | None = None,
        trusted_keys: Collection[TrustedKey] = (),
        follow: Follow | None = None,
    ) -> ImportReceipt:
        """See `SessionService.import_sessions`."""

    @abstractmethod
    async def update_token_usage(
        self,
        session_id: str,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        cost: Decimal | None = None,
        model: str | None = None,
        usage_id: str | None = None,
    ) -> TokenUsage:
        """See `SessionService.update_token_usage`."""

    @abstractmethod
    async def sum_token_usage(
        self, *, session_id: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> UsageSums:
        """See `SessionService.sum_token_usage`."""

    @abstractmethod
    async def close(self) -> None:
        """See `SessionService.close`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
