"""An OTLP collector that keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

KINDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_CONSUMER: "consumer",
    Span.SPAN_KIND_PRODUCER: "producer",
}


@dataclass(frozen=True)
class Seen:
    """A span as somebody who looks at traces sees it."""

    service: str
    kind: str
    name: str
    span: Span

    @property
    def label(self) -> str:
        return f"{self.service} {self.kind} {self.name.rpartition('.')[2]}"

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return read(self.span.attributes)

    @property
    def is_error(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR


class Collector:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Seen] = []
        self.logs: list[LogRecord] = []
        # By service and name, as they came last.
        self.metrics: dict[tuple[str, str], Metric] = {}

    def trace(self, trace_id: str) -> list[Seen]:
        return [seen for seen in self.spans if seen.trace_id == trace_id]

    async def until_spans(self, count: int) -> None:
        """Waits for so many spans; then the connection stands, and what is held back goes fast at the end."""
        async with asyncio.timeout(120):
            while len(self.spans) < count:
                await asyncio.sleep(0.02)

    async def until_logs(self, count: int) -> None:
        """Waits for so many records."""
        async with asyncio.timeout(120):
            while len(self.logs) < count:
                await asyncio.sleep(0.02)

    def named(self, name: str) -> Seen:
        """The one span of this name."""
        (found,) = [seen for seen in self.spans if seen.name == name]
        return found

    def points(self, service: str, name: str) -> list[dict[str, Any]]:
        """The attributes of a histogram's points."""
        return [read(point.attributes) for point in self.metrics[service, name].histogram.data_points]

    def paths(self, trace_id: str) -> set[str]:
        """Each span of a trace with all that it stands under, "a > b > c"; a parent elsewhere is "…"."""
        by_id = {seen.span.span_id: seen for seen in self.trace(trace_id)}

        def path(seen: Seen) -> str:
            if not seen.span.parent_span_id:
                return seen.label
            parent = by_id.get(seen.span.parent_span_id)
            return f"{path(parent) if parent else '…'} > {seen.label}"

        return {path(seen) for seen in by_id.values()}


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:
        for group in request.resource_spans:
            service = read(group.resource.attributes)["service.name"]
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self._collector.spans.append(Seen(service, KINDS[span.kind], span.name, span))
        return trace_service_pb2.ExportTraceServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:
        for group in request.resource_logs:
            self._collector.logs += [record for scope in group.scope_logs for record in scope.log_records]
        return logs_service_pb2.ExportLogsServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:
        for group in request.resource_metrics:
            service = read(group.resource.attributes)["service.name"]
            for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
                self._collector.metrics[service, metric.name] = metric
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A running collector."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(collector), server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield collector
    await server.stop(None)


def read(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {one.key: _value(one) for one in attributes}


def _value(one: KeyValue) -> Any:
    return getattr(one.value, one.value.WhichOneof("value") or "string_value")
