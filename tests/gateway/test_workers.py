"""Several processes on one port: real ones, before fake services and a real Valkey; killed, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from satreel.content.v1 import content_pb2

from graphql_gateway.services import Services
from mesh.ids import uuid7
from sandbox.process import Child, free_port, start_child
from tests.conftest import without_settings
from tests.gateway.client import Client, Socket
from tests.gateway.test_watch import WATCH
from tests.gateway.world import World, opened, token_of, until

START_S = 120.0
TIP = "{ tip { height } }"
RENAMED = 'mutation { setDisplayName(displayName: "Vera") { displayName } }'


@dataclass
class Workers:
    """The running processes."""

    parent: Child
    client: Client

    @property
    def pids(self) -> set[int]:
        """Of the workers."""
        return {child.pid for child in psutil.Process(self.parent.process.pid).children()}

    def of(self, socket: Socket) -> int:
        """The worker that has the other end of a socket."""
        port = socket.port
        for pid in self.pids:
            # One of them may be ending.
            with suppress(psutil.Error):
                ends = [one.raddr for one in psutil.Process(pid).net_connections("tcp")]
                if port in [end[1] for end in ends if tuple(end)]:
                    return pid
        raise AssertionError(port)

    async def at(self, pid: int, stack: AsyncExitStack) -> Socket:
        """A socket of vera's at that worker."""
        async with asyncio.timeout(START_S):
            while True:
                async with AsyncExitStack() as opening:
                    socket = await opening.enter_async_context(self.client.socket(token_of("vera")))
                    if self.of(socket) == pid:
                        await stack.enter_async_context(opening.pop_all())
                        return socket

    async def one_of_each(self, stack: AsyncExitStack) -> dict[int, Socket]:
        """By worker a socket of vera's there, of two workers, once there are two."""
        found: dict[int, Socket] = {}
        async with asyncio.timeout(START_S):
            while len(found) < 2:
                async with AsyncExitStack() as opening:
                    socket = await opening.enter_async_context(self.client.socket(token_of("vera")))
                    if found.setdefault(self.of(socket), socket) is socket:
                        await stack.enter_async_context(opening.pop_all())
                        continue
                await asyncio.sleep(0.05)
        return found


@asynccontextmanager
async def workers(folder: Path, world: World, redis_url: str) -> AsyncIterator[Workers]:
    """Two, that listen both."""
    peers = dict.fromkeys(Services.__slots__, f"127.0.0.1:{world.services_port}")
    http = f"127.0.0.1:{free_port()}"
    environment = without_settings() | {
        "SATREEL_PEERS": json.dumps(peers),
        "SATREEL_REDIS_URL": redis_url,
        "SATREEL_DATA_DIR": str(folder),
        "SATREEL_DRAIN_S": "1",
        "SATREEL_GATEWAY_HTTP_LISTEN": http,
        "SATREEL_GATEWAY_WORKERS": "2",
        "SATREEL_GATEWAY_REQUESTS_PER_MIN": "100000",
        "SATREEL_GATEWAY_ADDRESS_REQUESTS_PER_MIN": "100000",
    }
    parent = await start_child(
        "gateway", [sys.executable, "-m", "graphql_gateway"], log_path=folder / "gateway.log", env=environment
    )
    try:
        async with Client(f"http://{http}") as client:
            started = Workers(parent, client)
            async with asyncio.timeout(START_S), AsyncExitStack() as stack:
                while not await listens(client):
                    await asyncio.sleep(0.05)
                # From then on what is sent waits for whoever comes first.
                await client.ask(TIP)
                await started.one_of_each(stack)
            yield started
    finally:
        await parent.stop()


async def listens(client: Client) -> bool:
    try:
        await client.send("GET", "/healthz")
    except (aiohttp.ClientConnectionError, TimeoutError):
        return False
    return True


async def begin(socket: Socket, meme: content_pb2.Meme, viewing: str) -> Any:
    """Begins to watch, or goes on; gives the first event."""
    await socket.subscribe(WATCH, {"meme": meme.id, "budget": 3_600, "id": viewing}, as_id="viewing")
    return (await socket.data())["watch"]


async def test_several_are_as_one(tmp_path: Path, valkey_url: str) -> None:
    """One test, as each start of a process takes seconds."""
    async with opened(tmp_path) as world:
        world.user("vera")
        meme = world.meme("cat", world.user("ada"))
        async with workers(tmp_path, world, valkey_url) as running:
            await streams_are_not_shared(running)
            await one_is_killed_and_the_other_goes_on_with_its_viewing(world, running, meme)
            await no_request_is_lost_with_one_that_stops(running)
            await what_is_under_way_is_answered_when_all_stop(world, running)


async def streams_are_not_shared(running: Workers) -> None:
    assert (await running.client.send("PUT", "/graphql/stream")).code == "STREAMS_NOT_SHARED"
    async with running.client.events("{ __typename }") as events:
        assert await events.line() == b":"


async def one_is_killed_and_the_other_goes_on_with_its_viewing(
    world: World, running: Workers, meme: content_pb2.Meme
) -> None:
    viewing = uuid7()
    async with AsyncExitStack() as stack:
        (killed, one), (stays, other) = (await running.one_of_each(stack)).items()
        began_s = time.monotonic()
        assert (await begin(other, meme, viewing))["viewingId"] == viewing
        # Watched at two at once, the one that was asked last has it.
        await begin(one, meme, viewing)
        while "ALREADY_WATCHING" not in str(await other.next()):
            pass
        while (seconds := (await one.data())["watch"]["seconds"]) < 2:
            pass
        os.kill(killed, signal.SIGKILL)
        await one.until_closed()
        assert (await running.client.post(TIP)).status == 200
        async with AsyncExitStack() as returning:
            again = await running.at(stays, returning)
            again_s = time.monotonic()
            # What was told last may have been counted on.
            before = (await begin(again, meme, viewing))["seconds"]
            assert seconds <= before <= again_s - began_s + 1
            assert (
                before <= (await again.data())["watch"]["seconds"] <= before + time.monotonic() - again_s + 1
            )
            assert not world.log.of("CloseSession")
        await until(lambda: world.log.of("CloseSession"))
        # Another comes for the one that died.
        assert killed not in await running.one_of_each(stack)


async def no_request_is_lost_with_one_that_stops(running: Workers) -> None:
    answers: list[int] = []
    is_over = False

    async def ask() -> None:
        while not is_over:
            answers.append((await running.client.post(TIP, token=token_of("vera"))).status)
            await asyncio.sleep(0.01)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    await until(lambda: len(answers) > 40)
    leaves = min(running.pids)
    os.kill(leaves, signal.SIGTERM)
    async with asyncio.timeout(START_S):
        while leaves in running.pids:
            await asyncio.sleep(0.02)
    so_far = len(answers)
    await until(lambda: len(answers) > so_far + 40)
    is_over = True
    await asyncio.gather(*asking)
    assert set(answers) == {200}


async def what_is_under_way_is_answered_when_all_stop(world: World, running: Workers) -> None:
    held = world.log.holding["SetDisplayName"] = asyncio.Event()
    last = asyncio.create_task(running.client.post(RENAMED, token=token_of("vera")))
    await until(lambda: world.log.of("SetDisplayName"))
    running.parent.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    held.set()
    assert (await last).json["data"]["setDisplayName"]["displayName"] == "Vera"
    async with asyncio.timeout(START_S):
        assert await running.parent.process.wait() == 0
