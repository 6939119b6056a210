"""Group commit: appends of callers that share a service, in one commit.

While one commit is under way, the appends that come wait, and go together into the next one. So a commit's price, a
write to the disk, is paid once for all of them; nobody waits for a group to fill. Each caller has its answer after the
commit, as without. On a server the groups are those of one session, and sessions go on side by side; in an embedded
database, which has one writer anyway, all appends are one group.

(DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)
"""

from __future__ import annotations

import asyncio
import copy
import os
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from sessionledger.application.services.appends import ApartError, Append, Together
from sessionledger.application.services.work import MAX_BATCH
from sessionledger.domain.errors import (
    CommitOutcomeUnknownError,
    InvalidInputError,
    StorageError,
    StorageUnavailableError,
)
from sessionledger.domain.service import Messages
from sessionledger.infrastructure.database.engine import Database, JoinedDatabase
from sessionledger.infrastructure.database.threads import COMMIT_SECONDS, ended

if TYPE_CHECKING:
    from sessionledger.infrastructure.database.aio import AsyncDatabase, AsyncJoinedDatabase

W = TypeVar("W", "_Waiting", "_Awaiting")


class _Queue(Generic[W]):
    """Appends that wait for the commit before them, by what is committed together; for one process, or event loop."""

    def __init__(self, *, by_session: bool) -> None:
        self._by_session = by_session
        self._lock = Lock()
        self._waiting: dict[str, list[W]] = {}  # a key is there while somebody commits

    def key(self, append: Append) -> str:
        return append.session_id if self._by_session else ""

    def join(self, one: W) -> bool:
        """Wait in the queue; `False` if nobody commits, and so the caller is to."""
        with self._lock:
            waiting = self._waiting.get(self.key(one.append))
            if waiting is None:
                self._waiting[self.key(one.append)] = []
                return False
            waiting.append(one)
            return True

    def leave(self, one: W) -> bool:
        """Give up; `False` if it has been taken into a group."""
        with self._lock:
            waiting = self._waiting.get(self.key(one.append), [])
            if one not in waiting:
                return False
            waiting.remove(one)
            return True

    def next(self, key: str) -> list[W]:
        """The next group; when there is none, nobody commits any more."""
        with self._lock:
            waiting = self._waiting[key]
            messages = 0
            for count, one in enumerate(waiting):
                messages += len(one.append.drafts)
                if count and messages > MAX_BATCH:
                    group, self._waiting[key] = waiting[:count], waiting[count:]
                    return group
            if waiting:
                self._waiting[key] = []
            else:
                del self._waiting[key]
            return waiting


class _Waiting:
    """A thread's append."""

    def __init__(self, append: Append) -> None:
        self.append = append
        self.group: list[_Waiting] = []  # to be committed by this thread
        self.answer: Any = None
        self._told = Event()

    def tell(self, answer: Any) -> None:
        self.answer = answer
        self._told.set()

    def lead(self, group: list[_Waiting]) -> None:
        self.group = group
        self._told.set()

    def wait(self, seconds: float | None = None) -> None:
        self._told.wait(seconds)


