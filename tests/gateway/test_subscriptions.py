"""Live news: what is now, then what changes, with nothing between; and what comes when either side breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.ledger.v1 import ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2

from graphql_gateway.live.backlog import BACKLOG_MAX, FellBehind
from graphql_gateway.live.watch import Watch
from mesh.clock import SystemClock
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway import fakes
from tests.gateway.client import Client
from tests.gateway.world import World, token_of, until

NOBODY = uuid7()
ROUND = "subscription { roundUpdated { number state } }"
BOARD = "subscription { leaderboardUpdated { final standings { rank meme { name } } } }"
BALANCE = "subscription { balanceChanged { balance } }"
BLOCK = "subscription { blockFound { connected { height } orphaned { height } } }"
MARKET = """subscription($meme: ID) { marketActivity(memeId: $meme) {
  listing { priceSats state meme { name } } sale { priceSats buyer { displayName } } } }"""
PIPELINE = """subscription($meme: ID) { pipelineProgress(memeId: $meme) {
  meme { name state } stage { state progress } } }"""


def round_news(**subject: Any) -> rounds_service_pb2.WatchRoundsResponse:
    event = rounds_service_pb2.RoundsEvent(id=uuid7(), **subject)
    return rounds_service_pb2.WatchRoundsResponse(cursor="r1", event=event)


def block_news(height: int, **more: Any) -> chain_service_pb2.WatchBlocksResponse:
    event = chain_service_pb2.BlockEvent(at=fakes.AT, connected=[block(height)], **more)
    return chain_service_pb2.WatchBlocksResponse(cursor="b1", event=event)


def block(height: int) -> chain_pb2.Block:
    return chain_pb2.Block(hash=f"{height:064x}", height=height, mined_at=fakes.AT, seen_at=fakes.AT)


def balance_news(world: World, *user_ids: str) -> ledger_service_pb2.WatchLedgerResponse:
    accounts = [world.ledger.account(f"user:{user_id}") for user_id in user_ids]
    moved = ledger_service_pb2.Movements(
        accounts=[account.id for account in accounts],
        balances=[account.balance for account in accounts],
        held=[account.held for account in accounts],
    )
    return ledger_service_pb2.WatchLedgerResponse(
        cursor="l1", event=ledger_service_pb2.LedgerEvent(id="1", moved=moved)
    )


def sale_news(
    meme_id: str, price_sats: int, buyer_id: str = NOBODY
) -> market_service_pb2.WatchMarketResponse:
    sale = market_pb2.Sale(id=uuid7(), meme_id=meme_id, buyer_id=buyer_id, price_sats=price_sats)
    return market_service_pb2.WatchMarketResponse(
        cursor="m1", event=market_service_pb2.MarketEvent(id=uuid7(), at=fakes.AT, sale=sale)
    )


async def test_rounds_now_and_then(world: World, client: Client) -> None:
    played = world.round(number=4)
    async with client.socket() as socket:
        await socket.subscribe(ROUND)
        assert await socket.data() == {"roundUpdated": {"number": 4, "state": "ACTIVE"}}
        played.state = rounds_pb2.ROUND_STATE_CALCULATING
        world.rounds.feed.publish(round_news(leaderboard=rounds_pb2.Leaderboard()))
        world.rounds.feed.publish(round_news(round=played))
        assert await socket.data() == {"roundUpdated": {"number": 4, "state": "CALCULATING"}}


async def test_nothing_is_missed_between_what_is_and_what_comes(world: World, client: Client) -> None:
    played = world.round(number=4)
    held = world.log.holding["GetCurrentRound"] = asyncio.Event()
    async with client.socket() as socket:
        await socket.subscribe(ROUND)
        await until(lambda: world.log.of("GetCurrentRound"))
        later = rounds_pb2.Round(id=played.id, number=4, state=rounds_pb2.ROUND_STATE_COMPLETED)
        told = world.live.rounds.position
        world.rounds.feed.publish(round_news(round=later))
        await until(lambda: world.live.rounds.position > told)
        held.set()
        states = [(await socket.data())["roundUpdated"]["state"] for _ in range(2)]
        assert states == ["ACTIVE", "COMPLETED"]


async def test_what_was_just_told_is_not_told_again(world: World, client: Client) -> None:
    """An event that was published before the current state was read says nothing new."""
    played = world.round(number=4)
    board = world.rounds.boards[played.id]

    def more_than(calls: int, method: str) -> bool:
        return len(world.log.of(method)) > calls

    def is_told(position: int) -> bool:
        return world.live.rounds.position == position

    for query, kind, method in (
        (ROUND, "round", "GetCurrentRound"),
        (BOARD, "leaderboard", "GetLeaderboard"),
    ):
        held = world.log.holding[method] = asyncio.Event()
        calls = len(world.log.of(method))
        async with client.socket() as socket:
            await socket.subscribe(query)
            await until(partial(more_than, calls, method))
            now, told = {"round": played, "leaderboard": board}[kind], world.live.rounds.position
            for number in range(2):
                board.at.CopyFrom(Timestamp(seconds=number))
                world.rounds.feed.publish(round_news(**{kind: now}))
            await until(partial(is_told, told + 2))
            held.set()
            await socket.data()
            await socket.quiet(0.2)
            world.rounds.feed.publish(round_news(**{kind: now}))
            await socket.quiet(0.2)
        del world.log.holding[method]


async def test_the_leaderboard_loads_afresh_for_every_event(world: World, client: Client) -> None:
    played, meme = world.round(), world.meme("cat", world.user("ada"))
    board = world.rounds.boards[played.id]
    board.standings.append(rounds_pb2.Standing(rank=1, meme_id=meme.id))
    async with client.socket() as socket:
        await socket.subscribe(BOARD)
        first = (await socket.data())["leaderboardUpdated"]
        assert first == {"final": False, "standings": [{"rank": 1, "meme": {"name": "cat"}}]}
        meme.name, board.standings[0].score = "renamed", 1
        world.rounds.feed.publish(round_news(leaderboard=board))
        second = (await socket.data())["leaderboardUpdated"]
        assert second["standings"] == [{"rank": 1, "meme": {"name": "renamed"}}]


async def test_a_balance_goes_to_its_owner_only(world: World, client: Client) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    world.ledger.balances[f"user:{ada.id}"] = 10
    world.ledger.balances[f"user:{bob.id}"] = 20
    async with client.socket(token_of("ada")) as adas, client.socket(token_of("bob")) as bobs:
        await adas.subscribe(BALANCE)
        await bobs.subscribe(BALANCE)
        assert await adas.data() == {"balanceChanged": {"balance": 10}}
        assert await bobs.data() == {"balanceChanged": {"balance": 20}}
        for number in range(5):
            world.ledger.balances[f"user:{ada.id}"] = 11 + number
            world.ledger.feed.publish(balance_news(world, ada.id))
        world.ledger.balances[f"user:{bob.id}"] = 21
        world.ledger.feed.publish(balance_news(world, ada.id, bob.id))
        assert await bobs.data() == {"balanceChanged": {"balance": 21}}
        # Of those that come faster than they are told the newest is.
        seen = [10]
        while seen[-1] < 15:
            seen.append((await adas.data())["balanceChanged"]["balance"])
        assert seen == sorted(seen)
    async with client.socket() as nobodys:
        await nobodys.subscribe(BALANCE)
        assert await nobodys.code() == "USER_TOKEN_MISSING"


async def test_a_session_that_is_revoked_ends_its_subscription(world: World, client: Client) -> None:
    ada = world.user("ada")
    world.ledger.balances[f"user:{ada.id}"] = 10
    async with client.socket(token_of("ada")) as socket:
        await socket.subscribe(BALANCE)
        await socket.data()
        world.identity.sessions.clear()
        world.passes(4)
        world.ledger.feed.publish(balance_news(world, ada.id))
        assert await socket.code() == "SESSION_INVALID"
        await until(lambda: not world.live.ledger.subscribers)
        # A socket's later operations are refused as well.
        await socket.subscribe("{ me { user { id } } }")
        message = await socket.next()
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "SESSION_INVALID")


async def test_blocks_now_and_then(world: World, client: Client) -> None:
    async with client.socket() as socket:
        await socket.subscribe(BLOCK)
        assert await socket.data() == {"blockFound": {"connected": [{"height": 100}], "orphaned": []}}
        world.chain.feed.publish(block_news(101, orphaned=[block(100)]))
        second = (await socket.data())["blockFound"]
        assert second == {"connected": [{"height": 101}], "orphaned": [{"height": 100}]}


async def test_the_market_of_one_meme_or_of_all(world: World, client: Client) -> None:
    ada = world.user("ada")
    cat, dog = world.meme("cat", ada), world.meme("dog", ada)
    async with client.socket() as socket:
        await socket.subscribe(MARKET, {"meme": cat.id}, as_id="cat")
        await socket.subscribe(MARKET, as_id="all")
        await until(lambda: world.live.market.subscribers == 2)
        listing = market_pb2.Listing(id=uuid7(), meme_id=dog.id, price_sats=2_000, state=1)  # type: ignore[arg-type]
        event = market_service_pb2.MarketEvent(id=uuid7(), at=fakes.AT, listing=listing)
        world.market.feed.publish(market_service_pb2.WatchMarketResponse(cursor="m1", event=event))
        message = await socket.next()
        assert message["id"] == "all"
        assert message["payload"]["data"]["marketActivity"] == {
            "listing": {"priceSats": 2_000, "state": "OPEN", "meme": {"name": "dog"}},
            "sale": None,
        }
        world.market.feed.publish(sale_news(cat.id, 3_000, ada.id))
        sale = {"listing": None, "sale": {"priceSats": 3_000, "buyer": {"displayName": "ada"}}}
        messages = [await socket.next() for _ in range(2)]
        assert {message["id"] for message in messages} == {"cat", "all"}
        assert all(message["payload"]["data"]["marketActivity"] == sale for message in messages)


async def test_offers_are_market_activity(world: World, client: Client) -> None:
    cat = world.meme("cat", world.user("ada"))
    async with client.socket() as socket:
        query = "subscription($meme: ID) { marketActivity(memeId: $meme) { listing { id } offer { state } } }"
        await socket.subscribe(query, {"meme": cat.id})
        await until(lambda: world.live.market.subscribers)
        offer = market_pb2.Offer(id=uuid7(), meme_id=cat.id, state=market_pb2.OFFER_STATE_EXPIRED)
        event = market_service_pb2.MarketEvent(id=uuid7(), at=fakes.AT, offer=offer)
        world.market.feed.publish(market_service_pb2.WatchMarketResponse(cursor="m1", event=event))
        assert (await socket.data())["marketActivity"] == {"listing": None, "offer": {"state": "EXPIRED"}}


async def test_the_pipeline_of_a_meme(world: World, client: Client) -> None:
    meme, other = world.meme("cat", world.user("ada")), content_pb2.Meme(id=uuid7())
    stage = content_pb2.Stage(state=content_pb2.MEME_STATE_RENDERING, at=fakes.AT, progress=0.25)
    async with client.socket() as socket:
        await socket.subscribe(PIPELINE, {"meme": meme.id})
        await until(lambda: world.live.content.subscribers)
        for moved in (other, meme):
            event = content_service_pb2.ContentEvent(id=uuid7(), at=fakes.AT, meme=moved, stage=stage)
            world.content.feed.publish(content_service_pb2.WatchContentResponse(cursor="c1", event=event))
        assert await socket.data() == {
            "pipelineProgress": {
                "meme": {"name": "cat", "state": "PUBLISHED"},
                "stage": {"state": "RENDERING", "progress": 0.25},
            }
        }


async def test_what_is_not_published_concerns_its_creator_and_administrators(
    world: World, client: Client
) -> None:
    meme = world.meme("cat", world.user("ada"))
    world.user("bob"), world.user("root", admin=True)
    async with (
        client.socket() as nobodys,
        client.socket(token_of("bob")) as bobs,
        client.socket(token_of("ada")) as adas,
        client.socket(token_of("root")) as roots,
    ):
        sockets = [nobodys, bobs, adas, roots]
        for socket in sockets:
            await socket.subscribe("subscription { pipelineProgress { meme { name state } } }")
        await until(lambda: world.live.groups.followers == len(sockets))
        assert world.live.content.subscribers == 1
        for state in (content_pb2.MEME_STATE_REJECTED, content_pb2.MEME_STATE_PUBLISHED):
            meme.state = state
            event = content_service_pb2.ContentEvent(id=uuid7(), at=fakes.AT, meme=meme)
            world.content.feed.publish(content_service_pb2.WatchContentResponse(cursor="c1", event=event))
        for socket in (adas, roots):
            assert (await socket.data())["pipelineProgress"]["meme"]["state"] == "REJECTED"
        for socket in sockets:
            assert (await socket.data())["pipelineProgress"]["meme"]["state"] == "PUBLISHED"


async def test_a_broken_stream_is_resumed_where_it_broke(world: World, client: Client) -> None:
    world.round(number=1)
    async with client.socket() as socket:
        await socket.subscribe(ROUND)
        await socket.data()
        world.rounds.feed.publish(round_news(round=rounds_pb2.Round(number=2, state=2)))  # type: ignore[arg-type]
        assert (await socket.data())["roundUpdated"]["number"] == 2
        world.rounds.feed.break_streams()
        await until(lambda: len(world.rounds.feed.cursors) == 2)
        world.rounds.feed.publish(round_news(round=rounds_pb2.Round(number=3, state=2)))  # type: ignore[arg-type]
        assert (await socket.data())["roundUpdated"]["number"] == 3
    assert world.rounds.feed.cursors == ["", "r1"]


async def test_a_stream_that_lost_its_place_tells_the_state_again(world: World, client: Client) -> None:
    """The feed is lost: services answer with a snapshot."""
    ada, played = world.user("ada"), world.round(number=1)
    world.ledger.balances[f"user:{ada.id}"] = 1
    async with client.socket(token_of("ada")) as socket:
        for name, query in (("round", ROUND), ("board", BOARD), ("balance", BALANCE), ("block", BLOCK)):
            await socket.subscribe(query, as_id=name)
            assert (await socket.next())["id"] == name
        await socket.subscribe(MARKET, as_id="market")
        await socket.subscribe(PIPELINE, as_id="pipeline")
        await until(lambda: world.live.market.subscribers and world.live.content.subscribers)
        played.number, world.ledger.balances[f"user:{ada.id}"], world.chain.tip = 2, 2, block(102)
        parts = (world.rounds, world.ledger, world.chain, world.market, world.content)
        for part in parts:
            part.feed.lost = True
            part.feed.break_streams()
        told: dict[str, Any] = {}
        while len(told) < 6:
            message = await socket.next()
            told[message["id"]] = message["payload"]
        assert told["round"]["data"]["roundUpdated"]["number"] == 2
        assert told["board"]["data"]["leaderboardUpdated"]["standings"] == []
        assert told["balance"]["data"]["balanceChanged"]["balance"] == 2
        assert told["block"]["data"]["blockFound"]["connected"] == [{"height": 102}]
        # Those that have no state to tell say that they missed something.
        for name in ("market", "pipeline"):
            assert told[name][0]["extensions"]["code"] == "NEWS_LOST"


async def test_who_reads_too_slowly_is_told_and_harms_nobody(world: World, client: Client) -> None:
    held = world.log.holding["BatchGetMemes"] = asyncio.Event()
    async with client.socket() as slow, client.socket() as quick:
        await slow.subscribe(MARKET)
        await until(lambda: world.live.market.subscribers == 1)
        listing = market_pb2.Listing(id=uuid7(), meme_id=uuid7(), price_sats=1, state=1)  # type: ignore[arg-type]
        event = market_service_pb2.MarketEvent(id=uuid7(), at=fakes.AT, listing=listing)
        # Resolving this one's meme takes the slow subscription as long as it is held.
        world.market.feed.publish(market_service_pb2.WatchMarketResponse(cursor="m1", event=event))
        await until(lambda: world.log.of("BatchGetMemes"))
        await quick.subscribe("subscription { marketActivity { sale { priceSats } } }")
        await until(lambda: world.live.market.subscribers == 2)
        # By so many at a time the quick one reads them before the call that is held has waited for too long.
        for first in range(0, BACKLOG_MAX + 50, 50):
            for number in range(first, first + 50):
                world.market.feed.publish(sale_news(uuid7(), number))
            for number in range(first, first + 50):
                assert (await quick.data())["marketActivity"]["sale"]["priceSats"] == number
        held.set()
        assert (await slow.data())["marketActivity"]["listing"]
        for number in range(BACKLOG_MAX):
            assert (await slow.data())["marketActivity"]["sale"]["priceSats"] == number
        assert await slow.code() == "FELL_BEHIND"


async def test_a_failing_read_is_an_error_of_the_stream(world: World, client: Client) -> None:
    world.log.failing["GetTip"] = Unavailable("the node is away")
    async with client.socket() as socket:
        await socket.subscribe(BLOCK)
        assert await socket.code() == "UNAVAILABLE"
        world.log.failing["GetTip"] = RuntimeError("hunter2")
        await socket.subscribe(BLOCK)
        assert await socket.code() == "INTERNAL"


async def test_subscribers_that_leave_leave_nothing_behind(world: World, client: Client) -> None:
    world.round()
    for leave in ("complete", "close", "vanish"):
        async with client.socket() as socket:
            for number in range(10):
                await socket.subscribe(ROUND, as_id=str(number))
                await socket.data()
            assert (world.live.groups.followers, world.live.rounds.subscribers) == (10, 1)
            if leave == "complete":
                for number in range(10):
                    await socket.send(type="complete", id=str(number))
                await until(lambda: not world.live.rounds.subscribers)
            elif leave == "vanish":
                socket.vanish()
        await until(lambda: not world.live.rounds.subscribers)


async def test_subscriptions_are_refused_over_plain_http(client: Client) -> None:
    answer = await client.post(ROUND)
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")


async def test_news_of_others_wake_nobody() -> None:
    """Thousands follow their balances: each is told of what concerns it, however much happens to others."""
    answers = [
        *(moved_news("user:bob", f"user:{number}") for number in range(BACKLOG_MAX + 50)),
        ledger_service_pb2.WatchLedgerResponse(snapshot=ledger_service_pb2.LedgerSnapshot()),
        moved_news("user:ada", "user:bob"),
    ]

    async def stream(_: str) -> AsyncIterator[ledger_service_pb2.WatchLedgerResponse]:
        for answer in answers:
            yield answer
        await asyncio.Event().wait()

    watch: Watch[ledger_service_pb2.WatchLedgerResponse] = Watch(
        "ledger", stream, SystemClock(), topics_of=lambda event: event.moved.accounts
    )
    with watch.subscribe("user:ada") as adas, watch.subscribe("user:bob") as bobs, watch.subscribe() as all_:
        assert watch.subscribers == 3
        running = asyncio.create_task(watch.run())
        assert [await anext(adas), await anext(adas)] == answers[-2:]
        running.cancel()
        for news in (bobs, all_):
            assert [await anext(news) for _ in range(BACKLOG_MAX)] == answers[:BACKLOG_MAX]
            with pytest.raises(FellBehind):
                await anext(news)
    assert watch.subscribers == 0


def moved_news(*accounts: str) -> ledger_service_pb2.WatchLedgerResponse:
    moved = ledger_service_pb2.Movements(accounts=accounts)
    return ledger_service_pb2.WatchLedgerResponse(event=ledger_service_pb2.LedgerEvent(moved=moved))
