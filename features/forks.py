"""Work done by forks of this process, all at the same moment."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any


def in_forks(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(0)`, `work(1)` … each in a fork; return what each gave or raised."""
    gate, opening = os.pipe()
    forks = []
    for number in range(count):
        answer, telling = os.pipe()
        process_id = os.fork()
        if process_id == 0:
            os.close(opening)
            os.read(gate, 1)  # until the parent has made all of us
            try:
                result = work(number)
            except BaseException as error:  # noqa: BLE001 - told to the parent
                result = error
            with os.fdopen(telling, "wb") as pipe:
                pipe.write(pickle.dumps(result))
            os._exit(0)
        os.close(telling)
        forks.append((process_id, answer))
    os.close(opening)
    os.close(gate)
    results = []
    for process_id, answer in forks:
        with os.fdopen(answer, "rb") as pipe:
            results.append(pickle.loads(pipe.read()))
        os.waitpid(process_id, 0)
    return results