class GroupCommit:
    """Appends for callers that block, in one commit with those that wait.

    Args:
        database: The database.

    Raises:
        InvalidInputError: The database is a caller's own transaction.
    """

    def __init__(self, database: Database | JoinedDatabase) -> None:
        if not isinstance(database, Database):
            raise InvalidInputError("group_commit", "must not be asked for inside a caller's own transaction")
        self._database = database
        self._queues: dict[int, _Queue[_Waiting]] = {}

    @property
    def _queue(self) -> _Queue[_Waiting]:
        """The process's own queue: whoever commits in the parent of a fork stayed behind there."""
        return self._queues.setdefault(os.getpid(), _Queue(by_session=not self._database.dialect.embedded))

    def append(self, append: Append) -> Messages:
        """Append, alone or with others.

        Raises:
            SessionLedgerError: As `SessionService.append_messages`.
        """
        mine = _Waiting(append)
        if self._queue.join(mine):
            self._wait(mine)
        else:
            mine.group = [mine]
        if mine.group:
            self._commit(mine.group)
        if not isinstance(mine.answer, _ByItself):
            return _given(mine.answer)
        with mine.answer:
            return self._alone(append)

    def _wait(self, mine: _Waiting) -> None:
        try:
            mine.wait()
        except BaseException:  # an interrupt, as of Ctrl-C
            if not self._queue.leave(mine):
                mine.wait(COMMIT_SECONDS)
                if mine.group:  # those behind wait for this thread
                    self._lead(mine.group[1:] or self._queue.next(self._queue.key(mine.append)))
            raise

    def _lead(self, group: list[_Waiting]) -> None:
        if group:
            group[0].lead(group)

    def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group, whose first is the caller; then let the first that waits commit the next one."""
        answers: list[Any] = [_ALONE_AGAIN] * len(group)
        try:
            answers = self._answers([each.append for each in group])
        finally:
            following = self._queue.next(self._queue.key(group[0].append))
            for each, answer in zip(group, answers, strict=True):
                each.tell(answer)
            self._lead(following)

    def _answers(self, appends: list[Append]) -> list[Any]:
        try:
            if len(appends) == 1:
                return [self._alone(appends[0])]
            together = Together(appends)
            return self._database.write(together, together.ids, alone=True)
        except Exception as error:  # noqa: BLE001 - whoever it is for raises it
            return _failed(error, appends)

    def _alone(self, append: Append) -> Messages:
        return self._database.write(append, append.ids, alone=True)


class _Awaiting:
    """A task's append."""

    def __init__(self, append: Append) -> None:
        self.append = append
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def tell(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class AsyncGroupCommit:
    """The same for callers that await, as tasks of one event loop.

    A cancel of an append that waits takes it out of the queue. One that is in a group waits for the group's commit, for
    at most `COMMIT_SECONDS`, and comes out.
    """

    def __init__(self, database: AsyncDatabase | AsyncJoinedDatabase) -> None:
        if not hasattr(database, "sync_engine"):
            raise InvalidInputError("group_commit", "must not be asked for inside a caller's own transaction")
        self._database = database
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue[_Awaiting]] = WeakKeyDictionary()
        self._committing: set[asyncio.Task[None]] = set()

    @property
    def _queue(self) -> _Queue[_Awaiting]:
        """The running loop's own queue: whoever commits on another one may have ended with it."""
        loop = asyncio.get_running_loop()
        return self._queues.setdefault(loop, _Queue(by_session=not self._database.dialect.embedded))

    async def append(self, append: Append) -> Messages:
        """See `GroupCommit.append`."""
        mine = _Awaiting(append)
        if not self._queue.join(mine):
            group = [mine]
            task = asyncio.create_task(self._commit(group))
            self._committing.add(task)
            task.add_done_callback(partial(self._ended, self._queue, self._queue.key(append), group))
        try:
            answer = await asyncio.shield(mine.answer)
        except asyncio.CancelledError:
            if not self._queue.leave(mine):
                await ended(mine.answer, COMMIT_SECONDS)
            raise
        if not isinstance(answer, _ByItself):
            return _given(answer)
        with answer:
            return await self._alone(append)

    async def close(self) -> None:
        """Wait until nobody waits any more, for at most `COMMIT_SECONDS`."""
        if self._committing:
            await asyncio.wait(self._committing, timeout=COMMIT_SECONDS)

    async def _commit(self, group: list[_Awaiting]) -> None:
        """Commit one group after another, until nobody waits; `group` is always the present one."""
        key = self._queue.key(group[0].append)
        while group:
            answers = await self._answers([each.append for each in group])
            for each, answer in zip(group, answers, strict=True):
                each.tell(answer)
            group[:] = self._queue.next(key)

    def _ended(self, queue: _Queue[_Awaiting], key: str, group: list[_Awaiting], task: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a task that was cancelled, maybe before it began, because its loop ends."""
        self._committing.discard(task)
        while group:
            for each in group:
                each.tell(_ALONE_AGAIN)
            group = queue.next(key)

    async def _answers(self, appends: list[Append]) -> list[Any]:
        try:
            if len(appends) == 1:
                return [await self._alone(appends[0])]
            together = Together(appends)
            return await self._database.write(together, together.ids, alone=True)
        except Exception as error:  # noqa: BLE001 - whoever it is for raises it
            return _failed(error, appends)

    async def _alone(self, append: Append) -> Messages:
        return await self._database.write(append, append.ids, alone=True)


class _ByItself:
    """What a caller is told whose append is to be done by itself; that is done inside it.

    Args:
        again: Whether it may be committed already.
    """

    def __init__(self, *, again: bool) -> None:
        self._again = again

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._again and isinstance(error, StorageUnavailableError):  # which says that nothing was committed
            raise CommitOutcomeUnknownError(code=error.code, ids=error.ids) from None


_ALONE, _ALONE_AGAIN = _ByItself(again=False), _ByItself(again=True)


def _failed(error: Exception, appends: list[Append]) -> list[Any]:
    """What each caller is told of an error: with its own ids, or, of one that need not be its own, to try by itself."""
    if len(appends) == 1:
        return [error]
    if not isinstance(error, StorageError):
        return [_ALONE_AGAIN if isinstance(error, ApartError) and error.again else _ALONE] * len(appends)
    errors = [copy.copy(error) for _ in appends]
    for each, append in zip(errors, appends, strict=True):
        each.ids = append.ids
    return errors


def _given(answer: Any) -> Messages:
    if isinstance(answer, Exception):
        raise answer
    messages: Messages = answer
    return messages
