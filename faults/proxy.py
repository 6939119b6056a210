"""A TCP proxy before PostgreSQL that sees each COMMIT, and may cut the connection before or after the server does it.

It reads as much of the protocol as it needs: the packets that open a connection, `Query`, and `Parse`, `Bind` and
`Execute`; of the server's side `CommandComplete`. A COMMIT that is cut before the server never reaches it. One that is
cut after the server has been done, and its answer is thrown away.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress

from sqlalchemy import make_url

BEFORE, AFTER = "before", "after"

Choice = Callable[[], str | None]
"""What is to be done with the COMMIT that has just come: `BEFORE`, `AFTER`, or nothing."""

_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104


def by_chance(before: float, after: float, seed: int) -> Choice:
    """Cut so many of all COMMITs, in an order that the seed repeats."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def choose() -> str | None:
        with lock:
            drawn = chance.random()
        if drawn < before:
            return BEFORE
        return AFTER if drawn < before + after else None

    return choose


class Proxy:
    """A proxy on a free port of 127.0.0.1, running in a thread of its own.

    Attributes:
        url: The URL of the database, through the proxy.
        choice: What is done with each COMMIT; by default nothing, and it may be set at any time.
        seen: How many COMMITs have come, and how many of them were cut `BEFORE` and `AFTER`.
    """

    def __init__(self, url: str) -> None:
        known = make_url(url)
        self._server = (known.host, known.port or 5432)
        self.choice: Choice = lambda: None
        self.seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._tasks: set[asyncio.Task[None]] = set()
        port = self._listener.sockets[0].getsockname()[1]
        self.url = known.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def close(self) -> None:
        """Cut what is open, and stop."""
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_next(self, moment: str) -> None:
        """Cut the next COMMIT, and none after it."""
        left = [moment]
        self.choice = lambda: left.pop() if left else None

    def _do(self, awaitable: object) -> object:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()

    async def _stop(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await _Link(self, reader, writer).run(self._server)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side has gone
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._statements: dict[bytes, bool] = {}  # prepared statements, and portals: whether they are a COMMIT
        self._portals: dict[bytes, bool] = {}
        self._losing = False

    async def run(self, address: tuple[str, int]) -> None:
        """Pass on what both sides say, until one goes or the connection is cut."""
        opening = await self._opening()
        server = await asyncio.open_connection(*address)
        try:
            server[1].write(opening)
            if _code(opening) == _CANCEL:
                await server[0].read()
                return
            both = [asyncio.ensure_future(side) for side in (self._ask(server[1]), self._answer(server[0]))]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for side in both:
                side.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            server[1].transport.abort()

    async def _opening(self) -> bytes:
        """The packet that opens the connection; encryption is refused, as a server without it does."""
        reader, writer = self._client
        while True:
            length = await reader.readexactly(4)
            packet = length + await reader.readexactly(struct.unpack("!I", length)[0] - 4)
            if _code(packet) not in {_SSL, _GSS}:
                return packet
            writer.write(b"N")

    async def _ask(self, server: asyncio.StreamWriter) -> None:
        async for kind, message in _messages(self._client[0]):
            moment = None
            if self._commits(kind, message[5:]):
                self._proxy.seen["commits"] += 1
                moment = self._proxy.choice()
            if moment == BEFORE:
                self._proxy.seen[BEFORE] += 1
                return
            self._losing = self._losing or moment == AFTER
            server.write(message)
            await server.drain()

    async def _answer(self, server: asyncio.StreamReader) -> None:
        client = self._client[1]
        async for kind, message in _messages(server):
            if self._losing and kind == b"C" and message[5:] == b"COMMIT\0":
                self._proxy.seen[AFTER] += 1
                return
            if self._losing and kind == b"Z":
                self._losing = False  # it was refused, or rolled back: there is no answer to lose
            client.write(message)
            await client.drain()

    def _commits(self, kind: bytes, body: bytes) -> bool:
        """Whether this message lets the server commit."""
        if kind == b"Q":
            return _is_commit(body)
        if kind == b"P":
            name, query = body.split(b"\0")[:2]
            self._statements[name] = _is_commit(query)
        elif kind == b"B":
            portal, name = body.split(b"\0")[:2]
            self._portals[portal] = self._statements.get(name, False)
        return kind == b"E" and self._portals.get(body.split(b"\0")[0], False)


def _is_commit(query: bytes) -> bool:
    return query.strip(b" ;\n\0").upper() in {b"COMMIT", b"END"}


def _code(packet: bytes) -> int:
    return struct.unpack("!I", packet[4:8])[0]


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """The messages of an open connection, each with its kind: a letter, a length, and the rest."""
    with suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(5)
            yield head[:1], head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


@contextmanager
def before(url: str) -> Iterator[Proxy]:
    """A proxy before the server of a database."""
    with closing(Proxy(url)) as proxy:
        yield proxy
