"""How known operations are executed: once compiled, in which order, and what becomes of them on the way."""

from __future__ import annotations

import ast
import asyncio
import gc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import strawberry
from graphql import parse
from graphql.execution import experimental_execute_incrementally as execute
from graphql.execution import subscribe
from satreel.market.v1 import market_pb2
from satreel.rounds.v1 import rounds_pb2
from strawberry.execution import optimized_is_awaitable

import graphql_gateway
from graphql_gateway import schema, telemetry
from graphql_gateway.errors import in_order
from graphql_gateway.execution.calls import Calls
from graphql_gateway.execution.documents import Document, Known, ValidDocuments
from graphql_gateway.execution.engine import PLANS_MAX, Engine, Execution, ResolverInfo, Way
from graphql_gateway.execution.memo import AGE_MAX_S
from graphql_gateway.execution.sources import DEFINITION, Unplanned
from graphql_gateway.loaders import Load, Loaders, OwnLoad
from graphql_gateway.market.subscriptions import MarketActivity
from graphql_gateway.public import Public
from mesh.batching import Batcher
from tests.gateway import fakes, odd_schema
from tests.gateway.client import Client
from tests.gateway.world import World, token_of, until

BOARD = """query Board($limit: Int!) { currentRound { number leaderboard(limit: $limit) { standings {
  rank meme { id name creator { displayName } } creator { id displayName } } } } }"""


@strawberry.type
class Item:
    @strawberry.field
    async def late(self) -> int:
        await asyncio.sleep(0)
        raise ValueError("an item's")

    @strawberry.field
    async def soon(self) -> int:
        raise ValueError("an item's")

    @strawberry.field
    async def inner(self) -> Item:
        return Item()


@strawberry.type
class Late:
    @strawberry.field
    async def late(self) -> int:
        await asyncio.sleep(0)
        raise ValueError("the query's")

    @strawberry.field
    async def items(self) -> list[Item | None]:
        await asyncio.sleep(0)
        return [Item(), Item()]

    @strawberry.field
    def now(self) -> list[Item | None]:
        return [Item(), Item()]


@strawberry.type
class Box:
    @strawberry.field
    async def shared(self, info: strawberry.Info) -> str:
        return str(await info.context.load("k"))

    @strawberry.field
    async def bad(self) -> str:
        await asyncio.sleep(0.01)
        raise ValueError("no")


@strawberry.type
class Shared:
    @strawberry.field
    async def shared(self, info: strawberry.Info) -> str:
        return str(await info.context.load("k"))

    @strawberry.field
    def box(self) -> Box | None:
        return Box()


def known(text: str, name: str | None = None) -> Known:
    found = Document(parse(text)).operation(name)
    assert found is not None
    return found


def odd() -> Engine:
    return Engine(odd_schema.build(), execute)


async def run(engine: Engine, text: str, variables: Any = None, **more: Any) -> Execution:
    return await engine.execute(
        known(text), variables=variables, context=None, is_awaitable=optimized_is_awaitable, **more
    )


async def test_known_operations_are_answered_alike(world: World, client: Client) -> None:
    creator, played = world.user("ada"), world.round()
    for rank in range(1, 21):
        meme = world.meme(f"m{rank}", creator)
        standing = rounds_pb2.Standing(rank=rank, meme_id=meme.id, creator_id=creator.id)
        world.rounds.boards[played.id].standings.append(standing)
    answers, calls = [], []
    for _ in range(3):
        world.log.calls.clear()
        answers.append((await client.post(BOARD, {"limit": 20})).body)
        # What is told to all counts no longer.
        world.passes(AGE_MAX_S)
        calls.append(Counter(call.name for call in world.log.calls))
    assert answers[0] == answers[1] == answers[2]
    assert len(orjson.loads(answers[0])["data"]["currentRound"]["leaderboard"]["standings"]) == 20
    assert calls[0] == calls[1] == calls[2]
    assert calls[0]["BatchGetMemes"] == calls[0]["BatchGetUsers"] == 1


