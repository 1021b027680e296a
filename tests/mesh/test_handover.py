"""A leader that is told to stop begins nothing more, ends what runs, and drains while another one leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh.channel import MeshChannel, connect
from mesh.clock import SystemClock
from mesh.errors import NOT_LEADER, Code, RemoteFailure
from mesh.leases import LEASES, Leadership, Lease, lead
from mesh.records.sqlite import open_sqlite
from mesh.runtime import Runtime
from tests.mesh.conftest import EchoSettings, House
from tests.mesh.echo import SERVICE, WAIT_S, Echo, EchoStub, add_echo

HI = EchoRequest(text="hi")


def straight_to(port: int, house: House | None = None, *, health: str = "") -> MeshChannel:
    """Whoever is there, whether it serves or not."""
    return connect(
        me="friend",
        peer="echo",
        addresses=f"127.0.0.1:{port}",
        tls_dir=None if house is None else house.tls_dir,
        service=SERVICE,
        health=health,
        health_checked=False,
    )


async def until_refused(stub: EchoStub) -> RemoteFailure:
    """The refusal of a command, once one is."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await stub.Command(HI, timeout=0.3)
            except RemoteFailure as failure:
                # On a busy machine the time may be over before anything is heard.
                if failure.code is not Code.DEADLINE_EXCEEDED:
                    return failure


@asynccontextmanager
async def leading(
    folder: Path, echo: Echo, *, drain_s: float, freed: asyncio.Event | None = None
) -> AsyncIterator[tuple[Runtime, asyncio.Task[None], Lease]]:
    """A process that leads, told to end only once `freed`; its work; and another's claim on its lease."""
    clock, led = SystemClock(), asyncio.Event()
    async with (
        open_sqlite(folder / "leases.sqlite", (LEASES,)) as store,
        Runtime(EchoSettings(drain_s=drain_s)) as runtime,
    ):

        async def reign(_: Leadership) -> None:
            await runtime.health.set(SERVICE, True)
            led.set()
            try:
                await asyncio.Event().wait()
            finally:
                if freed is not None:
                    await freed.wait()

        await runtime.add(add_echo, echo, serving=False)
        runtime.background(lambda: lead(Lease(store, "echo", clock=clock), reign), "lead", leads=True)
        serving = asyncio.create_task(runtime.serve())
        await led.wait()
        yield runtime, serving, Lease(store, "echo", clock=clock)


async def test_who_does_not_lead_begins_nothing_and_says_so(house: House, echo: Echo) -> None:
    server = await house.start(echo, serving=False)
    async with straight_to(server.port, house) as channel:
        refused = await until_refused(EchoStub(channel))
    assert refused.reason == NOT_LEADER
    assert refused.unsent
    assert not echo.seen
    async with straight_to(server.port, house, health="found/otherwise") as channel:
        assert (await EchoStub(channel).Command(HI)).text == "hi"


async def test_another_leads_while_the_one_of_before_drains(tmp_path: Path) -> None:
    echo = Echo()
    async with leading(tmp_path, echo, drain_s=60) as (runtime, serving, other):
        async with straight_to(runtime.server.port) as channel:
            stub = EchoStub(channel)
            running = asyncio.ensure_future(stub.Command(EchoRequest(text="wait:done")))
            await echo.waiting.wait()
            runtime.stop()
            refused = await until_refused(stub)
            assert (refused.reason, refused.unsent) == (NOT_LEADER, True)
            assert not await other.acquire(), "what runs has a leader to its end"
            begun = echo.seen["Command"]
            echo.release.set()
            assert (await running).text == "done"
            async with asyncio.timeout(WAIT_S):
                while not await other.acquire():
                    await asyncio.sleep(0.01)
            assert not serving.done(), "it goes on for those whom it has not turned away"
            await until_refused(stub)
            assert echo.seen["Command"] == begun
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def test_what_does_not_end_in_time_does_not_keep_others_from_leading(house: House, echo: Echo) -> None:
    server = await house.start(echo, serving=False, drain_s=0.1)
    await server.health.set(SERVICE, True)
    async with straight_to(server.port, house) as channel:
        running = asyncio.ensure_future(EchoStub(channel).Command(EchoRequest(text="wait:done")))
        await echo.waiting.wait()
        async with asyncio.timeout(WAIT_S):
            await server.resign()
        assert not running.done()
        with pytest.raises(RemoteFailure):
            await EchoStub(channel).Command(HI, timeout=0.3)
        echo.release.set()
        assert (await running).text == "done"


async def test_who_cannot_hand_over_drains_all_the_same(tmp_path: Path) -> None:
    freed = asyncio.Event()
    async with leading(tmp_path, Echo(), drain_s=0.1, freed=freed) as (runtime, serving, other):
        async with straight_to(runtime.server.port) as channel:
            stream = aiter(EchoStub(channel).Watch(EchoRequest(text="wait:long")))
            await anext(stream)
            runtime.stop()
            async with asyncio.timeout(WAIT_S):
                with pytest.raises(RemoteFailure, match="STOPPING"):
                    _ = [one async for one in stream]
        assert not await other.acquire(), "something still acts under it"
        assert not serving.done()
        freed.set()
        await serving
        assert await other.acquire()
