"""What OpenTelemetry costs an append: three processes that append in turn, so that they share the machine's moods.

    python benchmarks/telemetry.py [rounds] [database URL, upgraded]

Without a URL each has a ledger in memory, so that what is measured is not the disk.

`none` cannot import `opentelemetry`; `api` can, and has no SDK set up; `sdk` exports spans and metrics in batches, to
nowhere. Each round every process appends the same number of messages to a session of its own; told are, in processor
time, the median and
the quartiles of the means of the rounds, and of each round's difference to `none`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

APPENDS = 200
MODES = ("none", "api", "sdk")


def worker(mode: str, url: str) -> None:
    """Append when told so, and answer with the microseconds of processor time an append took, exports included."""
    if mode == "none":
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    if mode == "sdk":
        set_up()
    import sessionledger

    with sessionledger.connect(url) as sessions:
        session_id = sessions.create().session_id
        for _ in sys.stdin:
            began = time.process_time()
            for _ in range(APPENDS):
                sessions.append_message(session_id, "user", "Where is my parcel?")
            print((time.process_time() - began) / APPENDS * 1e6, flush=True)


def set_up() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, _: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))


def main(rounds: int, url: str) -> None:
    workers = {
        mode: subprocess.Popen(
            [sys.executable, __file__, "--worker", mode, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for mode in MODES
    }
    took: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(rounds + 2):
        # Another one begins each round.
        for mode in (*MODES[number % 3 :], *MODES[: number % 3]):
            workers[mode].stdin.write("\n")
            workers[mode].stdin.flush()
            microseconds = float(workers[mode].stdout.readline())
            if number >= 2:  # the first rounds are for warming up
                took[mode].append(microseconds)
    for mode, process in workers.items():
        process.stdin.close()
        process.wait()
        more = [one - none for one, none in zip(took[mode], took["none"], strict=True)]
        print(f"{mode:4}  {told(took[mode])} us an append; {told(more)} us more than none")


def told(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:6.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 60, sys.argv[2] if sys.argv[2:] else "sqlite:///:memory:")
