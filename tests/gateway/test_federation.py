"""`_service` and `_entities`: of the whole graph, and of one domain alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import graphql
import pytest
from satreel.market.v1 import market_pb2
from strawberry import relay

from graphql_gateway import federation, schema
from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.federation.serving import served
from tests.gateway.client import Client
from tests.gateway.fakes import NOBODY
from tests.gateway.world import opened, token_of

ENTITIES = """query($all: [_Any!]!) { _entities(representations: $all) { __typename
  ... on Meme { name quote { sales } } ... on User { displayName } ... on Me { balance { available } } } }"""
QUOTES = """query($all: [_Any!]!) { _entities(representations: $all) { __typename
  ... on Meme { quote { openListing { priceSats seller { id } } } } ... on Listing { priceSats } } }"""


def key(kind: str, bare: str) -> dict[str, Any]:
    return {"__typename": kind, "id": relay.to_base64(kind, bare)}


def me(bare: str) -> dict[str, Any]:
    return {"__typename": "Me", "user": {"id": relay.to_base64("User", bare)}}


async def test_entities_are_found_in_batches_and_in_order(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(subgraph=True)) as url,
        Client(url) as client,
    ):
        ada, bob = world.user("ada"), world.user("bob")
        memes = [world.meme(name, ada) for name in ("ape", "bee")]
        asked = [key("Meme", memes[1].id), key("User", bob.id), key("Meme", NOBODY), key("Meme", memes[0].id)]
        found = (await client.ask(ENTITIES, {"all": [*asked, key("User", ada.id)]}))["_entities"]
        assert [one and one.get("name", one.get("displayName")) for one in found] == [
            "bee",
            "bob",
            None,
            "ape",
            "ada",
        ]
        for name in ("BatchGetMemes", "BatchGetUsers", "BatchGetQuotes"):
            assert len(world.log.of(name)) == 1


async def test_a_bad_representation_is_one_error(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(subgraph=True)) as url,
        Client(url) as client,
    ):
        ada = world.user("ada")
        bad = [
            {"__typename": "Meme"},
            {"__typename": "Nonsense", "id": "1"},
            {"__typename": "Meme", "id": 3},
            {"__typename": "Meme", "id": relay.to_base64("User", ada.id)},
            {"__typename": "Query"},
            {"__typename": "Title", "id": "x"},
            {"__typename": "Me"},
            [1],
            "text",
            5,
            {},
        ]
        told = (await client.post(ENTITIES, {"all": [*bad, key("User", ada.id)]})).json
        assert told["data"]["_entities"] == [None] * len(bad) + [{"__typename": "User", "displayName": "ada"}]
        assert [error["path"] for error in told["errors"]] == [
            ["_entities", place] for place in range(len(bad))
        ]
        codes = {error["extensions"]["code"] for error in told["errors"]}
        assert codes == {"BAD_REPRESENTATION", "BAD_ID"}
        many = (await client.post(ENTITIES, {"all": [key("User", ada.id)] * 1_001})).json
        assert many["errors"][0]["extensions"]["code"] == "TOO_MANY_REPRESENTATIONS"


async def test_a_service_that_is_away_fails_its_entities_only(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(subgraph=True)) as url,
        Client(url) as client,
    ):
        ada = world.user("ada")
        meme = world.meme("ape", ada)
        world.log.failing["BatchGetUsers"] = Unavailable("secret words of a library")
        told = (await client.post(ENTITIES, {"all": [key("User", ada.id), key("Meme", meme.id)]})).json
        assert [one and one["__typename"] for one in told["data"]["_entities"]] == [None, "Meme"]
        (error,) = told["errors"]
        assert error["extensions"]["code"] == "UNAVAILABLE"


async def test_me_is_nobody_elses(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(subgraph=True)) as url,
        Client(url) as client,
    ):
        ada, bob = world.user("ada"), world.user("bob")
        world.ledger.balances[f"user:{ada.id}"] = 9
        asked = {"all": [me(ada.id), me(bob.id)]}
        found = await client.ask(ENTITIES, asked, token=token_of("ada"))
        assert found["_entities"] == [{"__typename": "Me", "balance": {"available": 9}}, None]
        assert (await client.ask(ENTITIES, asked))["_entities"] == [None, None]


async def test_a_domain_alone_knows_of_others_their_keys(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(["market"])) as url,
        Client(url) as client,
    ):
        ada = world.user("ada")
        meme = world.meme("ape", ada)
        listing = market_pb2.Listing(id=uuid7(), meme_id=meme.id, seller_id=ada.id, price_sats=1_500)
        world.market.listings[listing.id] = listing
        found = await client.ask(QUOTES, {"all": [key("Meme", meme.id), key("Listing", listing.id)]})
        assert found["_entities"] == [
            {
                "__typename": "Meme",
                "quote": {
                    "openListing": {"priceSats": 1_500, "seller": {"id": relay.to_base64("User", ada.id)}}
                },
            },
            {"__typename": "Listing", "priceSats": 1_500},
        ]
        assert {call.name for call in world.log.calls} == {"BatchGetQuotes", "BatchGetListings"}
        told = await client.fail(QUOTES, {"all": [key("User", ada.id)]})
        assert told["code"] == "BAD_REPRESENTATION"
        assert (await client.fail("{ memes { nodes { id } } }"))["code"] == "BAD_REQUEST"
        assert (await client.send("GET", f"/media/{meme.id}/poster")).status == 404


async def test_the_graph_of_clients_has_no_machinery(client: Client) -> None:
    for query in ("{ _service { sdl } }", "{ _entities(representations: []) { __typename } }"):
        assert (await client.fail(query))["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("name", [domain.name for domain in schema.DOMAINS])
def test_a_subgraphs_schema_names_keys_of_all_that_others_join(name: str) -> None:
    composition = schema.composed([name])
    document = graphql.parse(federation.sdl(schema.build(composition), composition))
    keys = {
        one.name.value: graphql.print_ast(one.directives[-1])
        for one in document.definitions
        if isinstance(one, graphql.ObjectTypeDefinitionNode) and one.directives
    }
    for node in composition.nodes:
        told = keys.get(node.__name__)
        resolvable = "" if composition.resolves(node) else ", resolvable: false"
        assert told in {None, f'@key(fields: "id"{resolvable})'}
        assert told is not None or not composition.resolves(node)


def test_only_takes_names_of_domains() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphql_gateway", "--only", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "market" in done.stderr
