"""What a socket leaves behind: nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from websockets.protocol import Protocol

from graphql_gateway.edge.heads import TimedHandler
from graphql_gateway.edge.sockets import Socket
from tests.gateway.both_loops.peers import (
    ROUND,
    TEXT,
    Peer,
    closing,
    frame,
    held,
    peer,
    subscribe,
)
from tests.gateway.world import World, opened, until


@contextmanager
def without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def leaves(peer: Peer) -> None:
    await peer.send(closing(1000))
    await peer.closed()


async def vanishes(peer: Peer) -> None:
    peer.writer.transport.abort()


async def errs(peer: Peer) -> None:
    await peer.send(frame(TEXT, b"nonsense"))
    await peer.closed()


async def breaks_rules(peer: Peer) -> None:
    await peer.send(frame(TEXT, b"x", mask=False))
    await peer.closed()


@pytest.mark.parametrize("parts", [leaves, vanishes, errs, breaks_rules])
async def test_a_socket_leaves_nothing_behind(world: World, parts: Callable[[Peer], Awaitable[None]]) -> None:
    """Not even for the garbage collector, which hardly ever looks at what has lived for long."""
    world.round()
    kinds = (Socket, Protocol, TimedHandler, web.Request)
    with without_collection():
        before = len(held(*kinds))
        for _ in range(3):
            async with peer(world.url) as gone:
                await gone.send(frame(TEXT, subscribe(ROUND)))
                await gone.message()
                await parts(gone)
        await until(lambda: len(held(*kinds)) == before)


async def test_a_quiet_socket_has_no_task_and_no_request(world: World) -> None:
    with without_collection():
        tasks = len(asyncio.all_tasks())
        before = len(held(web.Request, TimedHandler))
        async with peer(world.url), peer(world.url):
            await until(lambda: len(asyncio.all_tasks()) == tasks)
            assert len(held(Socket)) == 2
            assert len(held(web.Request, TimedHandler)) == before


async def test_who_comes_while_the_gateway_stops_is_sent_away(tmp_path: Path) -> None:
    async with opened(tmp_path / "stopping") as stopping, peer(stopping.url) as there:
        stop = asyncio.ensure_future(stopping.stop())
        assert await there.closed() == (1001, "The gateway is stopping")
        await stop
