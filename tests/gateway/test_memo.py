"""Answers that are the same for everybody are made once, shown to all, and forgotten once they change."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from typing import Any

import pytest
from graphql import is_object_type
from satreel.rounds.v1 import rounds_pb2
from strawberry.types.execution import ExecutionResult

from graphql_gateway import schema
from graphql_gateway.execution.engine import Way
from graphql_gateway.execution.events import is_same
from graphql_gateway.execution.memo import AGE_MAX_S, Answer, Key, Memo
from graphql_gateway.execution.sources import DEFINITION
from graphql_gateway.live import Live
from graphql_gateway.safety.access import SIGNED_IN, guard_of
from graphql_gateway.safety.declared import SAME_FOR_ALL
from graphql_gateway.telemetry import Operation
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway.client import Client
from tests.gateway.test_current_round import board_of, event
from tests.gateway.test_sharing import meme_news
from tests.gateway.test_subscriptions import sale_news
from tests.gateway.world import StillClock, World, token_of, until

BOARD = """{ currentRound { number leaderboard { standings {
  rank score meme { name creator { displayName } } } } } }"""
VERSIONS = "query($id: ID!) { meme(id: $id) { name versions { stages { detail } } } }"
NAME = "query($id: ID!) { meme(id: $id) { name } }"
QUOTE = "query($id: ID!) { meme(id: $id) { quote { sales openListing { priceSats } } } }"
KEY: Key = ("{ tip { height } }", None, b"")


class News:
    """Of one service: nothing but its version."""

    version: int | None = 1


def feeds() -> Any:
    """As many as there are."""
    return type("Feeds", (), {name: News() for name in Live.__slots__})()


class Bench:
    """A memo without a gateway."""

    def __init__(self, **bounds: int) -> None:
        self.clock = StillClock()
        self.rounds, self.content = News(), News()
        live = feeds()
        live.rounds, live.content = self.rounds, self.content
        self.memo = Memo(live, self.clock, **bounds)
        self.held = asyncio.Event()
        self.held.set()
        self.made = 0

    async def ask(self, key: Key = KEY, *asked: str, payload: bytes = b"{}", failed: bool = False) -> bytes:
        async def make() -> Answer:
            self.made += 1
            await self.held.wait()
            return Answer(payload, ExecutionResult(None, []) if failed else None, asked)

        return (self.memo.find(key) or await self.memo.made(key, make)).payload


async def test_it_counts_while_nothing_moves() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.ask(KEY, "rounds", "identity")
    assert bench.made == 1
    bench.content.version = 2
    await bench.ask(KEY, "rounds")
    assert bench.made == 1
    bench.rounds.version = 2
    await bench.ask(KEY, "rounds")
    await bench.ask(KEY, "rounds")
    assert bench.made == 2


async def test_it_never_counts_for_long() -> None:
    bench = Bench()
    await bench.ask()
    bench.clock.passes(AGE_MAX_S / 2)
    await bench.ask()
    assert bench.made == 1
    bench.clock.passes(AGE_MAX_S / 2)
    await bench.ask()
    assert bench.made == 2


async def test_without_news_nothing_is_kept_that_needs_them() -> None:
    bench = Bench()
    bench.rounds.version = None
    for _ in range(2):
        await bench.ask(KEY, "rounds")
    assert bench.made == 2
    await bench.ask(KEY, "content")
    await bench.ask(KEY, "content")
    assert bench.made == 3
    bench.content.version = None
    await bench.ask(KEY, "content")
    assert bench.made == 4


async def test_what_moves_while_it_is_made_is_not_kept() -> None:
    bench = Bench()
    bench.held.clear()
    first = asyncio.create_task(bench.ask(KEY, "rounds"))
    await asyncio.sleep(0)
    bench.rounds.version = 2
    # Whoever asks now may not be told what was asked for before.
    second = asyncio.create_task(bench.ask(KEY, "rounds"))
    await asyncio.sleep(0)
    bench.held.set()
    await asyncio.gather(first, second)
    assert bench.made == 2
    await bench.ask(KEY, "rounds")
    assert bench.made == 2


async def test_errors_are_told_to_all_who_wait_and_not_kept() -> None:
    bench = Bench()
    told = await asyncio.gather(*(bench.ask(payload=b"bad", failed=True) for _ in range(3)))
    assert (told, bench.made) == ([b"bad"] * 3, 1)
    assert (await bench.ask(payload=b"good"), bench.made) == (b"good", 2)


async def test_who_leaves_takes_nothing_from_others_and_the_last_one_ends_it() -> None:
    bench = Bench()
    bench.held.clear()
    first, second = (asyncio.create_task(bench.ask()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    bench.held.set()
    assert await second == b"{}"
    bench = Bench()
    bench.held.clear()
    alone = asyncio.create_task(bench.ask())
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    bench.held.set()
    assert (await bench.ask(), bench.made) == (b"{}", 2)


async def test_a_fault_is_told_to_all_who_wait() -> None:
    bench = Bench()

    async def fail() -> Answer:
        await asyncio.sleep(0)
        raise ValueError("broken")

    told = await asyncio.gather(*(bench.memo.made(KEY, fail) for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in told] == ["broken"] * 3
    assert await bench.ask() == b"{}"


async def test_it_is_bounded() -> None:
    bench = Bench(count_max=2)
    a, b, c = (("", name, b"") for name in "abc")
    for key in (a, b, a, c, a):
        await bench.ask(key)
    # `b` was used longest ago.
    assert bench.made == 3
    await bench.ask(b)
    assert bench.made == 4
    bench = Bench(bytes_max=100)
    for size in (60, 30, 60, 200):
        await bench.ask(("", str(size), b""), payload=b"x" * size)
    assert bench.memo.find(("", "30", b"")) is None
    assert bench.memo.find(("", "200", b"")) is None
    await bench.ask(a, payload=b"x" * 100)
    assert bench.memo.find(a) is not None


def calls(world: World) -> Counter[str]:
    """What reached the services since the last look, but for log-ins."""
    made = Counter(call.name for call in world.log.calls if call.name != "Authenticate")
    world.log.calls.clear()
    return made


def playing(world: World) -> rounds_pb2.Round:
    """A round with two standings."""
    played = world.round(number=1)
    memes = [world.meme(name, world.user(f"creator of {name}")) for name in ("cat", "dog")]
    board = board_of(played.id, 9, 8)
    for line, meme in zip(board.standings, memes, strict=True):
        line.meme_id = meme.id
    world.rounds.boards[played.id] = board
    return played


async def warm(client: Client, query: str, variables: Any = None, *, token: str = "") -> Any:
    """Known as a document, and then asked for."""
    await client.ask(query, variables, token=token)
    return await client.ask(query, variables, token=token)


async def test_what_is_the_same_for_all_is_asked_for_once_and_for_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[str] = []
    monkeypatch.setattr(Operation, "executed", lambda _, way: ways.append(way))
    playing(world)
    world.user("ada")
    client = world.client
    first = await client.ask(BOARD)
    calls(world)
    answers = [await client.ask(BOARD, token=token) for token in (token_of("ada"), "", token_of("ada"))]
    assert answers == [first] * 3
    made = [call for call in world.log.calls if call.name != "Authenticate"]
    assert Counter(call.name for call in made) == dict.fromkeys(
        ("GetCurrentRound", "GetLeaderboard", "BatchGetMemes", "BatchGetUsers"), 1
    )
    assert {call.caller.user_id for call in made} == {None}
    assert ways == [Way.NEW, Way.PLAN, Way.MEMO, Way.MEMO]


async def test_sockets_are_told_the_same(world: World) -> None:
    playing(world)
    world.user("ada")
    answers = [await world.client.ask(BOARD) for _ in range(2)]
    calls(world)
    async with world.client.socket(token_of("ada")) as adas, world.client.socket() as nobodys:
        for socket in (adas, nobodys):
            await socket.subscribe(BOARD)
            answers.append(await socket.data())
            assert (await socket.next())["type"] == "complete"
        await adas.subscribe("{ me { user { displayName } } }", as_id="2")
        assert await adas.data() == {"me": {"user": {"displayName": "ada"}}}
    assert answers == [answers[0]] * 4
    assert not calls(world)


async def test_what_depends_on_the_viewer_reaches_nobody_else(world: World) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    meme = world.meme("cat", ada)
    client, given = world.client, {"id": meme.id}
    whose = {"": "", token_of("ada"): ada.id, token_of("bob"): bob.id}
    for _ in range(3):
        for token, user_id in whose.items():
            told = (await client.ask(VERSIONS, given, token=token))["meme"]
            assert told == {"name": "cat", "versions": [{"stages": [{"detail": user_id}]}]}
            me = await client.ask("{ me { user { displayName } } tip { height } }", token=token)
            assert me["me"] == (
                {"user": {"displayName": world.identity.users[user_id].display_name}} if token else None
            )


async def test_access_is_checked_whoever_asked_before(world: World) -> None:
    world.user("root", admin=True)
    world.user("ada")
    query = (
        '{ tip { height } sourceEvents(metric: "m", start: "2026-01-01T00:00:00Z", '
        'end: "2026-01-02T00:00:00Z") { nodes { id } } }'
    )
    for _ in range(2):
        await world.client.post(query, token=token_of("root"))
        assert (await world.client.fail(query, token=token_of("ada")))["code"] == "ADMIN_REQUIRED"
        assert (await world.client.fail(query))["code"] == "USER_TOKEN_MISSING"
    assert (await world.client.post(BOARD, token="access-token-of-nobody")).status == 401


def test_nothing_that_is_guarded_is_the_same_for_all() -> None:
    types = schema.build()._schema.type_map.values()
    fields = [field for one in types if is_object_type(one) for field in one.fields.values()]
    found = [field.extensions[DEFINITION] for field in fields if DEFINITION in field.extensions]
    declared = [field for field in found if field.metadata == SAME_FOR_ALL]
    assert len(declared) > 30
    assert not [field for field in declared if guard_of(field) is not None or not is_same(field)]
    guarded = copy.copy(declared[0])
    guarded.directives = [*guarded.directives, *SIGNED_IN]
    assert not is_same(guarded)


async def test_a_change_shows_at_once(world: World) -> None:
    played = playing(world)
    client = world.client
    query = "{ currentRound { number takingsSats } }"
    await warm(client, query)
    for sats in range(1, 5):
        played.takings_sats = sats
        version = world.live.rounds.version
        world.rounds.feed.publish(event(round=played))
        await until(lambda: world.live.rounds.version != version)  # noqa: B023 - awaited here
        for _ in range(2):
            assert await client.ask(query) == {"currentRound": {"number": 1, "takingsSats": sats}}
    meme = world.meme("cat", world.user("ada"))
    assert await warm(client, NAME, {"id": meme.id}) == {"meme": {"name": "cat"}}
    meme.name = "lion"
    version = world.live.content.version
    world.content.feed.publish(meme_news(meme))
    await until(lambda: world.live.content.version != version)
    assert await client.ask(NAME, {"id": meme.id}) == {"meme": {"name": "lion"}}


async def test_news_of_other_services_change_nothing(world: World) -> None:
    meme = world.meme("cat", world.user("ada"))
    await warm(world.client, NAME, {"id": meme.id})
    version = world.live.market.version
    world.market.feed.publish(sale_news(meme.id, 7, uuid7()))
    await until(lambda: world.live.market.version != version)
    calls(world)
    await world.client.ask(NAME, {"id": meme.id})
    assert not calls(world)


async def test_without_news_every_request_asks(world: World) -> None:
    meme = world.meme("cat", world.user("ada"))
    given = {"id": meme.id}
    await warm(world.client, NAME, given)
    world.content.feed.heartbeat_s = None
    world.content.feed.break_streams()
    await until(lambda: world.live.content.version is None)
    meme.name = "lion"
    assert await world.client.ask(NAME, given) == {"meme": {"name": "lion"}}
    meme.name = "tiger"
    assert await world.client.ask(NAME, given) == {"meme": {"name": "tiger"}}


async def test_errors_are_not_kept(world: World) -> None:
    playing(world)
    good = await world.client.ask(BOARD)
    world.log.failing["BatchGetUsers"] = Unavailable("identity is away")
    answer = (await world.client.post(BOARD)).json
    codes = {error["extensions"]["code"] for error in answer["errors"]}
    assert (codes, answer["data"]["currentRound"]["number"]) == ({"UNAVAILABLE"}, 1)
    assert answer == (await world.client.post(BOARD)).json
    del world.log.failing["BatchGetUsers"]
    assert await world.client.ask(BOARD) == good


async def test_many_at_once_are_one_execution(world: World) -> None:
    playing(world)
    first = await world.client.ask(BOARD)
    calls(world)
    held = world.log.holding["BatchGetUsers"] = asyncio.Event()
    asked = [asyncio.create_task(world.client.ask(BOARD)) for _ in range(10)]
    await until(lambda: world.log.of("BatchGetUsers"))
    # The one it was begun for is among those that leave.
    for one in asked[:5]:
        one.cancel()
    await asyncio.wait(asked[:5])
    held.set()
    assert await asyncio.gather(*asked[5:]) == [first] * 5
    assert set(calls(world).values()) == {1}


async def test_each_pays_for_what_was_asked_before(world: World) -> None:
    playing(world)
    await world.client.ask(BOARD)

    async def left() -> dict[str, int]:
        told = await world.client.post(BOARD, extensions={"cost": True})
        assert told.json["extensions"]["cost"]
        fields = (one.split(";") for one in told.headers["RateLimit"].split(", "))
        return {name.strip('"'): int(rest[0].removeprefix("r=")) for name, *rest in fields}

    first, second = await left(), await left()
    assert first["requests"] - second["requests"] == 1
    assert first["cost"] - second["cost"] > 25
    assert "extensions" not in (await world.client.post(BOARD)).json


async def test_whoever_changes_something_sees_it(world: World) -> None:
    ada = world.user("ada")
    meme = world.meme("cat", ada)
    query, given = "query($id: ID!) { meme(id: $id) { creator { displayName } } }", {"id": meme.id}
    token = token_of("ada")
    assert await warm(world.client, query, given, token=token) == {
        "meme": {"creator": {"displayName": "ada"}}
    }
    await world.client.ask('mutation { setDisplayName(displayName: "Ada") { id } }', token=token)
    assert (await world.client.ask(query, given, token=token))["meme"] == {"creator": {"displayName": "Ada"}}
    async with world.client.socket(token) as socket:
        await socket.subscribe('mutation { setDisplayName(displayName: "Ada L.") { id } }')
        await socket.data()
    assert (await world.client.ask(query, given, token=token))["meme"] == {
        "creator": {"displayName": "Ada L."}
    }


QUERIES: list[tuple[str, Any]] = [
    (BOARD, None),
    ("{ currentRound { id __typename result { feeSats } } }", None),
    ("{ a: tip { height } b: tip { height hash } chainTip { stale block { height } } }", None),
    (
        "{ memes(first: 1) { nodes { quote { sales openListing { priceSats } } } pageInfo { endCursor } } }",
        None,
    ),
    (
        "query($n: Int!, $q: Boolean!) { memes(first: $n) { nodes { name @skip(if: $q) id } } }",
        {"n": 2, "q": True},
    ),
    (
        "query($n: Int!, $q: Boolean!) { memes(first: $n) { nodes { name @skip(if: $q) id } } }",
        {"n": 2, "q": False},
    ),
    ("query($n: Int!) { memes(first: $n) { nodes { name } } }", {"n": 0}),
    ("query($n: Int!) { memes(first: $n) { nodes { name } } }", {"n": "two"}),
    ("query($n: Int!) { memes(first: $n) { nodes { name } } }", {}),
    ("{ memes(first: 101) { nodes { name } } tip { height } }", None),
    ('{ meme(id: "nonsense") { name } }', None),
    (
        "{ metrics { name } memes { nodes { title { since } owner { displayName } } } }",
        None,
    ),
    ("query A { tip { height } } query B { tip { hash } }", None),
]


@pytest.mark.parametrize("number", range(len(QUERIES)))
async def test_answers_are_those_without_it(world: World, number: int) -> None:
    playing(world)
    query, variables = QUERIES[number]
    remembered = [(await world.client.post(query, variables)).body for _ in range(3)]
    # She is told nothing that was made before.
    world.parts.memo.has_changed(world.user("eve").id)
    assert remembered == [(await world.client.post(query, variables, token=token_of("eve"))).body] * 3
