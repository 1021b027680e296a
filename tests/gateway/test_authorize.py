"""What the edge is answered when it asks for one of its clients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
from multidict import MultiDict

from graphql_gateway.edge.rest_costs import RestCosts
from tests.gateway.client import Answer
from tests.gateway.world import World, opened, token_of

ROOT = Path(__file__).resolve().parents[2]


async def ask(world: World, method: str, path: str, token: str = "") -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await world.client.send(method, f"/authorize{path}", headers=headers)


def refused(answer: Answer) -> tuple[int, int, str]:
    """Status of HTTP, number of gRPC, reason."""
    body: Any = orjson.loads(answer.body)
    return answer.status, body["code"], body["details"][0]["reason"]


async def test_who_is_signed_in_is_told_by_the_meshs_token(world: World) -> None:
    world.user("ada")
    theirs = await ask(world, "GET", "/v1/deposits", token_of("ada"))
    assert theirs.status == 200
    assert theirs.headers["x-satreel-user-token"].count(".") == 2
    assert '"requests"' in theirs.headers["RateLimit"]
    nobodys = await ask(world, "GET", "/v1/rounds/current")
    assert nobodys.status == 200
    assert "x-satreel-user-token" not in nobodys.headers


async def test_a_wrong_token_is_an_answer_as_rest_has_them(world: World) -> None:
    answer = await ask(world, "POST", "/v1/listings", "x" * 32)
    assert refused(answer) == (401, 16, "SESSION_INVALID")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="satreel", error="invalid_token"'


async def test_requests_are_counted_by_user(tmp_path: Path) -> None:
    async with opened(tmp_path, requests_per_min=2) as world:
        world.user("ada")
        world.user("bob")
        for _ in range(2):
            assert (await ask(world, "GET", "/v1/market", token_of("ada"))).status == 200
        answer = await ask(world, "GET", "/v1/market", token_of("ada"))
        assert refused(answer) == (429, 8, "RATE_LIMITED")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await ask(world, "GET", "/v1/market", token_of("bob"))).status == 200


async def test_log_ins_are_counted_by_either_way(tmp_path: Path) -> None:
    async with opened(tmp_path, log_ins_per_min=2) as world:
        assert (await ask(world, "POST", "/v1/sessions")).status == 200
        assert (await ask(world, "POST", "/satreel.identity.v1.IdentityService/LogIn")).status == 200
        # Envoy takes this one for the same place, too.
        for path in ("/v1/challenges", "/v1/challenges/"):
            assert refused(await ask(world, "POST", path))[2] == "RATE_LIMITED"
        assert (await ask(world, "GET", "/v1/sessions")).status == 200


async def test_what_a_request_may_read_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, cost_per_min=20_000) as world:

        async def left(path: str) -> int:
            answer = await ask(world, "GET", path)
            assert answer.status == 200, path
            (found,) = re.findall(r'"cost";r=(\d+)', answer.headers["RateLimit"])
            return int(found)

        before = await left("/v1/rounds/current")
        for path, at_least, at_most in (
            ("/v1/listings", 300, 1_000),
            ("/v1/listings?pageSize=1000", 5_000, 15_000),
            ("/v1/listings?page_size=1", 25, 100),
            # The service refuses these.
            ("/v1/listings?pageSize=100000", 300, 1_000),
            ("/v1/listings?pageSize=" + "9" * 5_000, 300, 1_000),
            ("/v1/users:batchGet?userIds=a&userIds=b", 25, 100),
            ("/v1/accounts/user:a/postings/?pageSize=2", 25, 100),
        ):
            after = await left(path)
            assert at_least <= before - after <= at_most, path
            before = after
        answer = await ask(world, "GET", "/v1/listings?pageSize=1000")
        assert refused(answer) == (429, 8, "RATE_LIMITED")
        # Other requests go on until they cost too much.
        assert (await ask(world, "GET", "/v1/rounds/current")).status == 200


def test_costs_are_those_that_the_description_tells() -> None:
    paths: Any = orjson.loads((ROOT / "topology" / "edge" / "openapi.json").read_bytes())["paths"]
    costs = RestCosts()
    for path, verbs in paths.items():
        asked = re.sub(r"{\w+}", "x", path)
        for verb, operation in verbs.items():
            told = operation["x-satreel-cost"]
            items = 0 if path.endswith(("batchGet", "batchGetSeries")) else 50
            expected = told["once"] + told.get("each", 0) * items
            assert costs.of(verb.upper(), asked, MultiDict()) == expected, (verb, path)
