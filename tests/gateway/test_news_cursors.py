"""News are gone on with behind a cursor: after a break nothing is missed and nothing is heard twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from satreel.market.v1 import market_service_pb2

from graphql_gateway.live import watch
from graphql_gateway.live.cursors import encode
from mesh.clock import SystemClock
from tests.gateway import virtual_time
from tests.gateway.client import Client, Socket
from tests.gateway.test_subscriptions import sale_news
from tests.gateway.world import World, opened, until

DEALS = """subscription($after: String, $meme: ID) {
  marketActivity(after: $after, memeId: $meme) { cursor sale { priceSats buyer { displayName } } } }"""
MEME = "0190aaaa-0000-7000-8000-000000000001"


def deal(number: int, meme_id: str = MEME) -> market_service_pb2.WatchMarketResponse:
    news = sale_news(meme_id, number)
    news.cursor = f"m.{number}"
    return news


async def told(socket: Socket, count: int) -> list[tuple[int, str]]:
    events = [(await socket.data())["marketActivity"] for _ in range(count)]
    return [(event["sale"]["priceSats"], event["cursor"]) for event in events]


async def follow(world: World, socket: Socket, after: str | None = None, **more: Any) -> None:
    before = world.live.groups.followers
    await socket.subscribe(DEALS, {"after": after, **more})
    await until(lambda: world.live.groups.followers > before)


async def test_nothing_is_missed_between_two_connections(world: World, client: Client) -> None:
    async with client.socket() as first:
        await follow(world, first)
        await until(lambda: world.live.market.subscribers)
        for number in (1, 2):
            world.market.feed.publish(deal(number))
        heard = await told(first, 2)
    await until(lambda: not world.live.groups.followers)
    for number in (3, 4, 5):
        world.market.feed.publish(deal(number))
    await until(lambda: world.live.market.position >= 6)
    async with client.socket() as second, client.socket() as other:
        await follow(world, second, heard[-1][1])
        assert [number for number, _ in await told(second, 3)] == [3, 4, 5]
        # From here on it follows with those who begin now.
        await follow(world, other)
        assert len(world.live.groups) == 1
        world.market.feed.publish(deal(6))
        assert await told(second, 1) == await told(other, 1) == [(6, encode("market", "m.6"))]
    # The service was asked for nothing anew.
    assert world.market.feed.cursors == [""]


async def test_who_went_on_follows_with_the_others_once_they_are_as_far(world: World, client: Client) -> None:
    async with client.socket() as one, client.socket() as back, client.socket() as back_too:
        await follow(world, one)
        await until(lambda: world.live.market.subscribers)
        for number in range(1, 4):
            world.market.feed.publish(deal(number))
        cursors = [cursor for _, cursor in await told(one, 3)]
        await follow(world, back, cursors[0])
        await follow(world, back_too, cursors[1])
        assert [number for number, _ in await told(back, 2)] == [2, 3]
        assert [number for number, _ in await told(back_too, 1)] == [3]
        await until(lambda: len(world.live.groups) == 1)
        for number in range(4, 7):
            world.market.feed.publish(deal(number))
        for socket in (one, back, back_too):
            assert [number for number, _ in await told(socket, 3)] == [4, 5, 6]
        assert world.live.market.subscribers == 1


@pytest.mark.parametrize("how", ["a variable", "in the text", "a variable that is used twice"])
async def test_each_begins_behind_its_cursor_whoever_began_there_before(
    world: World, client: Client, how: str
) -> None:
    cursor = encode("market", "m.1")
    query = {
        "a variable": DEALS,
        "in the text": DEALS.replace("after: $after", f'after: "{cursor}"').replace("$after: String, ", ""),
        "a variable that is used twice": DEALS.replace("cursor sale", "cursor @skip(if: $no) sale").replace(
            "$after: String", '$after: String = "x", $no: Boolean = false'
        ),
    }[how]
    variables = {"after": cursor} if how != "in the text" else {}
    for number in (1, 2, 3):
        world.market.feed.publish(deal(number))
    await until(lambda: world.live.market.position >= 4)
    async with client.socket() as one, client.socket() as main, client.socket() as late:
        await follow(world, main)
        await until(lambda: world.live.market.subscribers)
        await one.subscribe(query, variables)
        assert [number for number, _ in await told(one, 2)] == [2, 3]
        await late.subscribe(query, variables)
        assert [number for number, _ in await told(late, 2)] == [2, 3]
        world.market.feed.publish(deal(4))
        for socket in (one, main, late):
            assert [number for number, _ in await told(socket, 1)] == [4]


async def test_of_one_meme(world: World, client: Client) -> None:
    other = "0190aaaa-0000-7000-8000-000000000002"
    async with client.socket() as socket:
        await follow(world, socket)
        await until(lambda: world.live.market.subscribers)
        for number in range(1, 6):
            world.market.feed.publish(deal(number, other if number % 2 else MEME))
        heard = await told(socket, 5)
    async with client.socket() as socket:
        await follow(world, socket, heard[0][1], meme=MEME)
        assert [number for number, _ in await told(socket, 2)] == [2, 4]


async def test_what_another_gateway_told_is_fetched_from_the_service(world: World, client: Client) -> None:
    """This one has begun after it."""
    feed = world.market.feed
    feed.behind = {"m.1": [deal(2), deal(3)]}
    world.live.market._cursor = "m.3"
    async with client.socket() as socket:
        await follow(world, socket, encode("market", "m.1"))
        assert [number for number, _ in await told(socket, 2)] == [2, 3]
        feed.publish(deal(4))
        assert [number for number, _ in await told(socket, 1)] == [4]
    assert feed.cursors == ["", "m.1"]
    await until(lambda: feed.watchers == 1)


async def test_what_nobody_knows_any_more_is_said_to_be_lost(world: World, client: Client) -> None:
    world.market.feed.lost = True
    async with client.socket() as socket:
        await socket.subscribe(DEALS, {"after": encode("market", "m.old")})
        assert await socket.code() == "NEWS_LOST"


async def test_for_what_is_too_old_no_service_is_asked(world: World, client: Client) -> None:
    world.live.market._cursor = f"m.{watch.KEPT_MAX + 2}"
    async with client.socket() as socket:
        await socket.subscribe(DEALS, {"after": encode("market", "m.1")})
        assert await socket.code() == "NEWS_LOST"
    assert world.market.feed.cursors == [""]


def test_nobody_waits_longer_for_news_than_a_fetch_may_take() -> None:
    async def silent(cursor: str) -> AsyncIterator[market_service_pb2.WatchMarketResponse]:
        """The service says nothing of what came behind a cursor."""
        if not cursor:
            yield market_service_pb2.WatchMarketResponse(
                cursor="m.100", snapshot=market_service_pb2.MarketSnapshot()
            )
        await asyncio.Event().wait()

    async def main() -> None:
        market: watch.Watch[Any] = watch.Watch("market", silent, SystemClock(), keeps=watch.KEPT_MAX)
        running = asyncio.create_task(market.run())
        old = [market.events(f"m.{number}") for number in range(5 * watch.FETCHES_MAX)]
        told = await asyncio.gather(*map(anext, old), return_exceptions=True)
        assert {type(one) for one in told} == {watch.NewsLost}
        assert asyncio.get_running_loop().time() == pytest.approx(watch.FETCH_S)
        running.cancel()

    virtual_time.run(main())


async def test_a_gap_in_the_news_is_one_for_cursors_too(world: World, client: Client) -> None:
    async with client.socket() as socket:
        await follow(world, socket)
        await until(lambda: world.live.market.subscribers)
        world.market.feed.publish(deal(1))
        [(_, cursor)] = await told(socket, 1)
        world.market.feed.lost = True
        world.market.feed.break_streams()
        assert await socket.code() == "NEWS_LOST"
        await socket.subscribe(DEALS, {"after": cursor})
        assert await socket.code() == "NEWS_LOST"


async def test_only_so_many_are_kept(world: World, client: Client) -> None:
    for number in range(watch.KEPT_MAX + 2):
        world.market.feed.publish(deal(number))
    await until(lambda: world.live.market.position >= watch.KEPT_MAX + 3)
    assert world.live.market._behind("m.0") is None
    assert len(world.live.market._behind("m.1") or ()) == watch.KEPT_MAX


async def test_cursors_of_others_are_refused(world: World, client: Client) -> None:
    async with client.socket() as socket:
        for cursor in (
            "",
            "m.1",
            encode("content", "m.1"),
            encode("market", ""),
            encode("market", "x" * 129),
        ):
            await socket.subscribe(DEALS, {"after": cursor})
            assert await socket.code() == "BAD_CURSOR"
        assert not world.live.groups.followers


async def test_what_is_told_again_is_paid_for(tmp_path: Path) -> None:
    async with opened(tmp_path, cost_per_min=1_000) as world, world.client.socket() as socket:
        for number in range(1, 101):
            world.market.feed.publish(deal(number))
        await until(lambda: world.live.market.position > 100)
        await socket.subscribe(DEALS, {"after": encode("market", "m.1")})
        told_again = 0
        while (message := await socket.next())["type"] == "next":
            told_again += 1
        assert message["payload"][0]["extensions"]["metadata"]["policy"] == "cost"
        # Each costs some 30: the sale, its buyer, and what is shown of them.
        assert 10 < told_again < 50


async def test_news_from_here_on_are_paid_for_once(tmp_path: Path) -> None:
    async with opened(tmp_path, cost_per_min=100) as world, world.client.socket() as socket:
        await follow(world, socket)
        await until(lambda: world.live.market.subscribers)
        for number in range(1, 51):
            world.market.feed.publish(deal(number))
        assert len(await told(socket, 50)) == 50
