"""Queries on business metrics."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import strawberry
from satreel.insight.v1 import insight_service_pb2

from graphql_gateway.arguments import After, First, about
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Query
from graphql_gateway.insight.types import Metric, Series, SourceEvent
from graphql_gateway.proto import shown_all
from graphql_gateway.safety.access import ADMINS
from graphql_gateway.safety.declared import CALL, PAGE, PUBLIC, SAME_FOR_ALL, at_most
from graphql_gateway.scalars import timestamp
from mesh.errors import InvalidArgument

# Of all series together.
SERIES_POINTS_MAX = 10_000

Start: TypeAlias = Annotated[datetime, about("The first moment that counts.")]
End: TypeAlias = Annotated[datetime, about("The first moment that counts no more.")]


class TooManyPoints(InvalidArgument):
    """More points are asked for than one answer holds: ask for longer steps, less time or fewer metrics."""

    reason = "TOO_MANY_POINTS"


@part_of(Query)
class InsightQuery:
    """What is asked about the business."""

    @strawberry.field(
        description="All metrics that can be asked for.",
        directives=(*at_most(100), *PUBLIC),
        metadata=SAME_FOR_ALL,
    )
    async def metrics(self, info: Info) -> list[Metric]:
        """The catalogue."""
        response = await info.context.services.insight.ListMetrics(insight_service_pb2.ListMetricsRequest())
        return shown_all(Metric, response.metrics)

    @strawberry.field(
        description="Metrics over time: up to 100 of them, at most 1,500 steps each and 10,000 in "
        "all; `stepS` is a multiple of 10.",
        directives=(*CALL, *at_most(100)),
    )
    async def series(
        self,
        info: Info,
        metrics: Annotated[list[str], about("Their names, as `metrics` lists them; at most 100.")],
        start: Start,
        end: End,
        step_s: Annotated[int, about("Length of a step in seconds: a multiple of 10.")] = 60,
    ) -> list[Series]:
        """Those that exist, in the order asked. Raises TooManyPoints."""
        if (end - start).total_seconds() * len(metrics) > SERIES_POINTS_MAX * max(step_s, 1):
            raise TooManyPoints(maximum=SERIES_POINTS_MAX)
        request = insight_service_pb2.BatchGetSeriesRequest(
            metrics=metrics, start=timestamp(start), end=timestamp(end), step_s=step_s
        )
        return shown_all(Series, (await info.context.services.insight.BatchGetSeries(request)).series)

    @strawberry.field(
        description="The events behind a number, the oldest first. Administrators only.",
        directives=(*PAGE, *ADMINS),
    )
    async def source_events(
        self,
        info: Info,
        metric: Annotated[str, about("Its name, as `metrics` lists it.")],
        start: Start,
        end: End,
        first: First = None,
        after: After = None,
    ) -> Connection[SourceEvent]:
        """What a metric was counted from."""

        async def fetch(size: int, token: str) -> Page:
            request = insight_service_pb2.ListSourceEventsRequest(
                metric=metric, start=timestamp(start), end=timestamp(end), page_size=size, page_token=token
            )
            response = await info.context.services.insight.ListSourceEvents(request)
            return Page(response.events, response.next_page_token)

        return await connect(fetch, first=first, after=after)
