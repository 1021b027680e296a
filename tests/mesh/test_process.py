"""A service as a process: start, logs, telemetry, signals, crashes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh.errors import RemoteFailure
from mesh.runtime import Runtime
from tests.mesh.conftest import EchoSettings
from tests.mesh.processes import echo_process


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


@pytest.mark.parametrize("as_json", [True, False])
async def test_tracebacks_tell_no_local_variables(as_json: bool) -> None:
    program = f"""
from mesh import logs
logs.configure(service="x", level="info", as_json={as_json})
try:
    token = "sesame"[:1] + "esame"
    raise ValueError("it broke")
except ValueError:
    logs.logger("x").exception("failed")
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert b"it broke" in told
    assert b"'sesame'" not in told


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
