"""Traces and metrics over OpenTelemetry: every call has a trace id; a collector, if one is set, gets them."""

from __future__ import annotations

from dataclasses import dataclass

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
    resource = Resource.create(
        {"service.name": service, "service.namespace": "satreel", "service.instance.id": instance}
    )
    sampler = ParentBased(TraceIdRatioBased(trace_ratio)) if endpoint else ALWAYS_OFF
    traces = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    measures = None
    if endpoint:
        insecure = not endpoint.startswith("https://")
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=endpoint, insecure=insecure), export_interval_millis=_EXPORT_EVERY_MS
        )
        measures = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        metrics.set_meter_provider(measures)
    trace.set_tracer_provider(traces)
    return Telemetry(traces, measures)
