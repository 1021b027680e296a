"""An event is executed once for all who may share the answer, and nobody hears what is another's."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from graphql import parse
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.rounds.v1 import rounds_pb2

from graphql_gateway import graph, schema
from graphql_gateway.execution.documents import Document
from graphql_gateway.execution.events import Sharing, sharing_of
from graphql_gateway.live import groups
from graphql_gateway.safety.admission import ASKED
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway import fakes
from tests.gateway.client import Client
from tests.gateway.test_subscriptions import (
    BALANCE,
    BLOCK,
    BOARD,
    MARKET,
    ROUND,
    balance_news,
    block_news,
    round_news,
    sale_news,
)
from tests.gateway.world import World, opened, token_of, until

PIPELINE = "subscription { pipelineProgress { meme { version creator { displayName } } } }"
VERSIONS = "subscription { pipelineProgress { meme { name versions { stages { detail } } } } }"
SOCKETS, EVENTS = 1_000, 3
# aiohttp's limit of connections.
CLIENT_SOCKETS_MAX = 100


def board_news(standing: rounds_pb2.Standing) -> Message:
    return round_news(leaderboard=rounds_pb2.Leaderboard(round_id=uuid7(), at=fakes.AT, standings=[standing]))


def meme_news(meme: content_pb2.Meme) -> content_service_pb2.WatchContentResponse:
    event = content_service_pb2.ContentEvent(id=uuid7(), at=fakes.AT, meme=meme)
    return content_service_pb2.WatchContentResponse(cursor="c1", event=event)


async def test_a_thousand_sockets_are_one_execution(tmp_path: Path) -> None:
    async with opened(tmp_path, connections_per_address_max=2 * SOCKETS) as world, AsyncExitStack() as stack:
        meme = world.meme("cat", world.user("ada"))
        sockets = []
        for number in range(SOCKETS):
            if number % CLIENT_SOCKETS_MAX == 0:
                client = await stack.enter_async_context(Client(world.url))
            sockets.append(await stack.enter_async_context(client.socket()))
            await sockets[-1].subscribe(PIPELINE, as_id=f"own {number}")
        await until(lambda: world.live.groups.followers == SOCKETS)
        for version in range(EVENTS):
            meme.version = version
            world.content.feed.publish(meme_news(meme))
            told = {"pipelineProgress": {"meme": {"version": version, "creator": {"displayName": "ada"}}}}
            for number, socket in enumerate(sockets):
                message = await socket.next()
                assert message == {"id": f"own {number}", "type": "next", "payload": {"data": told}}
        assert len(world.log.of("BatchGetUsers")) == EVENTS


async def test_what_depends_on_the_viewer_is_never_shared(world: World, client: Client) -> None:
    """A public subscription that selects something of the viewer's."""
    ada, bob = world.user("ada"), world.user("bob")
    meme = world.meme("cat", ada)
    async with (
        client.socket() as nobodys,
        client.socket() as nobodys_too,
        client.socket(token_of("ada")) as adas,
        client.socket(token_of("ada")) as adas_too,
        client.socket(token_of("bob")) as bobs,
    ):
        whose = {nobodys: "", nobodys_too: "", adas: ada.id, adas_too: ada.id, bobs: bob.id}
        for socket in whose:
            await socket.subscribe(VERSIONS)
        await until(lambda: world.live.groups.followers == len(whose))
        for times in range(1, 4):
            world.content.feed.publish(meme_news(meme))
            for socket, user_id in whose.items():
                told = (await socket.data())["pipelineProgress"]["meme"]
                assert told == {"name": "cat", "versions": [{"stages": [{"detail": user_id}]}]}
            callers = sorted(call.caller.user_id or "" for call in world.log.of("ListVersions"))
            assert callers == sorted(times * ["", ada.id, bob.id])


async def test_what_is_shared_is_asked_for_nobody(world: World, client: Client) -> None:
    """The first subscriber's token is not what all others hear by."""
    meme = world.meme("cat", world.user("ada"))
    async with client.socket(token_of("ada")) as adas, client.socket() as nobodys:
        for socket in (adas, nobodys):
            await socket.subscribe("subscription { pipelineProgress { meme { creator { displayName } } } }")
        await until(lambda: world.live.groups.followers == 2)
        world.content.feed.publish(meme_news(meme))
        for socket in (adas, nobodys):
            assert (await socket.data())["pipelineProgress"]["meme"] == {"creator": {"displayName": "ada"}}
        [call] = world.log.of("BatchGetUsers")
        assert call.caller.user_id is None


