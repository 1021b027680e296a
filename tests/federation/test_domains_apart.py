"""The domains as subgraphs of their own, and as one graph in the gateway: the same schema and answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    GraphQLSchema,
    OperationDefinitionNode,
    build_ast_schema,
    build_schema,
    lexicographic_sort_schema,
    parse,
    print_ast,
    print_schema,
)
from satreel.market.v1 import market_pb2, market_service_pb2

from graphql_gateway import schema
from mesh.ids import uuid7
from tests.federation.content import filled
from tests.federation.serving import domains_apart
from tests.gateway.client import Answer, Client, bearer
from tests.gateway.fakes import AT
from tests.gateway.world import opened, token_of

OPERATIONS = [
    one
    for one in parse(Path(__file__).with_name("operations.graphql").read_text()).definitions
    if isinstance(one, OperationDefinitionNode)
]
NEWS = "subscription { marketActivity { listing { priceSats meme { name creator { displayName } } } } }"
WAIT_S = 120.0
NOTHING_THERE = "Cannot return null for non-nullable field"


async def test_apart_and_as_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as world, domains_apart(world) as router, Client(router["url"]) as apart:
        assert "errors" not in router, router["errors"]
        assert router["hints"] == []
        assert _seen(build_schema(router["schema"])) == _seen(_as_composed(schema.FILE.read_text()))
        values = filled(world)
        for operation in OPERATIONS:
            as_one = await _asked(world.client, operation, values)
            routed = await _asked(apart, operation, values)
            assert _told(routed) == _told(as_one), (print_ast(operation), routed.json)


async def test_news_are_joined_by_the_router(tmp_path: Path) -> None:
    async with opened(tmp_path) as world, domains_apart(world) as router, aiohttp.ClientSession() as http:
        ada = world.user("ada")
        meme = world.meme("ape", ada)
        listing = market_pb2.Listing(id=uuid7(), meme_id=meme.id, seller_id=ada.id, price_sats=1_500)
        event = market_service_pb2.MarketEvent(at=AT, listing=listing)
        news = market_service_pb2.WatchMarketResponse(cursor="m1", event=event)
        stream = http.post(
            f"{router['url']}/graphql", json={"query": NEWS}, headers={"Accept": "text/event-stream"}
        )
        async with asyncio.timeout(WAIT_S), stream as response, asyncio.TaskGroup() as group:
            # When the subscription has reached the market is not to be seen from here.
            publishing = group.create_task(_repeatedly(lambda: world.market.feed.publish(news)))
            told = [line async for line in _until_data(response.content)][-1]
            publishing.cancel()
    seen = json.loads(told.removeprefix(b"data: "))["data"]["marketActivity"]["listing"]
    assert seen == {"priceSats": 1_500, "meme": {"name": "ape", "creator": {"displayName": "ada"}}}


async def _repeatedly(act: Callable[[], None]) -> None:
    while True:
        act()
        await asyncio.sleep(0.05)


async def _until_data(lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line
        if line.startswith(b"data: "):
            return


async def _asked(client: Client, operation: OperationDefinitionNode, values: dict[str, Any]) -> Answer:
    assert operation.name is not None
    _, _, who = operation.name.value.partition("_by_")
    declared = [one.variable.name.value for one in operation.variable_definitions or ()]
    return await client.send(
        "POST",
        json={"query": print_ast(operation), "variables": {name: values[name] for name in declared}},
        headers=bearer(token_of(who)) if who else {},
    )


def _told(answer: Answer) -> tuple[Any, set[str]]:
    """Data, and the codes of errors: how many errors of one kind there are is the router's affair.

    Where a key leads to nothing, both show null; the router alone has an error for it, without a code.
    """
    told = answer.json
    coded = [error for error in told.get("errors", ()) if not error["message"].startswith(NOTHING_THERE)]
    return told.get("data"), {error["extensions"]["code"] for error in coded}


def _as_composed(sdl: str) -> GraphQLSchema:
    """Directives like `@authenticated` are for routers: composition does not show them to clients."""
    kept = tuple(one for one in parse(sdl).definitions if not isinstance(one, DirectiveDefinitionNode))
    return build_ast_schema(DocumentNode(definitions=kept), assume_valid_sdl=True)


def _seen(built: GraphQLSchema) -> str:
    return print_schema(lexicographic_sort_schema(built))
