"""The contract on a relational database: about a line a method, because the work is shared (see `work.py`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from sessionledger.application.services.appends import Append
from sessionledger.application.services.work import SessionWork
from sessionledger.domain.content import JSON
from sessionledger.domain.errors import SchemaRevisionError
from sessionledger.domain.models import (
    NewMessage,
    Session,
    SessionMessage,
    SessionPage,
    TokenUsage,
    checked_flag,
)
from sessionledger.domain.service import (
    UNSET,
    AsyncSessionService,
    Messages,
    Metadata,
    SessionOrder,
    SessionService,
    Unset,
    Usage,
    UsageSums,
)
from sessionledger.infrastructure.database.dialects import create_file
from sessionledger.infrastructure.database.engine import Database, JoinedDatabase
from sessionledger.infrastructure.telemetry import observed

if TYPE_CHECKING:
    from sessionledger.application.services.transfers import AsyncTransfers, Transfers
    from sessionledger.domain.archive import (
        ArchiveLimits,
        ArchiveReceipt,
        Compression,
        Follow,
        ImportReceipt,
        TrustedKey,
    )
    from sessionledger.infrastructure.database.aio import AsyncDatabase, AsyncJoinedDatabase


@observed
class PersistentSessionService(SessionService):
    """Sessions in a relational database, for callers that block.

    Args:
        database: A `Database`, or `Database.joined(…)` to work inside the caller's own transaction.
        namespace: The tenant the service is bound to.
        group_commit: Whether appends that come while another one is being committed go together into the next commit.
            One with an `expected_sequence` never does.

    Raises:
        InvalidInputError: The namespace is no name, or group commit is asked for inside a caller's own transaction.
    """

    def __init__(
        self, database: Database | JoinedDatabase, *, namespace: str = "default", group_commit: bool = False
    ) -> None:
        self._database = database
        self._work = SessionWork(namespace)
        self._group_commit: GroupCommit | None = None
        if checked_flag("group_commit", group_commit):
            from sessionledger.application.services.group_commit import GroupCommit  # which few ask for

            self._group_commit = GroupCommit(database)

    @classmethod
    def connect(cls, url: str, *, namespace: str = "default", group_commit: bool = False, **options: Any) -> Self:
        """See `sessionledger.connect`."""
        database = Database(url, **options)
        try:
            service = cls(database, namespace=namespace, group_commit=group_commit)
            if database.dialect.embedded:
                create_file(database.engine)
            try:
                database.verify()
            except SchemaRevisionError as error:
                if not (database.dialect.embedded and error.upgradable):
                    raise
                from sessionledger.infrastructure.database import schema  # brings Alembic, which few processes need

                schema.upgrade(database)
        except BaseException:
            database.close()
            raise
        return service

    @property
    def namespace(self) -> str:
        """The tenant the service is bound to."""
        return self._work.namespace

    @property
    def _transfers(self) -> Transfers:
        from sessionledger.application.services.transfers import Transfers  # all that only archives need

        return Transfers(self._database, self.namespace)

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
        """See `SessionService.create`."""
        work = self._work.create(
            actor_name=actor_name,
            key=key,
            title=title,
            metadata=metadata,
            workspace=workspace,
            session_id=session_id,
        )
        return self._database.write(*work)

    def get(self, session_id: str) -> Session:
        """See `SessionService.get`."""
        return self._database.read(self._work.get(session_id), alone=True)

    def find(self, key: str) -> Session | None:
        """See `SessionService.find`."""
        return self._database.read(self._work.find(key), alone=True)

    def get_or_create(
        self,
        key: str,
        *,
        actor_name: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        workspace: str | None = None,
    ) -> Session:
        """See `SessionService.get_or_create`."""
        work = self._work.get_or_create(key, actor_name=actor_name, title=title, metadata=metadata, workspace=workspace)
        return self._database.write(*work)

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
        """See `SessionService.list`."""
        work = self._work.list(
            actor_name=actor_name,
            workspace=workspace,
            include_archived=include_archived,
            order=order,
            limit=limit,
            cursor=cursor,
            offset=offset,
        )
        return self._database.read(work, alone=True)

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
        """See `SessionService.update`."""
        work = self._work.update(
            session_id,
            title=title,
            actor_name=actor_name,
            metadata=metadata,
            archived=archived,
            expected_version=expected_version,
        )
        return self._database.write(*work)

    def delete(self, session_id: str) -> None:
        """See `SessionService.delete`."""
        return self._database.write(*self._work.delete(session_id))

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
        """See `SessionService.append_message`."""
        message = NewMessage(
            role=role,
            content=content,
            format=format,
            tool_call_id=tool_call_id,
            metadata=metadata,
            usage=usage,
            model=model,
            message_id=message_id,
        )
        append = self._work.append(session_id, [message], expected_sequence=expected_sequence)
        return (self._append(append))[0]

    def append_messages(
        self,
        session_id: str,
        messages: Sequence[NewMessage | Mapping[str, object]],
        *,
        expected_sequence: int | None = None,
    ) -> Messages:
        """See `SessionService.append_messages`."""
        return self._append(self._work.append(session_id, messages, expected_sequence=expected_sequence))

    def _append(self, append: Append) -> Messages:
        if self._group_commit is None or append.expected_sequence is not None:
            return self._database.write(append, append.ids, alone=True)
        return self._group_commit.append(append)

    def get_messages(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> Messages:
        """See `SessionService.get_messages`."""
        work = self._work.get_messages(session_id, after=after, before=before, limit=limit, last=last)
        return self._database.read(work, alone=True)

    def export_session(
        self,
        session_id: str,
        file: BinaryIO,
        *,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """See `SessionService.export_session`."""
        return self._transfers.write(file, compression, session_ids=[session_id], follow=follow)

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
        """See `SessionService.export_sessions`."""
        return self._transfers.write(
            file,
            compression,
            session_ids=session_ids,
            actor_name=actor_name,
            workspace=workspace,
            include_archived=include_archived,
            since=since,
            follow=follow,
        )

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
        """See `SessionService.import_session`."""
        return self._transfers.read_one(file, limits, signature, trusted_keys, follow, as_copy=as_copy)

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
        """See `SessionService.import_sessions`."""
        return self._transfers.read(file, limits, signature, trusted_keys, follow, as_copy=as_copy)

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
        """See `SessionService.update_token_usage`."""
        usage = TokenUsage(input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost)
        return self._database.write(*self._work.update_token_usage(session_id, usage, model=model, usage_id=usage_id))

    def sum_token_usage(
        self, *, session_id: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> UsageSums:
        """See `SessionService.sum_token_usage`."""
        work = self._work.sum_token_usage(session_id=session_id, since=since, until=until)
        return self._database.read(work, alone=True)

    def close(self) -> None:
        """See `SessionService.close`."""
        self._database.close()


@observed
class AsyncPersistentSessionService(AsyncSessionService):
    """Sessions in a relational database, for callers that await; see `PersistentSessionService`."""

    def __init__(
        self, database: AsyncDatabase | AsyncJoinedDatabase, *, namespace: str = "default", group_commit: bool = False
    ) -> None:
        self._database = database
        self._work = SessionWork(namespace)
        self._group_commit: AsyncGroupCommit | None = None
        if checked_flag("group_commit", group_commit):
            from sessionledger.application.services.group_commit import AsyncGroupCommit  # which few ask for

            self._group_commit = AsyncGroupCommit(database)

    @classmethod
    async def connect(cls, url: str, *, namespace: str = "default", group_commit: bool = False, **options: Any) -> Self:
        """See `sessionledger.connect_async`."""
        from sessionledger.infrastructure.database.aio import AsyncDatabase  # needs greenlet, which `async` brings

        database = AsyncDatabase(url, **options)
        try:
            service = cls(database, namespace=namespace, group_commit=group_commit)
            if database.dialect.embedded:
                create_file(database.sync_engine)
            try:
                await database.verify()
            except SchemaRevisionError as error:
                if not (database.dialect.embedded and error.upgradable):
                    raise
                from sessionledger.infrastructure.database import schema

                await schema.upgrade_async(database)
        except BaseException:
            await database.close()
            raise
        return service

    @property
    def namespace(self) -> str:
        """The tenant the service is bound to."""
        return self._work.namespace

    @property
    def _transfers(self) -> AsyncTransfers:
        from sessionledger.application.services.transfers import AsyncTransfers  # all that only archives need

        return AsyncTransfers(self._database, self.namespace)

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
        work = self._work.create(
            actor_name=actor_name,
            key=key,
            title=title,
            metadata=metadata,
            workspace=workspace,
            session_id=session_id,
        )
        return await self._database.write(*work)

    async def get(self, session_id: str) -> Session:
        """See `SessionService.get`."""
        return await self._database.read(self._work.get(session_id), alone=True)

    async def find(self, key: str) -> Session | None:
        """See `SessionService.find`."""
        return await self._database.read(self._work.find(key), alone=True)

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
        work = self._work.get_or_create(key, actor_name=actor_name, title=title, metadata=metadata, workspace=workspace)
        return await self._database.write(*work)

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
        work = self._work.list(
            actor_name=actor_name,
            workspace=workspace,
            include_archived=include_archived,
            order=order,
            limit=limit,
            cursor=cursor,
            offset=offset,
        )
        return await self._database.read(work, alone=True)

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
        work = self._work.update(
            session_id,
            title=title,
            actor_name=actor_name,
            metadata=metadata,
            archived=archived,
            expected_version=expected_version,
        )
        return await self._database.write(*work)

    async def delete(self, session_id: str) -> None:
        """See `SessionService.delete`."""
        return await self._database.write(*self._work.delete(session_id))

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
        message = NewMessage(
            role=role,
            content=content,
            format=format,
            tool_call_id=tool_call_id,
            metadata=metadata,
            usage=usage,
            model=model,
            message_id=message_id,
        )
        append = self._work.append(session_id, [message], expected_sequence=expected_sequence)
        return (await self._append(append))[0]

    async def append_messages(
        self,
        session_id: str,
        messages: Sequence[NewMessage | Mapping[str, object]],
        *,
        expected_sequence: int | None = None,
    ) -> Messages:
        """See `SessionService.append_messages`."""
        return await self._append(self._work.append(session_id, messages, expected_sequence=expected_sequence))

    async def _append(self, append: Append) -> Messages:
        if self._group_commit is None or append.expected_sequence is not None:
            return await self._database.write(append, append.ids, alone=True)
        return await self._group_commit.append(append)

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
        work = self._work.get_messages(session_id, after=after, before=before, limit=limit, last=last)
        return await self._database.read(work, alone=True)

    async def export_session(
        self,
        session_id: str,
        file: BinaryIO,
        *,
        compression: Compression | None = None,
        follow: Follow | None = None,
    ) -> ArchiveReceipt:
        """See `SessionService.export_session`."""
        return await self._transfers.write(file, compression, session_ids=[session_id], follow=follow)

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
        return await self._transfers.write(
            file,
            compression,
            session_ids=session_ids,
            actor_name=actor_name,
            workspace=workspace,
            include_archived=include_archived,
            since=since,
            follow=follow,
        )

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
        return await self._transfers.read_one(file, limits, signature, trusted_keys, follow, as_copy=as_copy)

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
        return await self._transfers.read(file, limits, signature, trusted_keys, follow, as_copy=as_copy)

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
        usage = TokenUsage(input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost)
        return await self._database.write(
            *self._work.update_token_usage(session_id, usage, model=model, usage_id=usage_id)
        )

    async def sum_token_usage(
        self, *, session_id: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> UsageSums:
        """See `SessionService.sum_token_usage`."""
        work = self._work.sum_token_usage(session_id=session_id, since=since, until=until)
        return await self._database.read(work, alone=True)

    async def close(self) -> None:
        """See `SessionService.close`."""
        if self._group_commit is not None:
            await self._group_commit.close()
        await self._database.close()
