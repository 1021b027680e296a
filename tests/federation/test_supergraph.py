"""The whole gateway as one subgraph beside another team's: docs/FEDERATION.md's example."""

from __future__ import annotations

from pathlib import Path

from strawberry import relay

from graphql_gateway import schema
from tests.federation.serving import running, served, supergraph
from tests.gateway.client import Client
from tests.gateway.world import opened

REVIEW = """mutation($meme: ID!, $author: ID!) {
  review(memeId: $meme, authorId: $author, stars: 4, text: "moving") {
    stars meme { name quote { floorPriceSats } } author { displayName }
  }
}"""
MEMES = """{
  memes { nodes { name stars reviews { text author { displayName reviews { stars } } } } }
  reviews { nodes { meme { name owner { displayName } } } pageInfo { hasNextPage } }
}"""


async def test_another_team_joins_satreels_objects(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        served(world, schema.composed(subgraph=True)) as satreel,
        running("reviews.mjs") as reviews,
        supergraph(satreel=satreel, reviews=reviews["url"].removesuffix("/graphql")) as router,
        Client(router["url"]) as client,
    ):
        assert "errors" not in router, router["errors"]
        assert router["hints"] == []
        ada, bob = world.user("ada"), world.user("bob")
        ape = world.meme("ape", ada)
        world.meme("bee", ada)
        made = await client.ask(
            REVIEW, {"meme": relay.to_base64("Meme", ape.id), "author": relay.to_base64("User", bob.id)}
        )
        assert made["review"] == {
            "stars": 4,
            "meme": {"name": "ape", "quote": {"floorPriceSats": 0}},
            "author": {"displayName": "bob"},
        }
        world.log.calls.clear()
        seen = await client.ask(MEMES)
        assert sorted(seen["memes"]["nodes"], key=lambda meme: meme["name"]) == [
            {
                "name": "ape",
                "stars": 4,
                "reviews": [{"text": "moving", "author": {"displayName": "bob", "reviews": [{"stars": 4}]}}],
            },
            {"name": "bee", "stars": None, "reviews": []},
        ]
        assert seen["reviews"] == {
            "nodes": [{"meme": {"name": "ape", "owner": {"displayName": "ada"}}}],
            "pageInfo": {"hasNextPage": False},
        }
        assert len(world.log.of("BatchGetMemes")) == 1
