"""Sessions and their metering over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh import telemetry
from mesh.clock import NS_PER_S
from mesh.errors import Code
from mesh.ids import uuid7
from tests.ledger.rpc.house import ANA, BEN, MEME, NOW_NS, House, watch_for
from tests.ledger.world import uid


async def test_one_stream_meters_second_by_second(house: House) -> None:
    await house.fund(BEN, 1_000)
    await house.open_round()
    with house.server.user(BEN):
        asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=400)
        opened = (await house.gateway.OpenSession(asked)).session
    assert opened.viewer_id == BEN
    reports = asyncio.Queue[pb.MeterRequest | None]()

    async def outgoing() -> AsyncIterator[pb.MeterRequest]:
        while report := await reports.get():
            yield report

    replies = aiter(house.gateway.Meter(outgoing()))
    for sequence, (seconds, burned) in enumerate([(1, 0), (2, 0), (3, 3), (3, 3), (9, 9)], start=1):
        house.clock.shift_ns += 2 * NS_PER_S
        report = pb.MeterRequest(
            gateway_id=uid("g", NOW_NS), sequence=sequence, meter_keys=[opened.meter_key], seconds=[seconds]
        )
        await reports.put(report)
        assert await anext(replies) == pb.MeterResponse(sequence=sequence, burned_sats=[burned])
    await reports.put(pb.MeterRequest(gateway_id=uid("g", NOW_NS), sequence=6))
    assert (await anext(replies)).sequence == 6
    await reports.put(None)
    assert [one async for one in replies] == []


async def test_each_report_is_a_trace_of_its_own_that_names_its_stream(house: House) -> None:
    async def twice() -> AsyncIterator[pb.MeterRequest]:
        for sequence in (1, 2):
            yield pb.MeterRequest(gateway_id=uid("gateway", NOW_NS), sequence=sequence)

    told: list[ReadableSpan] = []
    telemetry.tracer.tell(telemetry.Teller(told.append, Resource({}), slow_s=10))
    try:
        assert [one.sequence async for one in house.gateway.Meter(twice())] == [1, 2]
    finally:
        telemetry.tracer.tell(None)
    (stream,) = [span.context for span in told if span.kind.name == "SERVER"]
    reports = [span for span in told if span.name == "meter report"]
    assert [span.parent for span in reports] == [None, None]
    traces = {span.context.trace_id for span in reports if span.context}
    assert len(traces - {stream.trace_id if stream else 0}) == 2
    assert [link.context for span in reports for link in span.links] == [stream, stream]


async def test_sessions_belong_to_their_viewer(house: House) -> None:
    await house.fund(BEN, 1_000)
    await house.open_round()
    session_id = await watch_for(house, BEN, 5)
    with house.server.user(ANA):
        await house.refused(
            house.gateway.CloseSession(pb.CloseSessionRequest(session_id=session_id)),
            "SESSION_NOT_FOUND",
            Code.NOT_FOUND,
        )
        await house.refused(
            house.gateway.GetSession(pb.GetSessionRequest(session_id=session_id)), "SESSION_NOT_FOUND"
        )
    assert (await house.gateway.GetSession(pb.GetSessionRequest(session_id=session_id))).session.seconds == 5
