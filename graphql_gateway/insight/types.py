"""Business metrics and the events behind them."""

from __future__ import annotations

import enum
from datetime import datetime

from satreel.insight.v1 import insight_pb2, insight_service_pb2

from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.safety.declared import up_to
from graphql_gateway.scalars import Long


@proto_enum(insight_pb2.Aggregation, "Aggregation")
class Aggregation(enum.IntEnum):
    """How points of a metric are joined over time."""

    SUM = 1
    DISTINCT = 2
    LAST = 3


@proto_type(insight_pb2.Metric)
class Metric:
    """A metric that can be asked for."""

    name: str
    description: str
    unit: str
    aggregation: Aggregation


@proto_type(insight_pb2.Point)
class Point:
    """One step of a series."""

    at: datetime
    value: Long


@proto_type(insight_pb2.Series)
class Series:
    """A metric over time."""

    metric: Metric
    step_s: int
    # 100 series have at most 10,000 points together.
    points: list[Point] = up_to(100)
    complete_until: datetime


@proto_type(insight_pb2.SourceEvent)
class SourceEvent:
    """An event that a number stands on."""

    id: str
    at: datetime
    value: Long
    subject: str


@proto_type(insight_service_pb2.MetricValue)
class MetricValue:
    """One value of now."""

    metric: str
    value: Long
