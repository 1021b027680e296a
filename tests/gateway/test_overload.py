"""A gateway that has more to do than it can refuses what is new, and goes on with what is under way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from graphql_gateway.safety.turns import Door
from graphql_gateway.services import Services
from mesh.ids import uuid7
from mesh.queueing import LOOK_EVERY_S
from sandbox.process import Child, free_port, start_child
from tests.conftest import without_settings
from tests.gateway.client import Answer, Client
from tests.gateway.test_subscriptions import sale_news
from tests.gateway.test_watch import begin
from tests.gateway.test_workers import listens
from tests.gateway.world import FastClock, World, opened, token_of, until
from tests.mesh.test_overload import busy

TIP = "{ tip { height } }"
SALES = "subscription { marketActivity { cursor } }"
# Some 20 ms of work, and no call.
HEAVY = (
    "{ a: __schema { types { ...T } } b: __schema { types { ...T } } } "
    "fragment T on __Type { name fields { name description } }"
)
START_S = WAIT_S = 120.0


def is_refusal(answer: Answer) -> bool:
    """Whether it says that this is too much; else it is an answer."""
    if answer.status == 200:
        assert answer.json["data"], answer.json
        return False
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1"), answer
    assert answer.json.keys() == {"errors"}
    assert (answer.code, answer.error["status"]) == ("OVERLOADED", "RESOURCE_EXHAUSTED")
    return True


async def until_true(met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await met():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def overloaded(world: World) -> AsyncIterator[None]:
    """In the block the loop has 30 ms of work in every turn, and may have 20; then it is as before."""

    async def refused() -> bool:
        return is_refusal(await world.client.post(TIP))

    async def answered() -> bool:
        return not await refused()

    assert await answered()
    queue = world.parts.front._queue
    before_s, queue._wait_max_s = queue._wait_max_s, 0.02
    with busy(2, 0.015):
        await until_true(refused)
        yield
    await until_true(answered)
    queue._wait_max_s = before_s


async def test_what_is_new_is_refused_by_whatever_way_it_comes(world: World) -> None:
    async with world.client.socket() as socket:
        async with overloaded(world):
            world.log.calls.clear()
            assert is_refusal(await world.client.send("GET", params={"query": TIP}))
            assert is_refusal(await world.client.send("PUT", "/graphql/stream"))
            assert (await world.client.send("GET", headers=HANDSHAKE)).status == 429
            told = await world.client.send("POST", "/authorize/v1/rounds/current")
            assert (told.status, told.json["details"][0]["reason"]) == (429, "OVERLOADED")
            await socket.subscribe(TIP)
            message = await socket.next()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "OVERLOADED")
            assert not [call for call in world.log.calls if not call.name.startswith("Watch")]
        await socket.subscribe(TIP)
        assert await socket.data() == {"tip": {"height": 100}}


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def test_what_is_under_way_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path, clock=FastClock()) as world:
        world.user("vera")
        meme = world.meme("cat", world.user("ada"))
        async with world.client.socket(token_of("vera")) as socket, world.client.socket() as other:
            film = (await begin(socket, meme))["filmUrl"]
            await other.subscribe(SALES)
            await until(lambda: world.live.market.subscribers)
            async with overloaded(world):
                (viewing,) = world.ledger.sessions.values()
                before = viewing.seconds
                await until(lambda: viewing.seconds > before + 2)
                assert (await socket.data())["watch"]["stopReason"] is None
                assert (await world.client.send("GET", film)).status == 200
                world.market.feed.publish(sale_news(uuid7(), 1))
                assert (await other.data())["marketActivity"]["cursor"]
                assert (await world.client.send("GET", "/healthz")).status == 200
                ended = await world.client.send("DELETE", "/graphql/stream", params={"operationId": "1"})
                assert ended.code == "STREAM_NOT_FOUND"
            await socket.send(id="1", type="complete")
            await until(lambda: world.log.of("CloseSession"))


async def test_one_long_stop_is_no_overload(world: World) -> None:
    """Whoever comes right behind it is answered, though it was just found that all have waited long."""
    async with world.client.socket() as socket:
        queue = world.parts.front._queue
        queue._wait_max_s = 0.5
        await until(lambda: not queue._looks)
        await asyncio.sleep(LOOK_EVERY_S)
        assert not queue.stands()
        # A look is under way, and so is what the gateway reads next.
        await socket.subscribe(TIP)
        time.sleep(1.0)  # noqa: ASYNC251 - this is what it is about
        assert await socket.data() == {"tip": {"height": 100}}


async def test_one_client_that_waits_behind_itself_is_no_overload() -> None:
    """Clients take turns at the door: another one is let in soon."""
    door = Door(begun_max=2)
    alone = [asyncio.create_task(door.enter("many")) for _ in range(500)]
    await asyncio.sleep(0)
    assert door.turns_ahead() == 0
    others = [asyncio.create_task(door.enter(str(number))) for number in range(100)]
    await asyncio.sleep(0)
    assert 45 < door.turns_ahead() <= 50
    await asyncio.gather(*others)
    assert door.turns_ahead() == 0
    await asyncio.gather(*alone)


@asynccontextmanager
async def process(folder: Path, world: World, redis_url: str) -> AsyncIterator[tuple[Child, Client]]:
    """A gateway as it runs in production, but that it shows its schema; and a client of it."""
    http = f"127.0.0.1:{free_port()}"
    environment = without_settings() | {
        "SATREEL_PEERS": json.dumps(dict.fromkeys(Services.__slots__, f"127.0.0.1:{world.services_port}")),
        "SATREEL_REDIS_URL": redis_url,
        "SATREEL_DATA_DIR": str(folder),
        "SATREEL_DRAIN_S": "0",
        "SATREEL_CALL_WAIT_MAX_S": "0.1",
        "SATREEL_GATEWAY_HTTP_LISTEN": http,
        "SATREEL_GATEWAY_PROFILE": "development",
        "SATREEL_GATEWAY_TRUSTED_PROXIES": "1",
        "SATREEL_GATEWAY_PING_S": "300",
    }
    child = await start_child(
        "gateway", [sys.executable, "-m", "graphql_gateway"], log_path=folder / "gateway.log", env=environment
    )
    try:
        async with Client(f"http://{http}") as client:
            await until_true(partial(listens, client))
            yield child, client
    finally:
        await child.stop()


class Crowd:
    """Clients, each with an address of its own, that ask again as soon as they are answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.told = Counter[bool]()

    @asynccontextmanager
    async def asking(self, text: str, *, many: int) -> AsyncIterator[None]:
        """In the block."""
        async with Client(self._url) as client:
            crowd = [asyncio.create_task(self._ask(client, text, number)) for number in range(many)]
            try:
                yield
            finally:
                for one in crowd:
                    one.cancel()
                await asyncio.gather(*crowd, return_exceptions=True)

    async def _ask(self, client: Client, text: str, number: int) -> None:
        while True:
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            is_refused = is_refusal(await client.send("POST", json={"query": text}, headers=headers))
            self.told[is_refused] += 1
            if is_refused:
                await asyncio.sleep(0.1)


async def test_a_process_under_real_load_sheds_and_recovers(tmp_path: Path, valkey_url: str) -> None:
    """More than it can do is asked for, over sockets; then it is stopped for longer than anybody may wait."""
    async with (
        opened(tmp_path) as world,
        process(tmp_path, world, valkey_url) as (child, client),
        client.socket() as socket,
    ):

        async def answered() -> bool:
            return not is_refusal(await client.post(TIP))

        await until_true(answered)
        await socket.subscribe(SALES)
        crowd = Crowd(client.url)
        async with crowd.asking(HEAVY, many=60):
            await until(lambda: crowd.told[True])
            assert (await client.send("GET", "/healthz")).status == 200
            world.market.feed.publish(sale_news(uuid7(), 1))
            assert (await socket.data())["marketActivity"]["cursor"]
            # It does as much as it can: what is asked for is too much, not all of it.
            before = crowd.told.copy()
            await until(lambda: all(crowd.told[told] > before[told] + 5 for told in (True, False)))
        await until_true(answered)

        os.kill(child.process.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(answered()) for _ in range(10)]
        await asyncio.sleep(1.5)
        os.kill(child.process.pid, signal.SIGCONT)
        assert all(await asyncio.gather(*waiting))
