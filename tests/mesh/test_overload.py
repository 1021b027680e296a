"""What cannot be done soon is refused before it is begun; nor is begun what nobody waits for any more."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import deadlines
from mesh.errors import Code, RemoteFailure
from mesh.records.lane import Lane
from mesh.telemetry import DECLARED
from tests.mesh.conftest import House
from tests.mesh.echo import WAIT_S, Echo, EchoStub

HI = EchoRequest(text="hi")


@contextmanager
def busy(tasks: int, each_s: float) -> Iterator[None]:
    """A loop that has so much to do in every turn."""

    async def spin() -> None:
        while True:
            time.sleep(each_s)  # noqa: ASYNC251 - this is what it is about
            await asyncio.sleep(0)

    spinning = [asyncio.ensure_future(spin()) for _ in range(tasks)]
    try:
        yield
    finally:
        for task in spinning:
            task.cancel()


async def refused(stub: EchoStub) -> bool:
    """Whether a call is; else it is answered."""
    try:
        answer = await stub.Command(HI)
    except RemoteFailure as failure:
        return (failure.code, failure.reason) == (Code.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert answer.text == "hi"
    return False


async def test_a_queue_that_stands_refuses_calls_before_they_begin(house: House, echo: Echo) -> None:
    stub = house.stub(await house.start(echo, call_wait_max_s=0.01))
    assert not await refused(stub)
    begun = 1
    async with asyncio.timeout(WAIT_S):
        with busy(3, 0.005):
            while not await refused(stub):
                begun += 1
        assert echo.seen["Command"] == begun
        while await refused(stub):
            await asyncio.sleep(0.01)


def test_the_queues_are_metrics() -> None:
    assert {"rpc.server.queue.wait", "rpc.server.running", "rpc.server.refused", "records.queue"} <= set(
        DECLARED
    )


class Down(Echo):
    """A service that stands on a store, on Redis, and on somebody's HTTP."""

    def __init__(self, lane: Lane, redis: Redis, url: str) -> None:
        super().__init__()
        self.lane, self.redis, self.url = lane, redis, url
        self.done: list[str] = []
        self.is_asked = asyncio.Event()
        self.is_over = asyncio.Event()

    async def pops(self) -> bool:
        return any(one["cmd"] == "blpop" for one in await self.redis.client_list())

    async def until_under_way(self, stands_on: str) -> None:
        """It has been handed over."""
        match stands_on:
            case "record":
                while self.lane.waiting < 2:
                    await asyncio.sleep(0.01)
            case "redis":
                while not await self.pops():
                    await asyncio.sleep(0.01)
            case "http":
                await self.is_asked.wait()

    async def Command(self, request: EchoRequest, context: object) -> EchoResponse:
        self.waiting.set()
        match request.text:
            case "record":
                try:
                    await self.lane.run(lambda _: self.done.append("record"))
                finally:
                    self.is_over.set()
            case "redis":
                await self.redis.blpop(["nothing"])
            case "http":
                async with aiohttp.ClientSession() as client, client.get(self.url) as response:
                    await response.read()
        self.done.append(request.text)
        return EchoResponse(text=str(deadlines.remaining_s()))


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """Takes a request over HTTP and does not answer; events tell that it came, and that its caller went."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def hold(_request: web.Request) -> web.Response:
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    application = web.Application()
    application.router.add_get("/", hold)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", came, gone
    finally:
        await runner.cleanup()


@pytest.fixture
async def down(
    house: House, tmp_path: Path, valkey_url: str
) -> AsyncIterator[tuple[Down, EchoStub, asyncio.Event]]:
    lane = Lane("test", lambda: sqlite3.connect(tmp_path / "records.sqlite"), threads=1, commit=True)
    await lane.start()
    async with silent() as (url, came, gone), Redis.from_url(valkey_url) as redis:
        service = Down(lane, redis, url)
        service.is_asked = came
        yield service, house.stub(await house.start(service)), gone
    await lane.close()


@pytest.mark.parametrize("ended_by", ["its deadline", "who asked"])
@pytest.mark.parametrize("stands_on", ["record", "redis", "http"])
async def test_what_a_call_waits_for_ends_with_it(
    down: tuple[Down, EchoStub, asyncio.Event], stands_on: str, ended_by: str
) -> None:
    service, stub, gone = down
    held = threading.Event()
    if stands_on == "record":
        # Somebody else's operation takes long.
        before = asyncio.ensure_future(service.lane.run(lambda _: held.wait(WAIT_S)))
        while not service.lane.waiting:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(WAIT_S):
        if ended_by == "its deadline":
            begun = service.is_asked if stands_on == "http" else service.waiting
            # On a busy machine it may be over before that.
            while not begun.is_set():
                with pytest.raises(RemoteFailure, match="DEADLINE_EXCEEDED"):
                    await stub.Command(EchoRequest(text=stands_on), timeout=1.5)
        else:
            call = asyncio.ensure_future(stub.Command(EchoRequest(text=stands_on)))
            await service.until_under_way(stands_on)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        match stands_on:
            case "http":
                await gone.wait()
            case "redis":
                while await service.pops():
                    await asyncio.sleep(0.01)
            case "record":
                await service.is_over.wait()
                assert service.lane.waiting >= 2  # it had been handed over
                held.set()
                await before
                await service.lane.run(lambda _: None)
    assert service.done == []
