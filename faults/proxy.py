"""A TCP proxy before PostgreSQL that sees each COMMIT, and may cut the connection before or after the server does it.

It reads as much of the protocol as it needs: the packets that open a connection, `Query`, and `Parse`, `Bind` and
`Execute`; of the server's side `CommandComplete`, `ErrorResponse` and `ReadyForQuery`. A COMMIT that is cut before the
server never reaches it. One that is cut after the server has been done, and its answer is thrown away.

An append outside a transaction is a COMMIT as well: the server commits it before it says that it is ready again.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress

from sqlalchemy import make_url

BEFORE, AFTER = "before", "after"

APPEND = re.compile(rb"WITH\b.*\bINSERT INTO session_messages\b", re.DOTALL)
"""A whole append in one statement."""

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
        postponed: What is done with the next COMMIT, because the server refused the one that it was meant for.
    """

    def __init__(self, url: str) -> None:
        known = make_url(url)
        self._server = (known.host, known.port or 5432)
        self.choice: Choice = lambda: None
        self.seen: Counter[str] = Counter()
        self.postponed: str | None = None
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

    def next_moment(self) -> str | None:
        """What is to be done with the COMMIT that has just come."""
        self.seen["commits"] += 1
        postponed, self.postponed = self.postponed, None
        return postponed or self.choice()

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
        self._statements: dict[bytes, bytes] = {}  # prepared statements, and portals
        self._portals: dict[bytes, bytes] = {}
        self._idle = False  # outside a transaction
        self._losing = False  # the answer to COMMIT
        self._keeping: list[tuple[bytes, bytes]] | None = None  # the answer to an append, until it is known to be good

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
            query = self._query(kind, message[5:])
            appends = self._idle and APPEND.match(query) is not None
            moment = self._proxy.next_moment() if appends or _is_commit(query) else None
            if moment == BEFORE:
                self._proxy.seen[BEFORE] += 1
                return
            if moment == AFTER and appends:
                self._keeping = []
            self._losing = self._losing or (moment == AFTER and not appends)
            server.write(message)
            await server.drain()

    async def _answer(self, server: asyncio.StreamReader) -> None:
        client = self._client[1]
        async for kind, message in _messages(server):
            if kind == b"Z":
                self._idle = message[5:] == b"I"
            if self._keeping is not None:
                self._keeping.append((kind, message))
                if kind == b"Z" and not self._refused():
                    self._proxy.seen[AFTER] += 1
                    return
                continue
            if self._losing and kind == b"C" and message[5:] == b"COMMIT\0":
                self._proxy.seen[AFTER] += 1
                return
            if self._losing and kind == b"Z":
                self._losing = False  # it was refused, or rolled back: there is no answer to lose
            client.write(message)
            await client.drain()

    def _refused(self) -> bool:
        """Pass the answer to an append on where the server has refused it: then there is none to lose."""
        if not any(kind == b"E" for kind, _ in self._keeping):
            return False
        self._client[1].writelines(message for _, message in self._keeping)
        self._keeping, self._proxy.postponed = None, AFTER
        return True

    def _query(self, kind: bytes, body: bytes) -> bytes:
        """What this message lets the server execute."""
        if kind == b"Q":
            return body
        if kind == b"P":
            name, query = body.split(b"\0")[:2]
            self._statements[name] = query
        elif kind == b"B":
            portal, name = body.split(b"\0")[:2]
            self._portals[portal] = self._statements.get(name, b"")
        return self._portals.get(body.split(b"\0")[0], b"") if kind == b"E" else b""


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
