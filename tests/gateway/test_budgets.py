"""Limits within a minute: counted in Redis for all gateways, told in headers, the same over WebSockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from redis.asyncio import Redis

from graphql_gateway.safety import windows as windows_module
from graphql_gateway.safety.budget import network_of
from graphql_gateway.safety.leases import Leases
from graphql_gateway.safety.windows import (
    EnduringWindows,
    Grant,
    OwnWindows,
    SharedWindows,
    Wanted,
    Windows,
)
from mesh.clock import SystemClock
from mesh.feeds.stream import client_of
from mesh.ids import uuid7
from tests.conftest import ValkeyServer
from tests.gateway.client import WAIT_S
from tests.gateway.world import StillWindows, opened, token_of

TIP = "{ tip { height } }"
LOG_IN = 'logIn(challengeId: "a", address: "b", signature: "c") { accessToken }'


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    async with aclosing(client_of(valkey_url)) as redis:
        yield redis


@pytest.fixture(params=["redis", "own"])
def windows(request: pytest.FixtureRequest, redis: Redis) -> Windows:
    return SharedWindows(redis) if request.param == "redis" else StillWindows()


async def early_in_a_minute() -> None:
    """Redis goes by the wall clock: these tests last less than fifteen seconds of it."""
    while time.time() % 60 > 45:
        await asyncio.sleep(0.1)


async def leased(windows: Windows, key: str, quota: int, need: int, want: int) -> Grant:
    one = Wanted(key, quota, need, want)
    return (await windows.lease([one]))[one]


async def test_a_window_gives_its_quota_and_no_more(windows: Windows) -> None:
    await early_in_a_minute()
    key = uuid7()
    assert (await leased(windows, key, 10, 1, 6)).granted == 6
    # As much of what is wanted as there is, if it is what is needed.
    refused = await leased(windows, key, 10, 5, 6)
    assert (refused.granted, refused.left) == (0, 4)
    assert (await leased(windows, key, 10, 2, 6)).granted == 4
    full = await leased(windows, key, 10, 1, 1)
    assert (full.granted, full.left) == (0, 0)
    # A tenth of the quota is free a tenth into the next window.
    assert full.wait_s == pytest.approx(full.ends_s + 6, abs=0.1)
    assert 0 < full.ends_s <= 60


async def test_one_call_serves_many_keys(windows: Windows) -> None:
    await early_in_a_minute()
    wanted = [Wanted(uuid7(), 3, 1, number) for number in range(1, 6)]
    answers = await windows.lease(wanted)
    assert [answers[one].granted for one in wanted] == [1, 2, 3, 3, 3]


async def test_what_was_taken_a_minute_ago_counts_by_the_part_that_is_less(redis: Redis) -> None:
    await early_in_a_minute()
    seconds, microseconds = await redis.time()
    number, passed_s = divmod(seconds + microseconds / 1e6, 60)
    key = uuid7()

    async def late_s() -> float:
        seconds, microseconds = await redis.time()
        return float(seconds + microseconds / 1e6 - number * 60 - passed_s)

    await redis.set("satreel:{limits}:" + key, f"{int(number) - 1} 1000 7")
    own = OwnWindows(lambda: now_s)
    now_s = (number - 1) * 60.0 + 1
    await leased(own, key, 1_000, 1_000, 1_000)
    now_s = number * 60 + passed_s
    shared = await leased(SharedWindows(redis), key, 1_000, 1, 1_000)
    # It frees 17 a second.
    soonest = await leased(own, key, 1_000, 1, 1_000)
    assert soonest.granted == pytest.approx(1_000 * passed_s / 60, abs=1)
    assert soonest.granted - 1 <= shared.granted <= soonest.granted + 1 + 17 * await late_s()
    need = 500 if passed_s < 25 else 1_000
    wait_s, own_wait_s = [
        (await leased(one, key, 1_000, need, 1_000)).wait_s for one in (SharedWindows(redis), own)
    ]
    # What it granted later it has to wait for later.
    assert abs(wait_s - own_wait_s) <= 0.2 + await late_s()
    # Two windows later it is forgotten.
    now_s += 121
    assert (await leased(own, key, 1_000, 1_000, 1_000)).granted == 1_000


class Counted:
    """Counts the calls."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self.calls = 0

    async def lease(self, wanted: Sequence[Wanted]) -> dict[Wanted, Grant]:
        self.calls += 1
        return await self._windows.lease(wanted)


async def admitted(leases: Leases, key: str, times: int, quota: int = 1_000) -> int:
    standings = await asyncio.gather(*(leases.take(key, quota=quota, amount=1) for _ in range(times)))
    return sum(standing.wait_s is None for standing in standings)


async def test_a_thousand_requests_take_some_twenty_calls(redis: Redis) -> None:
    await early_in_a_minute()
    counted = Counted(SharedWindows(redis))
    async with Leases(counted, SystemClock()) as leases:
        key = uuid7()
        assert await admitted(leases, key, 1_500) == 1_000
        assert counted.calls <= 25
        before = counted.calls
        # Who was told to wait asks nobody.
        refused = await leases.take(key, quota=1_000, amount=1)
        assert refused.wait_s is not None
        assert 0 < refused.wait_s <= 61
        assert counted.calls == before


async def test_clients_of_one_moment_share_a_call(redis: Redis) -> None:
    counted = Counted(SharedWindows(redis))
    async with Leases(counted, SystemClock()) as leases:
        results = await asyncio.gather(*(admitted(leases, uuid7(), 1) for _ in range(300)))
        assert sum(results) == 300
        assert counted.calls <= 2


