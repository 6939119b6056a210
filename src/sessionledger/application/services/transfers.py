"""Archives to and from files, for both services: the work is in `archives.py`, the files in `files.py`.

Loaded with a service's first archive: all that archives need was a third of what a connected service loads beside
SQLAlchemy (measured), and most processes move no session.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from sessionledger.application.services.archives import Export, Import
from sessionledger.application.services.files import checked_file, in_thread, opened, opened_in_thread
from sessionledger.domain.archive import (
    ArchiveFile,
    ArchiveLimits,
    ArchiveReceipt,
    Compression,
    Follow,
    ImportReceipt,
    TrustedKey,
    checked_compression,
)
from sessionledger.domain.models import Session
from sessionledger.infrastructure.database import Database
from sessionledger.infrastructure.database.engine import JoinedDatabase

if TYPE_CHECKING:
    from sessionledger.infrastructure.database.aio import AsyncDatabase, AsyncJoinedDatabase


class Transfers:
    """Exports and imports of one namespace; see `SessionService` for what they take and raise.

    Args:
        database: The service's.
        namespace: The service's.
    """

    def __init__(self, database: Database | JoinedDatabase, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def write(self, file: BinaryIO, compression: Compression | None, **selection: Any) -> ArchiveReceipt:
        """Write an archive of what `Export` selects."""
        export = Export(self._namespace, **selection)
        archive = ArchiveFile(checked_file(file, "write"), checked_compression(compression))
        with closing(self._database.stream(export)) as pieces:
            for piece in pieces:
                archive.write(piece)
                del piece  # the next one is made without this one in memory
        archive.finish()
        return export.receipt(archive.compressed_size)

    def read_one(
        self,
        file: BinaryIO,
        limits: ArchiveLimits | None,
        signature: bytes | None,
        trusted_keys: Collection[TrustedKey],
        follow: Follow | None,
        *,
        as_copy: bool,
    ) -> Session:
        """Import an archive of one session."""
        with opened(file, limits, signature, trusted_keys, follow) as archive:
            work = Import(archive, self._namespace, as_copy=as_copy)
            return work.committed(self._database.write(work.one_session(), work.ids))

    def read(
        self,
        file: BinaryIO,
        limits: ArchiveLimits | None,
        signature: bytes | None,
        trusted_keys: Collection[TrustedKey],
        follow: Follow | None,
        *,
        as_copy: bool,
    ) -> ImportReceipt:
        """Import an archive."""
        with opened(file, limits, signature, trusted_keys, follow) as archive:
            work = Import(archive, self._namespace, as_copy=as_copy)
            return work.committed(self._database.write(work, work.ids))


class AsyncTransfers:
    """The same for callers that await; files are read and written in threads."""

    def __init__(self, database: AsyncDatabase | AsyncJoinedDatabase, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    async def write(self, file: BinaryIO, compression: Compression | None, **selection: Any) -> ArchiveReceipt:
        """See `Transfers.write`."""
        export = Export(self._namespace, **selection)
        archive = ArchiveFile(checked_file(file, "write"), checked_compression(compression))
        async with aclosing(self._database.stream(export)) as pieces:
            async for piece in pieces:
                await in_thread(partial(archive.write, piece))
                del piece
        await in_thread(archive.finish)
        return export.receipt(archive.compressed_size)

    async def read_one(
        self,
        file: BinaryIO,
        limits: ArchiveLimits | None,
        signature: bytes | None,
        trusted_keys: Collection[TrustedKey],
        follow: Follow | None,
        *,
        as_copy: bool,
    ) -> Session:
        """See `Transfers.read_one`."""
        async with opened_in_thread(file, limits, signature, trusted_keys, follow) as archive:
            work = Import(archive, self._namespace, as_copy=as_copy)
            return work.committed(await self._database.write(work.one_session(), work.ids))

    async def read(
        self,
        file: BinaryIO,
        limits: ArchiveLimits | None,
        signature: bytes | None,
        trusted_keys: Collection[TrustedKey],
        follow: Follow | None,
        *,
        as_copy: bool,
    ) -> ImportReceipt:
        """See `Transfers.read`."""
        async with opened_in_thread(file, limits, signature, trusted_keys, follow) as archive:
            work = Import(archive, self._namespace, as_copy=as_copy)
            return work.committed(await self._database.write(work, work.ids))
