"""W6 in a peer's environment: processes that append to one session at once.

They are forked from a process that has imported everything and opened nothing, so none inherits a connection and
starting 32 of them does not import a framework 32 times.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from peer import PAGE, text_of


class Nursery:
    """A fork of this process that makes writers when it is told; it must be made before the peer is opened.

    Args:
        open_peer: Opens the peer for a writer and returns its worker.
    """

    def __init__(self, open_peer: Callable[[], Any]) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        if os.fork() == 0:
            os.close(self._orders)  # or it would never see that there are no more orders
            os.close(self._answers)
            with contextlib.suppress(BaseException), os.fdopen(orders) as reading, os.fdopen(answers, "w") as writing:
                for line in reading:
                    print(json.dumps(_write(open_peer, json.loads(line))), file=writing, flush=True)
            os._exit(0)
        os.close(orders)
        os.close(answers)
        self._reading = os.fdopen(self._answers)

    def write(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have writers append for some seconds, and return what each was told."""
        os.write(self._orders, json.dumps(order).encode() + b"\n")
        return json.loads(self._reading.readline())


def _write(open_peer: Callable[[], Any], order: dict[str, Any]) -> dict[str, Any]:
    waiting, starting = os.pipe()
    children = []
    for number in range(order["writers"]):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _be_writer(open_peer, order, number, waiting, writing)
        os.close(writing)
        children.append((child, os.fdopen(reading)))
    said = [file.readline().strip() for _, file in children]
    os.write(starting, b"x" * len(children))  # all at once, as near as it can be done
    os.close(starting)
    os.close(waiting)
    lines = [file.readline() for _, file in children]
    for child, file in children:
        file.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    failed = [line for line in said if line != "ready"]
    told = [line for line, first in zip(lines, said, strict=True) if first == "ready"]
    failed += [line.strip() or "a writer ended before it told" for line in told if not line.startswith("{")]
    return {"writers": [json.loads(line) for line in told if line.startswith("{")], "failed": failed}


def _be_writer(open_peer: Callable[[], Any], order: dict[str, Any], number: int, waiting: int, telling: int) -> None:
    """One writer: a process that opens the peer for itself. It never returns."""
    with contextlib.suppress(BaseException), os.fdopen(telling, "w") as file:
        try:
            worker = open_peer()
            session = worker.call("session", order["session"], False)
            worker.call("last", session, PAGE)  # connects, and whatever else the first call has to do
            print("ready", file=file, flush=True)
            os.read(waiting, 1)
            turn = worker.peer.turn

            async def awaited(text: str) -> None:
                await turn(session, text)

            if inspect.iscoroutinefunction(turn):
                told = worker.runner.run(_until(awaited, number, order["for_seconds"]))
            else:
                told = worker.runner.run(_until(_blocking(turn, session), number, order["for_seconds"]))
            print(json.dumps(told), file=file)
        except BaseException as error:  # noqa: BLE001 - told to the process that waits for a line
            print(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", file=file)
    os._exit(0)


def _blocking(turn: Callable[..., None], session: Any) -> Callable[[str], Any]:
    async def act(text: str) -> None:
        turn(session, text)

    return act


async def _until(act: Callable[[str], Any], number: int, seconds: float) -> dict[str, Any]:
    """Append until the time is over; an error is counted and the next message is tried."""
    acknowledged: list[tuple[str, int, int]] = []
    errors: dict[str, int] = {}
    deadline = time.monotonic() + seconds
    at = 0
    while time.monotonic() < deadline:
        at += 1
        tag, began = f"w{number}-{at}", time.monotonic_ns()
        try:
            await act(text_of(tag))
            acknowledged.append((tag, began, time.monotonic_ns()))
        except Exception as error:  # noqa: BLE001 - what a caller is given is counted
            errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
    return {"acknowledged": acknowledged, "errors": errors}
