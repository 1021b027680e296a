"""The contract over a real channel: answers, reasons, and who may call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.insight.v1 import insight_pb2, insight_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2 as messages

from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from mesh.records import Store
from mesh.testing import LoopbackServer, serving
from services.insight.domain.metrics import METRICS
from services.insight.rpc.servicer import InsightServicer
from tests.insight.world import World, batch


class House:
    """A server of insight."""

    def __init__(self, world: World, server: LoopbackServer) -> None:
        self.world = world
        self.server = server
        self.stub = insight_service_pb2_grpc.InsightServiceStub(server.channel("gateway"))
        self.start = Timestamp(seconds=world.now_s - 60)
        self.end = Timestamp(seconds=world.now_s)

    def events(self, **more: object) -> messages.ListSourceEventsRequest:
        request = messages.ListSourceEventsRequest(metric="users.new", start=self.start, end=self.end)
        for name, value in more.items():
            setattr(request, name, value)
        return request


@pytest.fixture
async def house(store: Store) -> AsyncIterator[House]:
    world = World(store)
    await world.clock.advance(600)
    await world.start()
    await world.tallies.take(
        [batch(f"identity/{n}", world.now_s - 10 * n, ("users.new", 1, f"u{n}")) for n in (1, 2, 3)]
    )
    world.show_live()
    servicer = InsightServicer(world.insight, world.live)
    adder = insight_service_pb2_grpc.add_InsightServiceServicer_to_server
    async with serving("insight", adder, servicer) as server:
        yield House(world, server)
    await world.stop()


async def refused(call: object) -> RemoteFailure:
    with pytest.raises(RemoteFailure) as caught:
        await call  # type: ignore[misc]  # a coroutine of a stub
    return caught.value


async def test_catalogue(house: House) -> None:
    found = (await house.stub.ListMetrics(messages.ListMetricsRequest())).metrics
    assert [metric.name for metric in found] == sorted(metric.name for metric in METRICS)
    by_name = {metric.name: metric for metric in found}
    assert by_name["users.active"].aggregation == insight_pb2.AGGREGATION_DISTINCT
    assert by_name["revenue.takings"].unit == "sat"


async def test_one_series(house: House) -> None:
    request = messages.GetSeriesRequest(metric="users.new", start=house.start, end=house.end, step_s=10)
    series = (await house.stub.GetSeries(request)).series
    assert [point.value for point in series.points] == [0, 0, 0, 1, 1, 1]
    assert series.points[0].at == house.start
    assert series.step_s == 10


async def test_several_series(house: House) -> None:
    request = messages.BatchGetSeriesRequest(
        metrics=["users.new", "nobody.knows", "market.sales"], start=house.start, end=house.end, step_s=60
    )
    found = (await house.stub.BatchGetSeries(request)).series
    assert [series.metric.name for series in found] == ["users.new", "market.sales"]
    assert sum(point.value for point in found[0].points) == 3


async def test_source_events_are_for_administrators(house: House) -> None:
    assert (await refused(house.stub.ListSourceEvents(house.events()))).code is Code.UNAUTHENTICATED
    with house.server.user(uuid7()):
        assert (await refused(house.stub.ListSourceEvents(house.events()))).code is Code.PERMISSION_DENIED
    with house.server.user(uuid7(), roles={"admin"}):
        first = await house.stub.ListSourceEvents(house.events(page_size=2))
        assert [event.id for event in first.events] == ["identity/3/0", "identity/2/0"]
        rest = await house.stub.ListSourceEvents(house.events(page_token=first.next_page_token))
    assert [(event.id, event.value, event.subject) for event in rest.events] == [("identity/1/0", 1, "u1")]
    assert rest.next_page_token == ""


async def test_refusals_have_reasons(house: House) -> None:
    request = messages.GetSeriesRequest(metric="nobody.knows", start=house.start, end=house.end, step_s=10)
    failure = await refused(house.stub.GetSeries(request))
    assert (failure.code, failure.reason) == (Code.NOT_FOUND, "METRIC_NOT_FOUND")
    backwards = messages.GetSeriesRequest(metric="users.new", start=house.end, end=house.start, step_s=10)
    failure = await refused(house.stub.GetSeries(backwards))
    assert (failure.code, failure.reason) == (Code.INVALID_ARGUMENT, "RANGE_INVALID")
    long_ago = Timestamp(seconds=house.end.seconds - 10 * 1_501)
    too_many = messages.GetSeriesRequest(metric="users.new", start=long_ago, end=house.end, step_s=10)
    assert (await refused(house.stub.GetSeries(too_many))).metadata["maximum"] == "1500"
    with house.server.user(uuid7(), roles={"admin"}):
        failure = await refused(house.stub.ListSourceEvents(house.events(page_token="mine")))
    assert (failure.code, failure.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    missing = messages.GetSeriesRequest(metric="users.new", step_s=10)
    assert (await refused(house.stub.GetSeries(missing))).code is Code.INVALID_ARGUMENT


async def test_only_the_gateway_calls(house: House) -> None:
    stranger = insight_service_pb2_grpc.InsightServiceStub(house.server.channel("market"))
    failure = await refused(stranger.ListMetrics(messages.ListMetricsRequest()))
    assert failure.reason == "CALLER_NOT_ALLOWED"


async def test_watch_begins_with_what_is(house: House) -> None:
    await house.world.settle()
    async for response in house.stub.WatchMetrics(messages.WatchMetricsRequest()):
        values = {value.metric: value.value for value in response.values.values}
        assert values.keys() == {metric.name for metric in METRICS}
        assert values["users.new"] == 3
        break


def test_every_reason_of_the_contract_is_tested_here() -> None:
    text = Path(__file__).read_text()
    reasons = [name.removeprefix("ERROR_REASON_") for name in dict(insight_pb2.ErrorReason.items())]
    assert [reason for reason in reasons if reason != "UNSPECIFIED" and f'"{reason}"' not in text] == []
