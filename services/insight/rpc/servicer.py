"""The servicer of satreel.insight.v1.InsightService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.insight.v1 import insight_pb2, insight_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2 as messages
from satreel.mesh.v1 import access_pb2

from mesh.times import instant_ns
from services.insight.app.live import Live
from services.insight.app.service import Insight, Series, SourceEvent
from services.insight.domain.facts import NS_PER_S
from services.insight.domain.metrics import METRICS, Metric

Context = Any


class InsightServicer(insight_service_pb2_grpc.InsightServiceServicer):
    """Answers calls; the rules are in the use cases it is given."""

    def __init__(self, insight: Insight, live: Live) -> None:
        self._insight = insight
        self._live = live

    async def ListMetrics(
        self, request: messages.ListMetricsRequest, context: Context
    ) -> messages.ListMetricsResponse:
        found = sorted(METRICS, key=lambda metric: metric.name)
        return messages.ListMetricsResponse(metrics=[_metric(metric) for metric in found])

    async def GetSeries(
        self, request: messages.GetSeriesRequest, context: Context
    ) -> messages.GetSeriesResponse:
        found = await self._insight.one_series(
            request.metric,
            start_ns=instant_ns(request.start),
            end_ns=instant_ns(request.end),
            step_s=request.step_s,
        )
        return messages.GetSeriesResponse(series=_series(found))

    async def BatchGetSeries(
        self, request: messages.BatchGetSeriesRequest, context: Context
    ) -> messages.BatchGetSeriesResponse:
        found = await self._insight.series(
            request.metrics,
            start_ns=instant_ns(request.start),
            end_ns=instant_ns(request.end),
            step_s=request.step_s,
        )
        return messages.BatchGetSeriesResponse(series=[_series(one) for one in found])

    async def ListSourceEvents(
        self, request: messages.ListSourceEventsRequest, context: Context
    ) -> messages.ListSourceEventsResponse:
        events, token = await self._insight.events(
            request.metric,
            start_ns=instant_ns(request.start),
            end_ns=instant_ns(request.end),
            size=request.page_size,
            token=request.page_token,
        )
        return messages.ListSourceEventsResponse(
            events=[_event(event) for event in events], next_page_token=token
        )

    async def WatchMetrics(
        self, request: messages.WatchMetricsRequest, context: Context
    ) -> AsyncIterator[messages.WatchMetricsResponse]:
        async with aclosing(self._live.watch()) as updates:
            async for update in updates:
                if update is None:
                    yield messages.WatchMetricsResponse(heartbeat=access_pb2.Heartbeat())
                    continue
                values = [
                    messages.MetricValue(metric=name, value=value) for name, value in update.values.items()
                ]
                yield messages.WatchMetricsResponse(
                    values=messages.MetricValues(at=_timestamp(update.at_ns), values=values)
                )


def _metric(metric: Metric) -> insight_pb2.Metric:
    return insight_pb2.Metric(
        name=metric.name,
        description=metric.description,
        unit=metric.unit,
        aggregation=insight_pb2.Aggregation.Value(f"AGGREGATION_{metric.aggregation}"),
    )


def _series(series: Series) -> insight_pb2.Series:
    over = series.over
    return insight_pb2.Series(
        metric=_metric(series.metric),
        step_s=over.step_s,
        points=[
            insight_pb2.Point(at=Timestamp(seconds=over.start_s + step * over.step_s), value=value)
            for step, value in enumerate(series.values)
        ],
        complete_until=_timestamp(series.complete_until_ns),
    )


def _event(event: SourceEvent) -> insight_pb2.SourceEvent:
    return insight_pb2.SourceEvent(
        id=event.id, at=_timestamp(event.at_ns), value=event.fact.value, subject=event.fact.subject
    )


def _timestamp(instant_ns: int) -> Timestamp:
    return Timestamp(seconds=instant_ns // NS_PER_S, nanos=instant_ns % NS_PER_S)
