"""What is told to OpenTelemetry; imported only where the application has imported that (see `telemetry.py`).

The names follow the semantic conventions for database clients, and that of a conversation the ones for generative AI.
Attributes are names of our own, ids and the database's codes: no content, no key, no title, no namespace, and no text
of an error.

What the application's own processors and samplers raise is logged and goes no further: a message that was committed
must not look like one that was not.
"""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from opentelemetry import context, metrics, trace

from sessionledger.domain.errors import InvalidInputError, StorageError
from sessionledger.domain.ids import checked_id

INSTALLED = "explicit_bucket_boundaries_advisory" in inspect.signature(metrics.Meter.create_histogram).parameters
"""Since 1.30; an application may pin an older one, which must not keep it from its ledger."""

log = logging.getLogger(__name__)

CONVENTIONS = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that the names are those of."""

_BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)  # seconds; the conventions' own

Attributes = dict[str, str]

if INSTALLED:
    # Both stand in for the application's providers, which may be set later.
    _version = sys.modules["sessionledger"].__version__  # looked up: no layer imports the package that shows them all
    _tracer = trace.get_tracer("sessionledger", _version, schema_url=CONVENTIONS)
    _meter = metrics.get_meter("sessionledger", _version, schema_url=CONVENTIONS)
    _duration = _meter.create_histogram(
        "db.client.operation.duration",
        unit="s",
        description="Duration of database client operations.",
        explicit_bucket_boundaries_advisory=_BOUNDARIES,
    )
    _retries = _meter.create_counter(
        "sessionledger.client.retries",
        unit="{retry}",
        description="Attempts after the first one, because the database was busy or away.",
    )


def retried(system: str, error: StorageError) -> None:
    """See `telemetry.retried`."""
    _told(_retries.add, 1, {"db.system.name": system, **_failure(error)})


class Call:
    """One call, from its beginning to its end, retries included."""

    __slots__ = ("_attributes", "_began", "_span", "_token")

    def __init__(self, title: str, attributes: Attributes, session_id: object) -> None:
        self._attributes = attributes
        try:
            self._span = _tracer.start_span(title, kind=trace.SpanKind.CLIENT, attributes=self._attributes)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call goes on without a span
            self._span = trace.INVALID_SPAN
            _passed_over(error)
        if self._span.is_recording():
            self._names(session_id)

    def __enter__(self) -> Self:
        self._token = None
        if self._span is not trace.INVALID_SPAN:  # which it is where no tracing is set up: nothing belongs to it
            self._token = context.attach(trace.set_span_in_context(self._span))
        self._began = time.perf_counter()
        return self

    def gave(self, result: Any) -> Any:
        """The result; a session that is new has its id only now."""
        if self._span.is_recording():
            self._names(getattr(result, "session_id", None))
        return result

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        seconds = time.perf_counter() - self._began
        if error is not None:
            failure = _failure(error)
            self._attributes |= failure
            # Neither the error's text nor its traceback: an application's own error may quote a message.
            _told(self._span.set_attributes, failure)
            _told(self._span.set_status, trace.Status(trace.StatusCode.ERROR))
        _told(_duration.record, seconds, self._attributes)
        _told(self._span.end)
        if self._token is not None:
            context.detach(self._token)

    def _names(self, session_id: object) -> None:
        try:
            self._span.set_attribute("gen_ai.conversation.id", checked_id("session_id", session_id))
        except InvalidInputError:
            return  # the call is not about one session, or what was given is no id and might be anything


def _told(tell: Callable[..., object], *arguments: object) -> None:
    """Tell the application's OpenTelemetry something; whatever it raises, the call has its result."""
    try:
        tell(*arguments)
    except Exception as error:  # noqa: BLE001 - it is the application's, so it may be anything
        _passed_over(error)


def _passed_over(error: Exception) -> None:
    log.warning("The application's OpenTelemetry raised %s; the call goes on without it", type(error).__qualname__)


def _failure(error: BaseException) -> Attributes:
    failure = {"error.type": type(error).__qualname__}
    code = getattr(error, "code", None) if isinstance(error, StorageError) else None
    return failure if code is None else failure | {"db.response.status_code": code}
