"""Traces and metrics over OpenTelemetry: every call has a trace id; a collector, if one is set, gets them."""

from __future__ import annotations

import os
import random
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh import logs
from mesh.errors import Code

PROPAGATOR: TextMapPropagator = TraceContextTextMapPropagator()
METRICS_EVERY_MS = 10_000
# A collector that is away, or takes calls and never answers, holds up the end of the process for no longer.
CLOSE_S = 3.0
# The SDK's own buckets are meant for milliseconds.
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Codes that mark a span as an error, as OpenTelemetry's conventions say of servers: refusals are answers.
ERRORS = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)

log = logs.logger(__name__)

tracer = trace.get_tracer("mesh")
meter = metrics.get_meter("mesh")


def carried(known: SpanContext) -> dict[str, str]:
    """What tells another process of the trace that a span is in: fields of a call's metadata."""
    if not known.is_valid:
        return {}
    if known.trace_state:
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, trace.set_span_in_context(NonRecordingSpan(known), Context()))
        return carrier
    # As the propagator writes it, for a fifth of the time.
    return {"traceparent": f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"}


class Telemetry:
    """The running exporters of this process."""

    def __init__(self, closers: list[Callable[[], None]], cut_off: list[Callable[[], None]]) -> None:
        self._closers = closers
        self._cut_off = cut_off

    def close(self) -> None:
        """Sends what is still held, for `CLOSE_S` at most; blocks, so call it in a thread."""
        timer = threading.Timer(CLOSE_S, self._give_up)
        timer.start()
        for close in self._closers:
            close()
        timer.cancel()

    def _give_up(self) -> None:
        log.warning("the collector does not answer; the last traces and metrics are lost", waited_s=CLOSE_S)
        for cut_off in self._cut_off:
            cut_off()


def duration_histogram(name: str, description: str) -> metrics.Histogram:
    """A histogram of seconds."""
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S
    )


def start(
    *, service: str, instance: str, endpoint: str, trace_ratio: float, faces_strangers: bool = False
) -> Telemetry:
    """Sets telemetry up for this process; with an empty endpoint nothing is sampled or exported.

    Whether a trace is exported is decided where it begins, and where strangers call also for traces begun by
    them: otherwise everybody could have everything exported.
    """
    identity = Resource.create(
        {"service.name": service, "service.namespace": "satreel", "service.instance.id": instance}
    )
    if not endpoint:
        trace.set_tracer_provider(_IdsOnly())
        return Telemetry([], [])
    insecure = not endpoint.startswith("https://")
    ratio = TraceIdRatioBased(trace_ratio)
    begun_elsewhere = ratio if faces_strangers else ALWAYS_ON
    traces = _tracer_provider(identity, ParentBased(ratio, remote_parent_sampled=begun_elsewhere))
    spans = OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    traces.add_span_processor(BatchSpanProcessor(spans))
    trace.set_tracer_provider(traces)
    numbers = OTLPMetricExporter(endpoint=endpoint, insecure=insecure)
    reader = PeriodicExportingMetricReader(numbers, export_interval_millis=METRICS_EVERY_MS)
    measures = MeterProvider(metric_readers=[reader], resource=identity, shutdown_on_exit=False)
    metrics.set_meter_provider(measures)
    _observe_process()
    return Telemetry([traces.shutdown, measures.shutdown], [spans.shutdown, numbers.shutdown])


class _IdsOnly(trace.TracerProvider):
    """Without a collector: traces have ids, for the logs, and nothing else."""

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return _IdsOnlyTracer()


class _IdsOnlyTracer(trace.Tracer):
    def start_span(
        self,
        name: str,  # noqa: ARG002 - as overridden
        context: Context | None = None,
        *_: Any,
        **__: Any,
    ) -> trace.Span:
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else random.getrandbits(128)
        own_id = random.getrandbits(64)
        return NonRecordingSpan(
            SpanContext(trace_id, own_id, is_remote=False, trace_state=parent.trace_state)
        )

    @contextmanager
    def start_as_current_span(  # type: ignore[override] # the interface's own decorator is private
        self, name: str, context: Context | None = None, *_: Any, **__: Any
    ) -> Iterator[trace.Span]:
        with trace.use_span(self.start_span(name, context)) as span:
            yield span


def _tracer_provider(identity: Resource, sampler: Sampler) -> TracerProvider:
    return TracerProvider(resource=identity, sampler=sampler, shutdown_on_exit=False)


def _observe_process() -> None:
    meter.create_observable_counter("process.cpu.time", [_cpu_time], unit="s", description="CPU time used.")
    meter.create_observable_gauge(
        "process.memory.usage", [_memory], unit="By", description="Memory held: resident, or its peak so far."
    )


def _cpu_time(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [metrics.Observation(used.ru_utime + used.ru_stime)]


def _memory(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
    pages = Path("/proc/self/statm")
    if pages.exists():
        return [metrics.Observation(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))]
    # Elsewhere than on Linux only the peak is told: in bytes on macOS.
    return [metrics.Observation(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)]
