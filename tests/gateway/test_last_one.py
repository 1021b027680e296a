"""What requests share is stopped when the last one who waits for it goes away, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from satreel.identity.v1 import identity_pb2

from graphql_gateway.ids import global_id
from mesh.batching import IN_FLIGHT_MAX
from mesh.ids import uuid7
from tests.gateway.client import WAIT_S, Client
from tests.gateway.world import World, until

READ = "BatchGetUsers"
# By a plan; by graphql-core from the start; by both, as a field fails.
WAYS = {
    "plan": "query($id: ID!) { user(id: $id) { displayName } }",
    "graphql-core": 'query($id: ID!) { user(id: $id) { displayName } __type(name: "User") { name } }',
    "both": 'query($id: ID!) { user(id: $id) { displayName } round(id: "none") { number } }',
}
OVER = ["HTTP", "WebSocket"]
Leave = Callable[[], Awaitable[None]]


@asynccontextmanager
async def asking(world: World, text: str, wanted: str, over: str = "HTTP") -> AsyncIterator[Leave]:
    """Somebody asks, on a connection of their own; gives how they leave."""
    async with Client(world.url) as client:
        if over == "WebSocket":
            async with client.socket() as socket:
                await socket.subscribe(text, {"id": wanted})
                yield lambda: socket.send(id="1", type="complete")
            return
        request = asyncio.create_task(client.post(text, {"id": wanted}))

        async def leave() -> None:
            request.cancel()
            await asyncio.wait([request])

        yield leave
        await asyncio.wait([request])


@asynccontextmanager
async def all_lanes_taken(world: World) -> AsyncIterator[Leave]:
    """As many reads of users as may run at once are under way, and stay; gives how one of them ends."""
    world.log.holding[READ] = asyncio.Event()
    # They hold others up, however long it takes.
    world.parts.public.users._slow_s = WAIT_S
    async with AsyncExitStack() as stack:
        for number in range(IN_FLIGHT_MAX):
            one = world.user(f"before {number}").id
            leave = await stack.enter_async_context(asking(world, WAYS["plan"], one))
            await called(world, number + 1)
        yield leave
        world.log.holding[READ].set()


async def gathered(world: World, count: int) -> None:
    """So many ask for users that have not been sent for."""
    await until(lambda: sum(batch.waiting for batch in world.parts.public.users._gathered) == count)


async def called(world: World, times: int) -> None:
    """So many calls have come to identity."""
    await until(lambda: len(world.log.of(READ)) == times)


async def waited_for(batch: Any, by: int) -> None:
    """So many are left."""
    await until(lambda: batch.waiting == by)


async def given_up(world: World, *people: identity_pb2.User) -> None:
    """Whoever is asked for in the last call, is; and nobody waits for it any more."""
    await until(lambda: world.log.given_up[READ] == 2)
    assert set(world.log.of(READ)[IN_FLIGHT_MAX].request.user_ids) == {one.id for one in people}


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("way", WAYS)
async def test_the_last_one_who_leaves_ends_the_call(world: World, way: str, over: str) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    # The document is known from now on.
    await world.client.post(WAYS[way], {"id": ada.id})
    world.log.calls.clear()
    async with all_lanes_taken(world) as make_way, AsyncExitStack() as stack:
        leaving = [
            await stack.enter_async_context(asking(world, WAYS[way], one.id, over)) for one in (ada, ada, bob)
        ]
        await gathered(world, 3)
        await make_way()
        await called(world, IN_FLIGHT_MAX + 1)
        (batch,) = [one for one in world.parts.public.users._running.values() if len(one.answers) == 2]
        for left in (2, 1):
            await leaving[left]()
            await waited_for(batch, left)
            assert world.log.given_up[READ] == 1, "the one that made way"
        await leaving[0]()
        # Whoever asks now is told nothing of that call, which may still be ending.
        late = await stack.enter_async_context(asking(world, WAYS[way], ada.id, over))
        await given_up(world, ada, bob)
        await called(world, IN_FLIGHT_MAX + 2)
        await late()
        await until(lambda: world.log.given_up[READ] == 3)


async def test_whoever_stays_is_answered(world: World) -> None:
    ada = world.user("ada")
    async with all_lanes_taken(world) as make_way, asking(world, WAYS["plan"], ada.id) as leave:
        stays = asyncio.create_task(world.client.ask(WAYS["plan"], {"id": ada.id}))
        await gathered(world, 2)
        await make_way()
        await called(world, IN_FLIGHT_MAX + 1)
        await leave()
        (batch,) = [one for one in world.parts.public.users._running.values() if ada.id in one.answers]
        await waited_for(batch, 1)
        world.log.holding[READ].set()
        assert await stays == {"user": {"displayName": "ada"}}
    assert world.log.given_up[READ] == 1, "the one that made way"


async def test_what_the_last_one_wanted_is_not_even_sent(world: World) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    async with all_lanes_taken(world) as make_way, asking(world, WAYS["plan"], ada.id) as leave:
        stays = asyncio.create_task(world.client.ask(WAYS["plan"], {"id": bob.id}))
        await gathered(world, 2)
        await leave()
        await gathered(world, 1)
        await make_way()
        await called(world, IN_FLIGHT_MAX + 1)
        assert list(world.log.of(READ)[-1].request.user_ids) == [bob.id]
        world.log.holding[READ].set()
        assert await stays == {"user": {"displayName": "bob"}}


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("more", ["", ' __type(name: "Sale") { name }'], ids=["plan", "graphql-core"])
async def test_reads_of_ones_own_end_too(world: World, more: str, over: str) -> None:
    text = f"query($id: ID!) {{ node(id: $id) {{ id }}{more} }}"
    sale = global_id("Sale", uuid7())
    await world.client.post(text, {"id": sale})
    world.log.calls.clear()
    world.log.holding["GetSale"] = asyncio.Event()
    async with asking(world, text, sale, over) as leave:
        await until(lambda: world.log.of("GetSale"))
        await leave()
        await until(lambda: world.log.given_up["GetSale"] == 1)
