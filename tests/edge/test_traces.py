"""Traces at the door: joined with those of browsers, chosen as the gateway chooses, told without queries."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import trace

from mesh import telemetry
from tests.edge.lone import alone, gateway, serving
from tests.mesh.collector import collecting
from topology import edge, troubles

REQUESTS = 100
RATIO = 0.5
PATIENCE_S = 120.0


async def test_traces_go_on_at_the_door_and_tell_no_query(tmp_path: Path) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with collecting() as collector:
        collector_place = collector.endpoint.removeprefix("http://")
        async with alone(tmp_path, otlp=collector_place) as places, aiohttp.ClientSession() as client:
            url = f"http://{places.http}/media/one/film?ticket=secret"
            headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
            async with client.get(url, headers=headers) as response:
                assert response.status == 503
            await collector.until_spans(1)
    seen = collector.trace(trace_id)[0]
    assert (seen.attributes["url.path"], seen.attributes["http.route"]) == ("/media/one/film", "/media/")
    # Of traces that begin here one in twenty is kept, of those that come in whoever began them decides.
    assert "secret" not in str(seen.attributes)


async def test_edge_and_gateway_choose_the_same_traces(tmp_path: Path) -> None:
    heard: list[str] = []
    tracer = telemetry.Tracer()
    tracer.tell(None, ratio=RATIO, trusts_callers=False)
    async with collecting() as collector, gateway(heard) as behind:
        places = {
            "gateway": (behind,),
            "otlp": collector.endpoint.removeprefix("http://"),
            "trace_ratio": RATIO,
        }
        async with alone(tmp_path, **places) as at, aiohttp.ClientSession() as client:
            for _ in range(REQUESTS):
                async with client.post(f"http://{at.http}/graphql") as response:
                    assert response.status == 200
    of_edge = [telemetry.context_of(one) for one in heard]
    sampled = [one.trace_flags.sampled for one in of_edge]
    assert 0.2 < sum(sampled) / REQUESTS < 0.8
    for parent in of_edge:
        within = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        span = tracer.start_span("POST /graphql", within)
        assert span.context.trace_flags.sampled == parent.trace_flags.sampled


async def test_the_browsers_span_is_the_parent_of_the_edges(tmp_path: Path) -> None:
    heard: list[str] = []
    trace_id, browser = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with collecting() as collector, gateway(heard) as behind:
        otlp = collector.endpoint.removeprefix("http://")
        async with (
            alone(tmp_path, gateway=(behind,), otlp=otlp) as at,
            aiohttp.ClientSession() as client,
        ):
            for flags in ("01", "00"):
                headers = {"traceparent": f"00-{trace_id}-{browser}-{flags}"}
                async with client.post(f"http://{at.http}/graphql", headers=headers) as response:
                    assert response.status == 200
            await collector.until_spans(2)
    by_kind = {seen.kind: seen for seen in collector.trace(trace_id)}
    assert by_kind["server"].span.parent_span_id.hex() == browser
    assert by_kind["client"].span.parent_span_id == by_kind["server"].span.span_id
    assert {seen.name for seen in by_kind.values()} == {"POST /graphql"}
    # Who does not want to be seen is not, and goes on under the same trace.
    assert telemetry.context_of(heard[0]).span_id.to_bytes(8, "big") == by_kind["client"].span.span_id
    assert heard[1].split("-")[1::2] == [trace_id, "00"]
    assert len(collector.spans) == 2


async def test_what_fails_is_told_once_in_whatever_trace(tmp_path: Path) -> None:
    """Of a request for which nobody was called, nobody but Envoy knows whether its trace is kept."""
    async with collecting() as collector:
        otlp = collector.endpoint.removeprefix("http://")
        async with alone(tmp_path, otlp=otlp, trace_ratio=1) as at, aiohttp.ClientSession() as client:
            async with client.get(f"http://{at.http}/v1/blocks/tip") as response:
                assert response.status == 503
            await collector.until_logs(1)
            # That of the call to the gateway may come before.
            async with asyncio.timeout(PATIENCE_S):
                while not (servers := [one.span for one in collector.spans if one.kind == "server"]):
                    await asyncio.sleep(0.05)
    (record,), (server,) = collector.logs, servers
    # So that who has both has one.
    assert (record.trace_id, record.span_id) == (server.trace_id, server.span_id)


async def test_in_an_outage_no_more_is_told_than_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer than usual, so that any machine fails faster.
    monkeypatch.setattr(troubles, "KEPT_PER_S", kept_per_s := 5)

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async with collecting() as collector, serving(web.get("/graphql", fail)) as behind:
        otlp = collector.endpoint.removeprefix("http://")
        limits = edge.Limits(requests_per_s=100_000, requests_at_once=100_000)
        async with (
            alone(tmp_path, gateway=(behind,), otlp=otlp, trace_ratio=0, limits=limits) as at,
            aiohttp.ClientSession(f"http://{at.http}") as client,
        ):

            async def ask() -> None:
                async with client.get("/graphql") as response:
                    assert response.status == 500

            began_s, failed = time.monotonic(), 0
            # As soon as more has failed than may be told.
            while failed <= kept_per_s * (3 + time.monotonic() - began_s):
                await asyncio.gather(*(ask() for _ in range(50)))
                failed += 50
            await collector.until_logs(1)
        # What else it tells comes before it has ended, if at all.
    assert len(collector.logs) < failed
