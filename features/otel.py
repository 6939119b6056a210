"""An application's OpenTelemetry: set up once a process, as its API allows, and heard only where a scenario listens."""

from __future__ import annotations

import functools
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from canaries import CONTENT


class Kept(SpanProcessor):
    """Keeps the spans that end while somebody listens."""

    def __init__(self) -> None:
        self.listening = False
        self.raising = ""
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:  # noqa: ARG002 - the SDK's signature
        self._raise(span, "a span begins")

    def on_end(self, span: ReadableSpan) -> None:
        self._raise(span, "a span ends")
        if self.listening:
            self.spans.append(span)

    def _raise(self, span: ReadableSpan, moment: str) -> None:
        """Raise at this moment of a span of the library's, where a scenario asks for it; the SDK lets it through."""
        if self.raising == moment and span.instrumentation_scope.name == "sessionledger":
            raise RuntimeError(CONTENT)


@functools.cache
def installed() -> tuple[Kept, InMemoryMetricReader]:
    """What hears the spans, and what reads the metrics since it read last."""
    kept = Kept()
    tracers = TracerProvider()
    tracers.add_span_processor(kept)
    trace.set_tracer_provider(tracers)
    delta = AggregationTemporality.DELTA
    reader = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return kept, reader


def listen(on: bool = True, raising: str = "") -> None:
    kept, reader = installed()
    kept.listening, kept.raising = on, raising
    kept.spans.clear()
    reader.get_metrics_data()


def spans() -> list[ReadableSpan]:
    """The spans of the library, in the order they ended."""
    return [span for span in installed()[0].spans if span.instrumentation_scope.name == "sessionledger"]


def points(name: str) -> tuple[Any, list[Any]]:
    """A metric of the library and its points since it was read last."""
    data = installed()[1].get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if (scope.scope.name, metric.name) == ("sessionledger", name):
                    return metric, list(metric.data.data_points)
    return None, []
