"""Sends what is seen to a collector, over OTLP/gRPC, without ever being in anybody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mesh import logs
from mesh.telemetry.spans import Teller
from mesh.telemetry.tracing import Tracer

METRICS_EVERY_MS = 10_000
# A collector that is away, or takes calls and never answers, holds up the end of the process for no longer.
CLOSE_S = 3.0

log = logs.logger(__name__)

# Of this process; it tells nobody until `start`.
tracer = Tracer()


class Telemetry:
    """The running exporters of this process."""

    def __init__(self, closers: list[Callable[[], None]], cut_off: list[Callable[[], None]]) -> None:
        self._closers = closers
        self._cut_off = cut_off

    def close(self) -> None:
        """Sends what is still held, for `CLOSE_S` at most; blocks, so call it in a thread."""
        tracer.tell(None)
        timer = threading.Timer(CLOSE_S, self._give_up)
        timer.start()
        for close in self._closers:
            close()
        timer.cancel()

    def _give_up(self) -> None:
        log.warning("the collector does not answer; the last traces and metrics are lost", waited_s=CLOSE_S)
        for cut_off in self._cut_off:
            cut_off()


def start(
    *,
    service: str,
    instance: str,
    endpoint: str,
    trace_ratio: float,
    slow_s: float,
    faces_strangers: bool = False,
) -> Telemetry:
    """Sets telemetry up for this process; with an empty endpoint nothing is exported.

    Whether a trace is sampled is decided where it begins, and where strangers call also for traces begun by
    them: otherwise everybody could have everything exported.
    """
    if not endpoint:
        tracer.tell(None, ratio=trace_ratio, trusts_callers=not faces_strangers)
        return Telemetry([], [])
    identity = Resource.create(
        {"service.name": service, "service.namespace": "satreel", "service.instance.id": instance}
    )
    insecure = not endpoint.startswith("https://")
    spans = OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    processor = BatchSpanProcessor(spans)
    teller = Teller(processor.on_end, identity, slow_s=slow_s)
    tracer.tell(teller, ratio=trace_ratio, trusts_callers=not faces_strangers)
    numbers = OTLPMetricExporter(endpoint=endpoint, insecure=insecure)
    reader = PeriodicExportingMetricReader(numbers, export_interval_millis=METRICS_EVERY_MS)
    measures = MeterProvider(metric_readers=[reader], resource=identity, shutdown_on_exit=False)
    metrics.set_meter_provider(measures)
    return Telemetry([processor.shutdown, measures.shutdown], [spans.shutdown, numbers.shutdown])
