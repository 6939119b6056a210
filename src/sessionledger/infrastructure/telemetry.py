"""OpenTelemetry: a span and a duration for every call of a service, and a count of the calls tried again.

Where the application has imported `opentelemetry-api`, 1.30 or newer, and nowhere else: to import it takes as long as
the rest of us, and its calls that go nowhere 8 µs each (measured). What is told stands in `signals.py`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from sessionledger.domain.errors import StorageError

_TABLES = {
    "create": "sessions",
    "get": "sessions",
    "find": "sessions",
    "get_or_create": "sessions",
    "list": "sessions",
    "update": "sessions",
    "delete": "sessions",
    "append_message": "session_messages",
    "append_messages": "session_messages",
    "get_messages": "session_messages",
    "update_token_usage": "token_usage",
    "sum_token_usage": "token_usage",
}
"""What a call is about, where that is one table; an archive holds rows of several."""

S = TypeVar("S", bound=type)


def observed(service: S) -> S:
    """Emit a span and a duration for each call of a service's public methods.

    It decorates the class, so that no method has to say so.

    Args:
        service: A service, for callers that block or for those that await.
    """
    for name, method in list(vars(service).items()):
        if inspect.isfunction(method) and not name.startswith("_") and name != "close":
            setattr(service, name, _observed(name, method))
    return service


def retried(system: str, error: StorageError) -> None:
    """Count that a call is tried again.

    Args:
        system: What the conventions call the database, e.g. `postgresql`.
        error: What the attempt before it met.
    """
    if (signals := _signals()) is not None:
        signals.retried(system, error)


def _signals() -> ModuleType | None:
    """What speaks to OpenTelemetry, once the application has imported that."""
    if "opentelemetry.trace" not in sys.modules and "opentelemetry.metrics" not in sys.modules:
        return None
    from sessionledger.infrastructure import signals

    return signals if signals.INSTALLED else None


def _observed(name: str, method: FunctionType) -> Callable[..., Any]:
    table = _TABLES.get(name)
    title = f"{name} {table}" if table else name
    fixed = {"db.operation.name": name, **({"db.collection.name": table} if table else {})}
    # Only what is called so: the first argument of `find` is a key. (Signatures took 0.9 ms at import.)
    takes_id = method.__code__.co_varnames[1 : method.__code__.co_argcount][:1] == ("session_id",)

    def begun(signals: Any, service: Any, arguments: tuple[object, ...], named: dict[str, object]) -> Any:
        session_id = arguments[0] if takes_id and arguments else named.get("session_id")
        attributes = {"db.system.name": service._database.dialect.system, **fixed}  # noqa: SLF001
        return signals.Call(title, attributes, session_id)

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        if (signals := _signals()) is None:
            return method(self, *arguments, **named)
        with begun(signals, self, arguments, named) as call:
            return call.gave(method(self, *arguments, **named))

    async def awaited(self: Any, *arguments: Any, **named: Any) -> Any:
        if (signals := _signals()) is None:
            return await method(self, *arguments, **named)
        with begun(signals, self, arguments, named) as call:
            return call.gave(await method(self, *arguments, **named))

    return functools.wraps(method)(awaited if inspect.iscoroutinefunction(method) else called)