async def test_variables_and_texts_are_told_apart(world: World, client: Client) -> None:
    cat = world.meme("cat", world.user("ada"))
    queries = [
        ("subscription($a: Boolean!) { pipelineProgress { meme { name @include(if: $a) version } } }", True),
        ("subscription($a: Boolean!) { pipelineProgress { meme { name @include(if: $a) version } } }", False),
        ("subscription($a: Boolean!) { pipelineProgress { meme { name @skip(if: $a) version } } }", True),
    ]
    async with client.socket() as socket:
        for number, (query, value) in enumerate(queries):
            await socket.subscribe(query, {"a": value}, as_id=str(number))
        await until(lambda: world.live.groups.followers == len(queries))
        world.content.feed.publish(meme_news(cat))
        told = {message["id"]: message["payload"]["data"] for message in [await socket.next() for _ in "123"]}
    assert [told[key]["pipelineProgress"]["meme"] for key in "012"] == [
        {"name": "cat", "version": 0},
        {"version": 0},
        {"version": 0},
    ]


@pytest.mark.parametrize(
    ("text", "is_same"),
    [
        (ROUND, True),
        (BOARD, True),
        (BLOCK, True),
        (MARKET, True),
        (BALANCE, False),
        (VERSIONS, False),
        ("subscription { __typename roundUpdated { id __typename } }", True),
        ("subscription { roundUpdated { ...of } } fragment of on Round { entries { meme { id } } }", True),
        ("subscription { roundUpdated { ...of } } fragment of on Round { publicRecord { json } }", False),
        ("subscription { roundUpdated { ... on Node { ... on Meme { versions { version } } } } }", False),
    ],
)
def test_only_what_is_declared_the_same_is_shared(text: str, is_same: bool) -> None:
    known = Document(parse(text)).operation(None)
    assert known is not None
    assert sharing_of(schema.build()._schema, known).is_same_for_all is is_same


async def test_who_leaves_takes_nothing_from_others(world: World, client: Client) -> None:
    """The execution was begun for the one that leaves."""
    ada = world.user("ada")
    async with client.socket(token_of("ada")) as first, client.socket() as second, client.socket() as third:
        for socket in (first, second, third):
            others = world.live.groups.followers
            await socket.subscribe(MARKET)
            await until(partial(lambda others: world.live.groups.followers > others, others))
        held = world.log.holding["BatchGetUsers"] = asyncio.Event()
        world.market.feed.publish(sale_news(uuid7(), 7, ada.id))
        await until(lambda: world.log.of("BatchGetUsers"))
        await first.send(type="complete", id="1")
        third.vanish()
        await until(lambda: world.live.groups.followers == 1)
        held.set()
        assert (await second.data())["marketActivity"]["sale"]["buyer"] == {"displayName": "ada"}
        assert len(world.log.of("BatchGetUsers")) == 1


async def test_an_ended_session_hears_nothing_and_hurts_nobody(world: World, client: Client) -> None:
    ada = world.user("ada")
    meme = world.meme("cat", ada)
    world.user("bob")
    async with (
        client.socket(token_of("ada")) as adas,
        client.socket(token_of("bob")) as bobs,
        client.socket() as nobodys,
    ):
        for socket in (adas, bobs, nobodys):
            await socket.subscribe(PIPELINE)
        await until(lambda: world.live.groups.followers == 3)
        # Nobody tells of it.
        world.revocations.are_known = False
        del world.identity.sessions[token_of("ada")]
        # The last check of the token no longer counts.
        world.passes(4)
        world.content.feed.publish(meme_news(meme))
        assert await adas.code() == "SESSION_INVALID"
        for socket in (bobs, nobodys):
            assert (await socket.data())["pipelineProgress"]["meme"]["creator"] == {"displayName": "ada"}


async def test_sockets_of_one_log_in_share_and_each_needs_a_token_of_its_own(
    world: World, client: Client
) -> None:
    """One of two tokens is over, and nobody has told of it."""
    ada = world.user("ada")
    world.identity.sessions["another-token-of-ada"] = ada.id
    account = f"user:{ada.id}"
    world.ledger.balances[account] = 1
    async with client.socket(token_of("ada")) as first, client.socket("another-token-of-ada") as second:
        for socket in (first, second):
            await socket.subscribe(BALANCE)
            assert await socket.data() == {"balanceChanged": {"balance": 1}}
        assert (len(world.live.groups), len(world.log.of("GetAccount"))) == (1, 1)
        del world.identity.sessions[token_of("ada")]
        world.passes(4)
        world.ledger.balances[account] = 2
        world.ledger.feed.publish(balance_news(world, ada.id))
        assert await first.code() == "SESSION_INVALID"
        assert await second.data() == {"balanceChanged": {"balance": 2}}
        assert world.live.groups.followers == 1


