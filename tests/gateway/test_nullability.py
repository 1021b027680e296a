"""A service that fails takes nothing from an answer but what it alone knows."""

from __future__ import annotations

import graphql
import pytest

from graphql_gateway import schema
from mesh.errors import Unavailable
from tests.gateway.client import Client
from tests.gateway.world import World, token_of

EVERYTHING = """{
  metrics { name }
  tip { height }
  currentRound { number leaderboard { standings { rank } } }
  memes { nodes { name creator { displayName } title { since } } }
  me { user { displayName } balance { balance } depositAddress { address } statement { nodes { amount } } }
}"""


@pytest.mark.parametrize(
    ("method", "lost"),
    [
        ("ListMetrics", "metrics"),
        ("GetTip", "tip"),
        ("GetCurrentRound", "currentRound"),
        ("GetLeaderboard", "currentRound.leaderboard"),
        ("ListMemes", "memes"),
        ("BatchGetUsers", "memes.nodes.0.creator"),
        ("BatchGetTitles", "memes.nodes.0.title"),
        ("GetAccount", "me.balance"),
        ("GetDepositAddress", "me.depositAddress"),
        ("ListPostings", "me.statement"),
    ],
)
async def test_only_what_failed_is_null(world: World, client: Client, method: str, lost: str) -> None:
    ada = world.user("ada")
    world.meme("cat", ada)
    world.round()
    world.ledger.balances[f"user:{ada.id}"] = 5
    whole = await client.ask(EVERYTHING, token=token_of("ada"))
    world.log.failing[method] = Unavailable("away")
    answer = (await client.post(EVERYTHING, token=token_of("ada"))).json
    assert [".".join(map(str, error["path"])) for error in answer["errors"]] == [lost]
    place, *inside = reversed(lost.split("."))
    target = whole
    for key in reversed(inside):
        target = target[int(key) if key.isdecimal() else key]
    assert target[place]
    target[place] = None
    assert answer["data"] == whole


def test_what_is_marked_may_be_null_in_the_schema_and_in_it_only() -> None:
    built = graphql.build_schema(schema.FILE.read_text())
    marked = 0
    for kind in built.type_map.values():
        for name, field in getattr(kind, "fields", {}).items():
            written = field.ast_node.directives if field.ast_node else None
            directives = {one.name.value for one in written or ()}
            if "semanticNonNull" in directives:
                marked += 1
                assert not graphql.is_non_null_type(field.type), f"{kind.name}.{name}"
    assert marked > 40


def test_root_fields_that_ask_a_service_may_fail_alone() -> None:
    built = graphql.build_schema(schema.FILE.read_text())
    for root in (built.query_type, built.mutation_type):
        assert root is not None
        certain = [name for name, field in root.fields.items() if graphql.is_non_null_type(field.type)]
        assert certain == []
