"""Traces and metrics arrive at a collector; without one nothing is slower, fails, or ends late."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import telemetry
from tests.mesh.collector import collecting
from tests.mesh.conftest import House
from tests.mesh.echo import SERVICE, WAIT_S, Echo
from tests.mesh.processes import echo_process

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ECHO = f"{SERVICE}/Echo"
CALLS = 50


async def test_traces_join_over_processes_and_metrics_are_exported(channels: list[Any]) -> None:
    async with collecting() as collector:
        settings = {
            "SATREEL_OTLP_ENDPOINT": collector.endpoint,
            "SATREEL_TRACE_RATIO": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        async with echo_process(**settings, SATREEL_LOG_LEVEL="debug") as back:
            back_port = (await back.until("listening"))["port"]
            peers = json.dumps({"echo": f"127.0.0.1:{back_port}"})
            async with echo_process(**settings, SATREEL_PEERS=peers) as front:
                stub = await front.stub(channels)
                assert (await stub.Echo(EchoRequest(text="forward:hi"))).text == "hi"
                line = await back.until("call")
                await collector.until_spans(3)
                for process in (front, back):
                    process.process.terminate()
                    assert await process.ended() == 0
    (trace_id,) = {seen.trace_id for seen in collector.spans}
    # We begin the trace, and tell nobody of our span.
    server, client = "… > echo server EchoService/Echo", "echo client EchoService/Echo"
    assert collector.paths(trace_id) == {
        server,
        f"{server} > {client}",
        f"{server} > {client} > {server[4:]}",
    }
    assert line["trace_id"] == trace_id
    assert (line["method"], line["caller"], line["code"]) == (f"/{ECHO}", "echo", "OK")
    assert 0 < line["duration_s"] < 5
    units = {
        "rpc.server.call.duration": "s",
        "rpc.client.call.duration": "s",
        "rpc.server.running": "{call}",
        "process.cpu.time": "s",
        "process.memory.usage": "By",
    }
    assert {name: collector.metrics["echo", name].unit for name in units} == units
    (point,) = collector.metrics["echo", "rpc.client.call.duration"].histogram.data_points
    assert tuple(point.explicit_bounds) == telemetry.DURATION_BUCKETS_S
    assert {one.trace_id.hex() for one in point.exemplars} == {trace_id}
    assert collector.points("echo", "rpc.client.call.duration") == [
        {"rpc.system.name": "grpc", "rpc.method": ECHO, "rpc.response.status_code": "OK"}
    ]


async def test_what_breaks_is_marked_and_refusals_are_not(channels: list[Any]) -> None:
    async with collecting() as collector:
        settings = {
            "SATREEL_OTLP_ENDPOINT": collector.endpoint,
            "SATREEL_TRACE_RATIO": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        async with echo_process(**settings) as echo:
            stub = await echo.stub(channels)
            for text in ("broken", "missing"):
                with pytest.raises(Exception, match=r"inside the service|no such thing"):
                    await stub.Echo(EchoRequest(text=text))
            await collector.until_spans(2)
            echo.process.terminate()
            assert await echo.ended() == 0
    told = {seen.attributes["rpc.response.status_code"]: seen.is_error for seen in collector.spans}
    assert told == {"INTERNAL": True, "NOT_FOUND": False}


async def test_of_traces_that_are_not_sampled_the_way_to_trouble_is_told(channels: list[Any]) -> None:
    async with collecting() as collector:
        settings = {
            "SATREEL_OTLP_ENDPOINT": collector.endpoint,
            "SATREEL_TRACE_RATIO": "0",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        async with echo_process(**settings) as back:
            peers = json.dumps({"echo": f"127.0.0.1:{(await back.until('listening'))['port']}"})
            async with echo_process(**settings, SATREEL_PEERS=peers) as front:
                stub = await front.stub(channels)
                telemetry.tracer.tell(None, ratio=0)
                try:
                    assert (await stub.Echo(EchoRequest(text="forward:fine"))).text == "fine"
                    with pytest.raises(Exception, match="inside the service"):
                        await stub.Echo(EchoRequest(text="forward:broken"))
                finally:
                    telemetry.tracer.tell(None)
                await collector.until_spans(3)
                for process in (front, back):
                    process.process.terminate()
                    assert await process.ended() == 0
    (trace_id,) = {seen.trace_id for seen in collector.spans}
    assert {seen.attributes["satreel.kept"] for seen in collector.spans} == {"error"}
    assert {seen.attributes["error.type"] for seen in collector.spans} == {"INTERNAL"}
    assert len(collector.paths(trace_id)) == 3


@pytest.mark.parametrize("way", ["refuses", "never answers"])
async def test_a_dead_collector_slows_nothing_and_holds_up_no_end(way: str, channels: list[Any]) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        if way == "never answers":
            dead.listen()
        endpoint = f"http://127.0.0.1:{dead.getsockname()[1]}"
        settings = {"SATREEL_OTLP_ENDPOINT": endpoint, "SATREEL_TRACE_RATIO": "1"}
        # Every span is sent at once, so that exports are under way during the calls and at the end.
        async with echo_process(**settings, OTEL_BSP_SCHEDULE_DELAY="20") as echo:
            stub = await echo.stub(channels)
            slowest_s = 0.0
            for number in range(CALLS):
                began = time.perf_counter()
                assert (await stub.Echo(EchoRequest(text=str(number)))).text == str(number)
                slowest_s = max(slowest_s, time.perf_counter() - began)
                await asyncio.sleep(0.005)
            # An export is waited for longer.
            assert slowest_s < 5.0
            echo.process.terminate()
            began = time.perf_counter()
            assert await echo.ended() == 0
            assert time.perf_counter() - began < telemetry.CLOSE_S + WAIT_S
        assert "the collector does not answer" in " ".join(line["event"] for line in echo.logs)


async def test_without_an_endpoint_calls_have_trace_ids_and_nothing_is_recorded() -> None:
    exporters = telemetry.start(service="echo", instance="1", endpoint="", trace_ratio=1, slow_s=0.5)
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    span = tracer.start_span("x", context=telemetry.PROPAGATOR.extract({"traceparent": TRACEPARENT}))
    assert not span.is_recording()
    assert f"{span.get_span_context().trace_id:032x}" in TRACEPARENT
    began = time.perf_counter()
    exporters.close()
    assert time.perf_counter() - began < 5


class Torrent(Echo):
    """Streams without end, more than its caller takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.closed_by: list[asyncio.Task[Any] | None] = []
        self.serving: asyncio.Task[Any] | None = None

    async def Watch(self, request: EchoRequest, context: Any) -> AsyncIterator[EchoResponse]:
        self.serving = asyncio.current_task()
        try:
            while True:
                self.sent += 1
                yield EchoResponse(text="x" * 500_000)
        finally:
            self.closed_by.append(asyncio.current_task())


async def test_a_stream_whose_caller_leaves_ends_in_its_own_task(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    torrent = Torrent()
    stub = house.stub(await house.start(torrent))
    call = stub.Watch(EchoRequest(text="go"))
    await call.read()
    sent = 0
    while sent < torrent.sent:  # until it waits in a write that the caller does not take
        sent = torrent.sent
        await asyncio.sleep(0.1)
    assert not torrent.closed_by
    call.cancel()
    async with asyncio.timeout(WAIT_S):
        while not torrent.closed_by:
            await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0.05)
    assert torrent.closed_by == [torrent.serving]
    assert "Failed to detach" not in caplog.text
