"""Traces and metrics over OpenTelemetry: every call has a trace id; a collector, if one is set, gets them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROPAGATOR: TextMapPropagator = TraceContextTextMapPropagator()
_EXPORT_EVERY_MS = 10_000

tracer = trace.get_tracer("mesh")
meter = metrics.get_meter("mesh")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The running exporters of this process; `close` sends what they still hold."""

    traces: TracerProvider
    measures: MeterProvider | None

    def close(self) -> None:
        """Flushes and stops."""
        self.traces.shutdown()
        if self.measures is not None:
            self.measures.shutdown()


def start(*, service: str, instance: str, endpoint: str, trace_ratio: float) -> Telemetry:
    """Sets telemetry up for this process; with an empty endpoint nothing is sampled or exported."""
    identity = Resource.create(
        {"service.name": service, "service.namespace": "satreel", "service.instance.id": instance}
    )
    sampler = ParentBased(TraceIdRatioBased(trace_ratio)) if endpoint else ALWAYS_OFF
    traces = TracerProvider(resource=identity, sampler=sampler, shutdown_on_exit=False)
    measures = None
    if endpoint:
        insecure = not endpoint.startswith("https://")
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=endpoint, insecure=insecure), export_interval_millis=_EXPORT_EVERY_MS
        )
        measures = MeterProvider(metric_readers=[reader], resource=identity, shutdown_on_exit=False)
        metrics.set_meter_provider(measures)
        _observe_process()
    trace.set_tracer_provider(traces)
    return Telemetry(traces, measures)


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
