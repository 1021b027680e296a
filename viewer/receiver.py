"""OTLP over gRPC, on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from viewer import troubles
from viewer.reading import points_of, spans_of
from viewer.store import Store

MESSAGE_BYTES_MAX = 4 << 20

InThread = Callable[..., Awaitable[Any]]


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, store: Store, in_thread: InThread) -> None:
        self._store, self._in_thread = store, in_thread

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - as the contract has it
        await self._in_thread(lambda: self._store.add_spans(spans_of(request)))
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, store: Store, in_thread: InThread) -> None:
        self._store, self._in_thread = store, in_thread

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - as the contract has it
        await self._in_thread(lambda: self._store.add_points(points_of(request)))
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, store: Store, in_thread: InThread) -> None:
        self._store, self._in_thread = store, in_thread

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - as the contract has it
        await self._in_thread(lambda: self._store.add_spans(troubles.spans_of(request)))
        return logs_service_pb2.ExportLogsServiceResponse()


async def receive(store: Store, port: int, in_thread: InThread) -> tuple[grpc.aio.Server, int]:
    """A running receiver, and its port. Raises RuntimeError when the port is taken."""
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=32,
    )
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(store, in_thread), server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(store, in_thread), server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(store, in_thread), server)  # type: ignore[no-untyped-call]
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, bound