async def test_a_revoked_log_in_leaves_its_groups_and_others_stay(world: World, client: Client) -> None:
    ada, played = world.user("ada"), world.round(number=1)
    async with client.socket(token_of("ada")) as adas, client.socket() as nobodys:
        for socket in (adas, nobodys):
            await socket.subscribe(ROUND)
            await socket.data()
        assert len(world.live.groups) == 1
        world.revocations.tell(fakes.session_of(ada))
        assert await adas.until_closed() == 4403
        assert world.live.groups.followers == 1
        played.number = 2
        world.rounds.feed.publish(round_news(round=played))
        assert await nobodys.data() == {"roundUpdated": {"number": 2, "state": "ACTIVE"}}


async def test_who_joins_is_told_by_no_token_of_theirs(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How things are is made anew for them, and others may hear it too."""
    monkeypatch.setattr(groups, "FRESH_S", -1.0)
    ada = world.user("ada")
    meme, played = world.meme("cat", ada), world.round()
    world.rounds.boards[played.id].standings.append(
        rounds_pb2.Standing(rank=1, meme_id=meme.id, creator_id=ada.id)
    )
    board = "subscription { leaderboardUpdated { standings { creator { displayName } } } }"
    async with client.socket() as nobodys, client.socket(token_of("ada")) as adas:
        for socket in (nobodys, adas):
            await socket.subscribe(board)
            told = (await socket.data())["leaderboardUpdated"]["standings"]
            assert told == [{"creator": {"displayName": "ada"}}]
        calls = world.log.of("BatchGetUsers")
        assert len(calls) == 2
        assert [call.caller.user_id for call in calls] == [None, None]


async def test_what_follows_from_the_viewer_is_read_for_who_joins_as_for_the_others(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each log-in has a group of its own, whoever joins when."""
    monkeypatch.setattr(groups, "FRESH_S", -1.0)
    for number, name in enumerate(("ada", "bob")):
        world.ledger.balances[f"user:{world.user(name).id}"] = number
    async with AsyncExitStack() as stack:
        for _ in range(2):
            for number, name in enumerate(("ada", "bob")):
                socket = await stack.enter_async_context(client.socket(token_of(name)))
                await socket.subscribe(BALANCE)
                assert await socket.data() == {"balanceChanged": {"balance": number}}
        assert (len(world.live.groups), world.live.groups.followers) == (2, 4)


async def test_who_joins_hears_what_waits_behind_the_event_told_last(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PACE_S", 1.0)
    world.round(number=1)
    async with client.socket() as first, client.socket() as second:
        await first.subscribe(ROUND)
        await first.data()
        for number in (2, 3):
            news = round_news(round=rounds_pb2.Round(id=f"round {number}", number=number, state=2))  # type: ignore[arg-type] # an enum
            world.live.rounds._take(news)
        assert (await first.data())["roundUpdated"]["number"] == 2
        await second.subscribe(ROUND)
        for socket, numbers in ((first, [3]), (second, [2, 3])):
            assert [(await socket.data())["roundUpdated"]["number"] for _ in numbers] == numbers


async def test_who_joins_between_two_rounds_is_told_of_the_one_that_is_on(
    world: World, client: Client
) -> None:
    """Though the event told last is of the one that has ended."""
    ended, following = world.round(number=1), world.round(number=2)
    world.rounds.current = ended.id
    async with client.socket() as first, client.socket() as second:
        for query in (ROUND, BOARD):
            await first.subscribe(query, as_id=query[:20])
            await first.data()
        world.rounds.current = following.id
        ended.state = rounds_pb2.ROUND_STATE_COMPLETED
        board = rounds_pb2.Leaderboard(round_id=ended.id, at=fakes.AT, final=True)
        for news in (round_news(round=ended), round_news(leaderboard=board)):
            # As the gateway's own knowledge would have it.
            world.live.current_round.round = following
            world.rounds.feed.publish(news)
            await first.data()
        await second.subscribe(ROUND)
        assert await second.data() == {"roundUpdated": {"number": 2, "state": "ACTIVE"}}
        await second.subscribe(BOARD, as_id="board")
        assert await second.data() == {"leaderboardUpdated": {"final": False, "standings": []}}


async def test_extensions_are_for_who_asked(world: World, client: Client) -> None:
    async with client.socket() as asking, client.socket() as other:
        await other.subscribe(PIPELINE)
        await asking.send(id="1", type="subscribe", payload={"query": PIPELINE, "extensions": {ASKED: True}})
        await until(lambda: world.live.groups.followers == 2)
        world.content.feed.publish(meme_news(world.meme("cat", world.user("ada"))))
        told, others = (await asking.next())["payload"], (await other.next())["payload"]
        assert set(told.pop("extensions")) == {ASKED}
        assert told == others == {"data": told["data"]}
        assert len(world.log.of("BatchGetUsers")) == 1


async def test_variables_nested_beyond_writing_are_not_shared(world: World, client: Client) -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    async with client.socket() as socket:
        await socket.subscribe("query { metrics { name } }", {"unused": nested}, as_id="query")
        assert "errors" not in (await socket.next())["payload"]
        await socket.next()
        await socket.subscribe(PIPELINE, {"unused": nested})
        await until(lambda: world.live.content.subscribers)
        world.content.feed.publish(meme_news(world.meme("cat", world.user("ada"))))
        assert (await socket.data())["pipelineProgress"]["meme"]["creator"] == {"displayName": "ada"}


async def test_an_event_stream_and_a_socket_hear_the_same(world: World, client: Client) -> None:
    world.round(number=1)
    async with client.socket() as socket, client.events(ROUND) as events:
        await socket.subscribe(ROUND)
        assert await socket.data() == await events.data()
        world.rounds.feed.publish(round_news(round=rounds_pb2.Round(number=2, state=2)))  # type: ignore[arg-type] # an enum
        assert (
            await socket.data() == await events.data() == {"roundUpdated": {"number": 2, "state": "ACTIVE"}}
        )


async def test_shared_answers_are_those_of_each_alone(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same messages in the same order, errors among them."""
    world.round(number=4)
    ada, bob = world.user("ada"), world.user("bob")
    cat = world.meme("cat", ada)
    news = [
        *(sale_news(cat.id, price, ada.id) for price in range(5)),
        *(block_news(height) for height in range(101, 105)),
        *(board_news(rounds_pb2.Standing(rank=1, score=n, meme_id=cat.id)) for n in range(1, 5)),
        *(round_news(round=rounds_pb2.Round(number=n, state=2)) for n in range(5, 9)),  # type: ignore[arg-type] # an enum
    ]
    world.ledger.balances |= {f"user:{ada.id}": 5, f"user:{bob.id}": 6}
    news += [balance_news(world, ada.id, bob.id), balance_news(world, bob.id, ada.id)]
    world.log.failing["BatchGetUsers"] = Unavailable("identity is away")
    shared = await heard(world, client, news)
    # As before the first of them.
    world.live.current_round.round = None
    # As graphql-core does it, for each client by itself.
    monkeypatch.setattr(graph, "sharing_of", lambda *_: Sharing(is_same_for_all=False, delivery=None))
    assert await heard(world, client, news) == shared
    assert any("errors" in message["payload"] for message in shared["", "market"])


async def heard(world: World, client: Client, news: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """What one who subscribes to all hears, by who it is and by subscription: two are told the same."""
    queries = {"round": ROUND, "board": BOARD, "block": BLOCK, "market": MARKET, "balance": BALANCE}
    told: defaultdict[tuple[str, str, int], list[Any]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        sockets = []
        for name, number in product(("", "ada", "bob"), range(2)):
            socket = await stack.enter_async_context(client.socket(token_of(name) if name else ""))
            sockets.append((name, number, socket))
            for key, query in queries.items():
                if name or key != "balance":
                    await socket.subscribe(query, as_id=key)
            for _ in range(4 if name else 3):
                message = await socket.next()
                told[name, message["id"], number].append(message)
        # Of six sockets; who is signed in follows the balance too.
        await until(lambda: world.live.groups.followers == 28 or world.live.market.subscribers == 6)
        for one in news:
            getattr(world, _FEEDS[type(one).__name__]).feed.publish(one)
            for name, number, socket in sockets:
                if name or "balance" not in str(one):
                    message = await socket.next()
                    told[name, message["id"], number].append(message)
    for (name, key, number), messages in told.items():
        assert messages == told[name, key, 1 - number]
    return {(name, key): messages for (name, key, _), messages in told.items()}


_FEEDS = {
    "WatchRoundsResponse": "rounds",
    "WatchMarketResponse": "market",
    "WatchBlocksResponse": "chain",
    "WatchLedgerResponse": "ledger",
}
