"""A collector that forgets what it gets: `python -m bench.mesh.sink PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from sandbox.process import LOOPBACK


class _Traces(trace_grpc.TraceServiceServicer):
    async def Export(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the contract's name
        return trace_pb.ExportTraceServiceResponse()


class _Metrics(metrics_grpc.MetricsServiceServicer):
    async def Export(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the contract's name
        return metrics_pb.ExportMetricsServiceResponse()


async def main(port: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    trace_grpc.add_TraceServiceServicer_to_server(_Traces(), server)  # type: ignore[no-untyped-call] # of a package without types
    metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(), server)  # type: ignore[no-untyped-call] # as above
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
