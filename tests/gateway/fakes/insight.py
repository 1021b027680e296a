"""A simple insight service."""

from __future__ import annotations

from typing import Any

from satreel.insight.v1 import insight_pb2, insight_service_pb2, insight_service_pb2_grpc

from tests.gateway.fakes.base import Log


class FakeInsight(insight_service_pb2_grpc.InsightServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log

    async def ListMetrics(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        metric = insight_pb2.Metric(
            name="sats_burned", description="d", unit="sat", aggregation=insight_pb2.AGGREGATION_SUM
        )
        return insight_service_pb2.ListMetricsResponse(metrics=[metric])
