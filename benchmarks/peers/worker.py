"""One peer in its own environment: takes orders as JSON lines, answers each with one line.

    python worker.py ADAPTER NAME TARGET [--again]    # orders on standard input, until it is closed

With `--again` the tables are there already.

It needs nothing but the standard library and what the adapter imports. Times are taken here, around the peer's call
alone, so the pipe is in none of them. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import sys
import time
from asyncio import Runner
from typing import Any

from peer import PAGE, Peer, tag_of, text_of

from writers import Nursery

clock = time.perf_counter_ns


class Worker:
    """Does what it is told with one peer."""

    nursery: Nursery

    def __init__(self, adapter: str, name: str, target: str, make: bool) -> None:
        self.peer: Peer = importlib.import_module(adapter).PEERS[name]()
        self.runner = Runner()
        self.sessions: dict[str, Any] = {}
        self.call("open", target, make)

    def call(self, method: str, *values: Any) -> Any:
        """Call the peer, and await it if it has to be awaited."""
        result = getattr(self.peer, method)(*values)
        return self.runner.run(_finish(result)) if inspect.isawaitable(result) else result

    def timed(self, method: str, calls: list[tuple[Any, ...]]) -> list[int]:
        """The times of single calls, in nanoseconds; a coroutine's without starting a loop for each."""
        act = getattr(self.peer, method)

        async def awaited() -> list[int]:
            times = []
            for values in calls:
                began = clock()
                await act(*values)
                times.append(clock() - began)
            return times

        if inspect.iscoroutinefunction(act):
            return self.runner.run(awaited())
        times = []
        for values in calls:
            began = clock()
            act(*values)
            times.append(clock() - began)
        return times

    # The orders, each a method: what it takes stands in the order, what it returns is the answer.

    def hello(self) -> dict[str, Any]:
        """What is known of the peer."""
        peer = type(self.peer)
        versions = {name: importlib.metadata.version(name) for name in peer.packages}
        facts = {"notes": peer.notes, "missing": peer.missing, "faster": peer.faster}
        return facts | {"versions": versions, "python": platform.python_version()}

    def session(self, name: str, make: bool = True) -> None:
        """Make a session, or take it again as it is stored."""
        self.sessions[name] = self.call("session", name, make)

    def forget(self, name: str) -> None:
        """Forget a session, so that what the peer holds for it is freed."""
        session = self.sessions.pop(name)
        if hasattr(session, "close"):
            session.close()

    def append(self, name: str, times: int) -> list[int]:
        """Append single messages."""
        return self.timed("append", [(self.sessions[name], text_of(f"a-{at}")) for at in range(times)])

    def append_many(self, name: str, times: int) -> list[int]:
        """Append a hundred messages at a time."""
        texts = [text_of(f"b-{at}") for at in range(100)]
        return self.timed("append_many", [(self.sessions[name], texts)] * times)

    def fill(self, name: str, count: int) -> None:
        """Fill a session, and see that what is read last is what was written last."""
        self.session(name)
        texts = [text_of(f"f-{at}") for at in range(count)]
        self.call("fill", self.sessions[name], texts)
        if hasattr(self.sessions[name], "close"):
            self.sessions[name].close()
        self.session(name, make=False)
        found = self.call("last", self.sessions[name], PAGE)
        if found != texts[-PAGE:]:
            raise AssertionError(f"the last {PAGE} of {count} are not what was written last: {len(found)} came")

    def last(self, name: str, times: int) -> list[int]:
        """Read the last fifty messages."""
        return self.timed("last", [(self.sessions[name], PAGE)] * times)

    def add_sessions(self, count: int) -> None:
        """Make sessions to be listed."""
        self.call("add_sessions", count)

    def page(self, number: int, times: int) -> list[int]:
        """Read a page of sessions; the first time finds out where it is and is not measured."""
        if self.call("page", number) < PAGE:
            raise AssertionError(f"page {number} has not {PAGE} sessions")
        return self.timed("page", [(number,)] * times)

    def read(self, name: str) -> dict[str, Any]:
        """What is stored in a session: the tags in reading order, and the places."""
        self.session(name, make=False)
        session = self.sessions[name]
        tags = [tag_of(text) for text in self.call("everything", session)]
        return {"tags": tags, "positions": self.call("positions", session)}

    def write(self, **order: Any) -> dict[str, Any]:
        """Have processes append to a session at once."""
        return self.nursery.write(order)

    def close(self) -> None:
        """Close the peer."""
        self.call("close")


async def _finish(awaitable: Any) -> Any:
    return await awaitable


def serve(worker: Worker, answers: Any) -> None:
    """Take orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"answer": getattr(worker, order.pop("do"))(**order)}
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is told
            answer = {"error": _said(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


def main() -> None:
    """See the module's text."""
    adapter, name, target, *again = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        importlib.import_module(adapter)
        nursery = Nursery(lambda: Worker(adapter, name, target, make=False))
        worker = Worker(adapter, name, target, make=not again)
    except Exception as error:
        print(json.dumps({"error": _said(error)}), file=answers, flush=True)
        raise
    worker.nursery = nursery
    print(json.dumps({"answer": worker.hello()}), file=answers, flush=True)
    serve(worker, answers)
    with contextlib.suppress(Exception):
        worker.close()
    os._exit(0)  # some libraries leave threads that would wait


if __name__ == "__main__":
    main()