async def test_gateways_share_a_quota(redis: Redis) -> None:
    await early_in_a_minute()
    async with (
        Leases(SharedWindows(redis), SystemClock()) as one,
        Leases(SharedWindows(redis), SystemClock()) as two,
    ):
        key = uuid7()
        both = await asyncio.gather(admitted(one, key, 800), admitted(two, key, 800))
        assert sum(both) == 1_000


async def test_each_gateway_counts_for_itself_while_redis_is_away(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it may be slow, and is not away.
    monkeypatch.setattr(windows_module, "REDIS_S", WAIT_S)
    await early_in_a_minute()

    class Jumping(SystemClock):
        ahead_s = 0.0

        def monotonic_s(self) -> float:
            return time.monotonic() + self.ahead_s

    clock = Jumping()
    async with aclosing(client_of(own_valkey.url)) as redis:
        windows = EnduringWindows(SharedWindows(redis), StillWindows(), clock)
        key = uuid7()
        assert (await leased(windows, key, 10, 1, 8)).left == 2
        own_valkey.kill()
        assert (await leased(windows, key, 10, 1, 8)).left == 2  # its own count begins at nothing
        assert (await leased(windows, key, 10, 3, 8)).granted == 0
        own_valkey.start()
        clock.ahead_s += 2
        assert (await leased(windows, key, 10, 1, 10)).granted == 10  # the server came back empty


def test_an_ipv6_network_is_one_client() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::") != network_of("2001:db8:1:2::")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("") == ""


async def test_requests_of_a_client_are_limited_and_told(tmp_path: Path) -> None:
    async with opened(tmp_path, requests_per_min=5) as world:
        world.user("ada")
        client = world.client
        first = await client.post(TIP)
        assert first.status == 200
        told = first.headers["RateLimit"]
        assert '"requests";r=4;t=' in told
        assert '"address";r=4999;t=' in told
        assert '"requests";q=5;w=60' in first.headers["RateLimit-Policy"]
        # What is refused counts as well.
        assert [(await client.post("nonsense")).status for _ in range(4)] == [200] * 4
        over = await client.post(TIP)
        assert (over.status, over.code) == (429, "RATE_LIMITED")
        assert 0 < int(over.headers["Retry-After"]) <= 72
        assert '"requests";r=0' in over.headers["RateLimit"]
        # A user is another client than the address.
        assert (await client.post(TIP, token=token_of("ada"))).status == 200
        calls = len(world.log.of("GetTip"))
        assert calls == 2


async def test_an_address_is_limited_before_it_is_asked_who_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path, address_requests_per_min=3) as world:
        for _ in range(3):
            assert (await world.client.post(TIP, token="forged-forged-forged")).status == 401
        asked = len(world.log.of("Authenticate"))
        assert (await world.client.post(TIP, token="forged-forged-forged")).status == 429
        assert (await world.client.send("GET", f"/media/{uuid7()}/poster")).status == 429
        assert (await world.client.send("GET", "/healthz")).status == 200
        assert len(world.log.of("Authenticate")) == asked


async def test_operations_on_a_socket_count_as_requests_do(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, requests_per_min=3) as world,
        world.client.socket() as socket,
    ):
        for number in range(3):
            await socket.subscribe(TIP, as_id=f"{number}")
            assert (await socket.data())["tip"]
            assert (await socket.next())["type"] == "complete"
        await socket.subscribe(TIP)
        refused = await socket.next()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert int(refused["payload"][0]["extensions"]["metadata"]["retry_after_s"]) > 0
        # The socket goes on.
        await socket.send(type="ping")
        assert (await socket.next())["type"] == "pong"


async def test_cost_is_limited_before_anything_is_asked_of_services(tmp_path: Path) -> None:
    async with opened(tmp_path, cost_per_min=200) as world:
        large = "query($n: Int) { memes(first: $n) { nodes { id } } }"
        assert (await world.client.post(large, {"n": 100})).status == 200  # 126
        over = await world.client.post(large, {"n": 100})
        assert (over.status, over.error["metadata"]["policy"]) == (429, "cost")
        # What is left is enough for less.
        assert (await world.client.post(large, {"n": 10})).status == 200  # 36
        assert len(world.log.of("ListMemes")) == 2
        async with world.client.socket() as socket:
            await socket.subscribe(large, {"n": 100})
            assert await socket.code() == "RATE_LIMITED"


async def test_log_ins_are_limited_however_they_are_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, log_ins_per_min=4) as world:
        three = "mutation { " + " ".join(f"a{number}: {LOG_IN}" for number in range(3)) + " }"
        await world.client.post(three)
        over = await world.client.post(three)
        assert (over.status, over.error["metadata"]["policy"]) == (429, "log-ins")
        assert len(world.log.of("LogIn")) <= 3
        assert (await world.client.post(f"mutation {{ {LOG_IN} }}")).status == 200
        assert (await world.client.post(f"mutation {{ {LOG_IN} }}")).status == 429
        five = "mutation { " + " ".join(f"a{number}: {LOG_IN}" for number in range(5)) + " }"
        assert (await world.client.post(five)).status == 429
        assert (await world.client.post(TIP)).status == 200


async def test_the_price_is_told_when_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        query = "query($n: Int) { a: memes(first: $n) { nodes { id } } }"
        answer = await world.client.post(query, {"n": 3}, extensions={"cost": True})
        assert answer.json["extensions"] == {"cost": {"cost": 29.0, "depth": 3, "fields": 3, "aliases": 1}}
        assert "extensions" not in (await world.client.post(query, {"n": 3})).json
