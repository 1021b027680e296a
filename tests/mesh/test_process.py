"""A service as a process: start, logs, telemetry, signals, crashes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh.channel import connect
from mesh.errors import RemoteFailure
from mesh.runtime import Runtime
from tests.mesh.conftest import EchoSettings
from tests.mesh.echo import SERVICE, EchoStub

ROOT = Path(__file__).resolve().parents[2]


class EchoProcess:
    """A running echo service and what it has logged."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.logs: list[dict[str, Any]] = []

    async def until(self, event: str) -> dict[str, Any]:
        """Reads the log up to this event."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.logs.append(json.loads(line))
            if self.logs[-1]["event"] == event:
                return self.logs[-1]
        raise AssertionError(f"no {event!r} in {self.logs}")

    async def ended(self) -> int:
        """Reads the rest of the log; answers the exit code."""
        out, err = await self.process.communicate()
        self.logs += [json.loads(line) for line in out.splitlines()]
        assert b"Traceback" not in err, err
        return self.process.returncode or 0

    async def stub(self, stack: list[Any]) -> EchoStub:
        """A stub to call it with."""
        port = (await self.until("listening"))["port"]
        channel = connect(
            me="friend", peer="echo", addresses=f"127.0.0.1:{port}", tls_dir=None, service=SERVICE
        )
        stack.append(channel)
        return EchoStub(channel)


@asynccontextmanager
async def echo_process(*arguments: str, **variables: str) -> AsyncIterator[EchoProcess]:
    """Starts the echo service with these settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SATREEL_")}
    environment |= {"SATREEL_DRAIN_S": "0.1", **variables}
    command = [sys.executable, "-W", "error", "-m", "tests.mesh.echo_main", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield EchoProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def channels() -> AsyncIterator[list[Any]]:
    opened: list[Any] = []
    yield opened
    for channel in opened:
        await channel.close()


async def test_it_serves_until_sigterm_and_ends_cleanly(channels: list[Any]) -> None:
    async with echo_process() as echo:
        stub = await echo.stub(channels)
        assert (await stub.Echo(EchoRequest(text="hi"))).text == "hi"
        watch = stub.Watch(EchoRequest(text="ab"))
        await watch.read()
        echo.process.terminate()
        assert await echo.ended() == 0
        assert [line["event"] for line in echo.logs if line["event"] == "stopping"] == ["stopping"]
        assert not [line for line in echo.logs if line["level"] in ("error", "critical")]


async def test_what_it_logs_is_json_with_service_and_trace(channels: list[Any]) -> None:
    async with echo_process() as echo:
        stub = await echo.stub(channels)
        with pytest.raises(RemoteFailure) as told:
            await stub.Echo(EchoRequest(text="broken"))
        line = await echo.until("call failed")
        assert line["service"] == "echo"
        assert line["error_id"] == told.value.metadata["error_id"]
        assert len(line["trace_id"]) == 32
        assert "the secret recipe" in line["exception"]


async def test_crashed_background_work_stops_the_process() -> None:
    async with echo_process(SATREEL_ECHO_CRASH_AFTER_S="0.2") as echo:
        assert await echo.ended() == 1
    crash = next(line for line in echo.logs if line["event"] == "background work crashed")
    assert crash["work"] == "crash"
    assert "the kettle is empty" in crash["exception"]


async def test_a_taken_address_ends_it_with_the_settings_name() -> None:
    async with echo_process() as first:
        port = (await first.until("listening"))["port"]
        async with echo_process(SATREEL_ECHO_LISTEN=f"127.0.0.1:{port}") as second:
            assert await second.ended() == 1
        assert "SATREEL_ECHO_LISTEN" in json.dumps(second.logs)


async def test_help_is_printed() -> None:
    async with echo_process("--help") as echo:
        out, _ = await echo.process.communicate()
    assert b"SATREEL_ECHO_CRASH_AFTER_S" in out
    assert echo.process.returncode == 0


class Collector:
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: set[str] = set()

    async def start(self) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        for service, pb, kind, handle in (
            ("trace", trace_service_pb2, "Trace", self._traces),
            ("metrics", metrics_service_pb2, "Metrics", self._metrics),
        ):
            export = grpc.unary_unary_rpc_method_handler(
                handle,
                request_deserializer=getattr(pb, f"Export{kind}ServiceRequest").FromString,
                response_serializer=getattr(pb, f"Export{kind}ServiceResponse").SerializeToString,
            )
            name = f"opentelemetry.proto.collector.{service}.v1.{kind}Service"
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": export}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async def _traces(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    async def _metrics(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            self.metrics |= {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


async def test_traces_join_over_processes_and_metrics_are_exported(channels: list[Any]) -> None:
    collector = Collector()
    server, port = await collector.start()
    telemetry = {"SATREEL_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "SATREEL_TRACE_RATIO": "1"}
    async with echo_process(**telemetry) as back:
        back_port = (await back.until("listening"))["port"]
        peers = json.dumps({"echo": f"127.0.0.1:{back_port}"})
        async with echo_process(SATREEL_PEERS=peers, **telemetry) as front:
            stub = await front.stub(channels)
            assert (await stub.Echo(EchoRequest(text="forward:hi"))).text == "hi"
            for process in (front, back):
                process.process.terminate()
                assert await process.ended() == 0
    await server.stop(None)
    kinds = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client"}
    assert sorted(kinds[span.kind] for span in collector.spans) == ["client", "server", "server"]
    assert len({span.trace_id for span in collector.spans}) == 1
    wanted = {"rpc.server.duration", "rpc.client.duration", "rpc.server.running", "process.memory.usage"}
    assert wanted <= collector.metrics


async def test_a_runtime_closes_what_it_opened_in_reverse() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def resource(name: str) -> AsyncIterator[str]:
        yield name
        closed.append(name)

    async with Runtime(EchoSettings()) as runtime:
        assert await runtime.enter(resource("first")) == "first"
        await runtime.enter(resource("second"))
        worked = asyncio.Event()

        async def work() -> None:
            worked.set()
            try:
                await asyncio.sleep(60)
            finally:
                closed.append("work")

        runtime.background(work, "work")
        serving = asyncio.ensure_future(runtime.serve())
        await worked.wait()
        runtime.stop()
        await serving
    assert closed == ["work", "second", "first"]


async def test_an_unknown_peer_is_told() -> None:
    async with Runtime(EchoSettings()) as runtime:
        with pytest.raises(LookupError, match="SATREEL_PEERS"):
            runtime.channel("nobody")