async def test_a_failure_is_told_alike_and_nothing_is_asked_twice(world: World, client: Client) -> None:
    world.user("ada")
    world.round()
    query = "{ tip { height } currentRound { number leaderboard { final } } me { balance { balance } } }"
    await client.ask(query, token=token_of("ada"))
    world.log.failing["GetLeaderboard"] = fakes.missing("ROUND_NOT_FOUND")
    world.log.calls.clear()
    again = (await client.post(query, token=token_of("ada"))).json
    calls = Counter(call.name for call in world.log.calls)
    # One character more is another document, which graphql-core executes from the start.
    first = (await client.post(query + " ", token=token_of("ada"))).json
    assert again["data"] == first["data"]
    assert again["data"]["currentRound"] == {"number": 1, "leaderboard": None}
    assert again["errors"][0]["path"] == ["currentRound", "leaderboard"]
    assert again["errors"] == first["errors"]
    assert max(calls.values()) == 1


async def test_a_failure_that_a_resolver_has_dealt_with_is_not_told() -> None:
    """Not even where another one's, in the same turn of the loop, makes graphql-core take the calls over."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def found_or_none() -> str:
        with suppress(LookupError):
            await failed
        return "none"

    calls = Calls()
    call = calls.start((None, "balance"), found_or_none(), lambda value, _: value)
    failed.set_exception(LookupError())
    await calls.settle()
    assert await call == "none"


async def test_a_failed_mutation_is_not_carried_out_again(world: World, client: Client) -> None:
    ada = world.user("ada")
    text = """mutation($l: ID!) { a: setDisplayName(displayName: "one") { displayName }
      purchase(listingId: $l, expectedPriceSats: 2000) { id }
      b: setDisplayName(displayName: "two") { id } }"""
    variables = {"l": "01900000-0000-7000-8000-000000000001"}
    bodies = []
    for _ in range(2):
        world.log.calls.clear()
        bodies.append((await client.post(text, variables, token=token_of("ada"))).json)
        names = [call.name for call in world.log.calls if call.name != "Authenticate"]
        assert names == ["SetDisplayName", "Purchase", "SetDisplayName"]
    assert bodies[0] == bodies[1]
    assert bodies[0]["errors"][0]["extensions"]["code"] == "INSUFFICIENT_FUNDS"
    assert world.identity.users[ada.id].display_name == "two"


async def test_fields_that_wait_do_not_hold_up_their_neighbours(world: World, client: Client) -> None:
    world.user("ada")
    world.round()
    query = "{ tip { height } currentRound { leaderboard { final } } }"
    await client.ask(query)
    world.log.holding["GetTip"] = asyncio.Event()
    world.log.calls.clear()
    asking = asyncio.create_task(client.ask(query))
    await until(lambda: world.log.of("GetLeaderboard"))
    world.log.holding["GetTip"].set()
    assert (await asking)["tip"] == {"height": 100}


async def test_whoever_is_cancelled_leaves_nothing_behind() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @strawberry.type
    class Query:
        @strawberry.field
        async def slow(self) -> int:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                ended.set()
            return 1

        @strawberry.field
        async def quick(self) -> int:
            return 2

    engine = Engine(strawberry.Schema(Query), execute)
    running = asyncio.create_task(run(engine, "{ slow quick }"))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_calls_that_nobody_needs_any_more_are_cancelled() -> None:
    ended = asyncio.Event()

    @strawberry.type
    class Query:
        @strawberry.field
        async def slow(self) -> int:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return 1

        @strawberry.field
        async def bad(self) -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

    execution = await run(Engine(strawberry.Schema(Query), execute), "{ slow bad }")
    assert execution.way is Way.RESOLVER
    assert execution.result.data is None
    assert [error.path for error in execution.result.errors or ()] == [["bad"]]
    assert ended.is_set()


async def test_a_load_that_two_fields_share_outlives_the_one_that_is_cancelled() -> None:
    async def find(keys: list[str]) -> dict[str, str]:
        await asyncio.sleep(0.02)
        return dict(zip(keys, keys, strict=True))

    engine, text = Engine(strawberry.Schema(Shared), execute), "{ shared box { shared bad } }"
    work = asyncio.current_task()
    assert work is not None
    first, second = Load(Batcher(find), work), Load(Batcher(find), work)
    planned = (await engine.execute(known(text), variables=None, context=first)).result
    stock = await execute(engine._schema._schema, parse(text), context_value=second)  # type: ignore[misc]
    for result in (planned, stock):
        assert result.data == {"shared": "k", "box": None}


# Fields that graphql-core cancels before they have begun say so.
@pytest.mark.filterwarnings("ignore:.*never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "text",
    [
        "{ late items { soon } }",
        "{ late items { inner { soon } } }",
        "{ items { soon late } late }",
        "{ items { inner { soon late } } late }",
        "{ late now { late } }",
    ],
)
async def test_failures_of_one_moment_are_told_as_graphql_core_tells_them(text: str) -> None:
    graph = strawberry.Schema(Late)
    execution = await run(Engine(graph, execute), text)
    expected = await execute(graph._schema, parse(text))  # type: ignore[misc]
    assert execution.way is Way.RESOLVER
    assert execution.result.data is None
    assert in_order(execution.result.errors or ()) == in_order(expected.errors or ())
    del execution, expected
    gc.collect()


async def test_an_event_is_shown_as_graphql_core_shows_it() -> None:
    engine = odd()
    text = "subscription { animals { __typename name loud(times: 3) ... on Dog { good owner { id } } } }"
    shown = Counter[str]()
    for number in range(20):
        event = odd_schema.animal(str(number))
        execution = await run(engine, text, root=event)

        async def events(event: Any = event) -> Any:
            yield event

        field = engine._schema._schema.subscription_type.fields["animals"]  # type: ignore[union-attr]
        field.subscribe = lambda *_, events=events: events()
        results: Any = subscribe(engine._schema._schema, parse(text))
        expected = await anext(results)
        assert execution.result == expected
        shown[execution.way] += 1
    # A user is no animal.
    assert shown[Way.PLAN] > 5
    assert shown[Way.VALUE] > 1


async def test_a_market_event_is_planned() -> None:
    engine = schema.build().engine
    listing = market_pb2.Listing(id="1", price_sats=5, state=1, created_at=fakes.AT)  # type: ignore[arg-type]
    event = MarketActivity(cursor="", at=fakes.AT, listing=listing, sale=None, offer=None)  # type: ignore[arg-type]
    text = "subscription { marketActivity { at listing { priceSats state } sale { id } } }"
    execution = await run(engine, text, root=event)
    assert execution.way is Way.PLAN
    told = {"at": "2026-02-02T02:40:00Z", "listing": {"priceSats": 5, "state": "OPEN"}, "sale": None}
    assert execution.result.data == {"marketActivity": told}


@pytest.mark.parametrize(
    ("text", "variables", "way"),
    [
        ("{ matrix(size: 3) }", {}, Way.PLAN),
        ("{ __schema { queryType { name } } }", {}, Unplanned.INTROSPECTION),
        ("{ box { ... @defer { content { name } } } }", {}, Unplanned.DEFER),
        ("query($n: Int!) { matrix(size: $n) }", {"n": "three"}, Way.INPUT),
        ("query($n: Int) { matrix(size: $n) }", {"n": None}, Way.INPUT),
        ("{ cast { name } }", {}, Way.VALUE),
        ("{ stranger { __typename id } }", {}, Way.VALUE),
    ],
)
async def test_what_is_not_planned_is_executed_all_the_same(text: str, variables: Any, way: Way) -> None:
    engine = odd()
    execution = await run(engine, text, variables)
    stock: Any = execute(engine._schema._schema, parse(text), variable_values=variables)
    expected = await stock if asyncio.iscoroutine(stock) else stock
    assert (execution.way, _whole(execution.result)) == (way, _whole(expected))


def _whole(result: Any) -> Any:
    """The result, or the first piece of one."""
    return getattr(result, "initial_result", result)


async def test_metrics_tell_why_there_was_no_plan(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counter[tuple[tuple[str, str], ...]]()
    monkeypatch.setattr(
        telemetry._executed, "add", lambda amount, told: counted.update({tuple(told.items()): amount})
    )
    for _ in range(3):
        await client.ask("{ __schema { queryType { name } } }")
    assert counted[("way", "new"),] == 1
    assert counted[("way", "not planned"), ("reason", "introspection")] == 2


async def test_each_combination_of_conditions_is_compiled_once_up_to_a_bound() -> None:
    engine, names = odd(), [f"c{number}" for number in range(5)]
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    text = f"query({declared}) {{ {' '.join(f'{name}: __typename @skip(if: ${name})' for name in names)} }}"
    operation, ways = known(text), Counter[str]()
    for _ in range(2):
        for bits in range(2**5):
            variables = {name: bool(bits >> place & 1) for place, name in enumerate(names)}
            execution = await engine.execute(operation, variables=variables, context=None)
            assert execution.result.data == {name: "Query" for name in names if not variables[name]}
            ways[execution.way] += 1
    assert ways == {Way.PLAN: 2 * PLANS_MAX, Unplanned.CONDITIONS: 2 * (2**5 - PLANS_MAX)}
    assert len(operation.document.plans) == PLANS_MAX


async def test_only_valid_documents_are_kept_and_the_ones_used_last(world: World, client: Client) -> None:
    documents = ValidDocuments(count_max=3, chars_max=40)
    node = parse("{ a }")
    for text in ("1", "2", "3"):
        documents.add(text, node)
    assert documents.find("1")
    documents.add("4", node)
    assert [text for text in "1234" if documents.find(text)] == ["1", "3", "4"]
    documents.add("x" * 41, node)
    assert not documents.find("x" * 41)
    documents.add("y" * 39, node)
    assert [text for text in ("1", "3", "4", "y" * 39) if documents.find(text)] == ["4", "y" * 39]
    for _ in range(2):
        assert await client.fail("{ nothing }")
        assert await client.fail("{")


def test_every_field_of_ours_can_be_planned() -> None:
    """All fields are Strawberry's, without extensions of its kind that a plan would leave out."""
    graph = schema.build()._schema
    for name, kind in graph.type_map.items():
        if not name.startswith("__"):
            for field in getattr(kind, "fields", {}).values():
                declared = field.extensions.get(DEFINITION)
                assert declared is not None, name
                assert not getattr(declared, "extensions", ()), name


def test_resolvers_keep_to_what_plans_give_them() -> None:
    for path in Path(graphql_gateway.__file__).parent.rglob("*.py"):
        if path.parent.name in {"edge", "execution", "live", "safety"} or path.stem in {
            "app",
            "context",
            "workers",
        }:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            assert node.value.id != "info" or node.attr in ResolverInfo.__slots__, (path, node.lineno)
            assert (node.value.id, node.attr) not in {
                ("asyncio", "timeout"),
                ("asyncio", "TaskGroup"),
                ("asyncio", "current_task"),
            }, (path, node.lineno)


def test_loaders_give_loads_that_cannot_be_cancelled_for_others() -> None:
    loaders = [name for name, one in vars(Loaders).items() if type(one).__name__ == "cached_property"]
    made = Loaders(None, Public(None), {}, None)  # type: ignore[arg-type] # nothing is loaded
    assert loaders
    assert all(isinstance(getattr(made, name), Load | OwnLoad) for name in loaders)
