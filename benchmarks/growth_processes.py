"""How many connections a process has that serves many callers at once, and how much memory it takes.

Run as a program it is that process: `python benchmarks/growth_processes.py URL threads|tasks NUMBER`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

APPENDS = 50
MIB = 1024 * 1024


@dataclass(frozen=True)
class Process:
    """A process at work.

    Attributes:
        database: The kind of database.
        callers: How many callers there are, threads or tasks.
        how: Which of them.
        connections: How many connections it held to the server, or how often it had the file open.
        imported: MiB of resident memory with the package imported.
        connected: With a service connected and one message appended.
        worked: After each caller has appended fifty messages and read them.
        threads: How many threads of the operating system it had then.
    """

    database: str
    callers: int
    how: str
    connections: int
    imported: float
    connected: float
    worked: float
    threads: int


def processes(kind: str, url: str, callers: tuple[int, ...]) -> Iterator[Process]:
    """A process for each number of callers, sync and async."""
    for how in ("threads", "tasks"):
        for number in callers:
            command = [sys.executable, __file__, url, how, str(number)]
            told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            yield Process(kind, number, how, **json.loads(told))


def _resident() -> float:
    return round(psutil.Process().memory_info().rss / MIB, 1)


def _connections(url: str) -> int:
    """The process's own connections: those to the server, or the files it has open of the database's."""
    process = psutil.Process()
    if url.startswith("sqlite"):
        path = str(Path(url.removeprefix("sqlite:///")).resolve())
        return sum(each.path == path for each in process.open_files())
    port = int(url.rpartition(":")[2].partition("/")[0])
    return sum(bool(each.raddr) and each.raddr.port == port for each in process.net_connections())


def serve(url: str, how: str, number: int) -> dict[str, Any]:
    """Be that process."""
    import sessionledger

    found: dict[str, Any] = {"imported": _resident()}
    serving = _serve_tasks if how == "tasks" else _serve_threads
    serving(sessionledger, url, number, found)
    return found


def _noted(url: str, found: dict[str, Any]) -> None:
    found["connections"] = _connections(url)
    found["threads"] = psutil.Process().num_threads()
    found["worked"] = _resident()


def _serve_threads(ledger: Any, url: str, number: int, found: dict[str, Any]) -> None:
    def work(session_id: str) -> None:
        for _ in range(APPENDS):
            service.append_message(session_id, "user", "Where is my parcel?")
        assert len(service.get_messages(session_id)) == APPENDS

    with ledger.connect(url) as service, ThreadPoolExecutor(number) as pool:
        service.append_message(service.create().session_id, "user", "Hello")
        found["connected"] = _resident()
        list(pool.map(work, [service.create().session_id for _ in range(number)]))
        _noted(url, found)


def _serve_tasks(ledger: Any, url: str, number: int, found: dict[str, Any]) -> None:
    async def run() -> None:
        async def work(session_id: str) -> None:
            for _ in range(APPENDS):
                await service.append_message(session_id, "user", "Where is my parcel?")
            assert len(await service.get_messages(session_id)) == APPENDS

        async with await ledger.connect_async(url) as service:
            await service.append_message((await service.create()).session_id, "user", "Hello")
            found["connected"] = _resident()
            ids = [(await service.create()).session_id for _ in range(number)]
            await asyncio.gather(*map(work, ids))
            _noted(url, found)

    asyncio.run(run())


if __name__ == "__main__":
    print(json.dumps(serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
