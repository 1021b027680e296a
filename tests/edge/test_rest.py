"""REST at the door: reads and commands, with and without somebody signed in; what is refused is JSON."""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.conftest import Door

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODYS_ID = "01900000-0000-7000-8000-000000000000"


def reason_of(body: Any) -> str:
    return str(body["details"][0]["reason"])


async def test_a_read_needs_nobody(door: Door) -> None:
    status, headers, body = await door.ask("GET", "/v1/blocks/tip")
    assert (status, len(body["block"]["hash"])) == (200, 64)
    assert '"requests"' in headers["RateLimit"]


async def test_lists_are_paged_by_the_query(door: Door) -> None:
    assert (await door.ask("GET", "/v1/memes?pageSize=2&state=MEME_STATE_PUBLISHED"))[0] == 200
    status, _, body = await door.ask("GET", "/v1/memes?page_size=1001")
    assert (status, body["details"][1]["fieldViolations"][0]["field"]) == (400, "page_size")


async def test_heads_may_be_as_long_as_the_edge_takes_them(door: Door) -> None:
    thousand = "&".join(["listingIds=" + NOBODYS_ID] * 1_000)
    status, _, body = await door.ask("GET", f"/v1/listings:batchGet?{thousand}")
    assert (status, body) == (200, {"listings": []})
    long = {"User-Agent": "x" * 55_000}
    assert (await door.ask("GET", "/v1/blocks/tip", headers=long))[0] == 200
    asked = {"query": "{ __typename }"}
    assert (await door.ask("POST", "/graphql", headers=long, json=asked))[0] == 200


async def test_text_that_is_none_is_bad_input(door: Door) -> None:
    status, _, body = await door.ask("GET", "/v1/listings?pageToken=%ff%fe")
    assert (status, reason_of(body)) == (400, "INVALID_ARGUMENT")


async def test_a_command_is_the_users(door: Door) -> None:
    token = door.user.client.access_token
    status, _, body = await door.ask(
        "PUT", "/v1/me/display-name", token=token, json={"displayName": "Ursula"}
    )
    assert (status, body["user"]["displayName"], body["user"]["id"]) == (200, "Ursula", door.user_id)
    status, _, body = await door.ask("GET", f"/v1/accounts/user:{door.user_id}/postings", token=token)
    # It is the user's to read, only nothing ever moved on it.
    assert (status, reason_of(body)) == (404, "ACCOUNT_NOT_FOUND")


async def test_somebody_logs_in_by_rest_alone(door: Door) -> None:
    wallet = door.user.wallet
    asked = {"address": wallet.address, "purpose": "CHALLENGE_PURPOSE_LOG_IN"}
    status, _, body = await door.ask("POST", "/v1/challenges", json=asked)
    assert status == 200, body
    challenge = body["challenge"]
    signed = {
        "challengeId": challenge["id"],
        "address": wallet.address,
        "signature": wallet.sign_message(challenge["message"]),
    }
    status, headers, body = await door.ask("POST", "/v1/sessions", json=signed)
    assert status == 200, body
    assert '"log-ins"' in headers["RateLimit"]
    token = body["session"]["accessToken"]
    assert (await door.ask("GET", "/v1/me/deposit-address", token=token))[0] == 200
    sessions = (await door.ask("GET", "/v1/sessions", token=token))[2]["sessions"]
    assert body["session"]["id"] in {one["id"] for one in sessions}
    assert len(sessions) >= 2
    assert (await door.ask("DELETE", f"/v1/sessions/{body['session']['id']}", token=token))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", f"/v1/users/{NOBODYS_ID}", 404, "USER_NOT_FOUND"),
        ("GET", "/v1/no-such-thing", 404, "NOT_FOUND"),
        ("GET", "/elsewhere", 404, "NOT_FOUND"),
        ("GET", "/authorize/v1/blocks/tip", 404, "NOT_FOUND"),
        ("POST", "/satreel.chain.v1.ChainService/GetTip", 403, "ADDRESS_REFUSED"),
        ("GET", "/v1/users/one", 400, "INVALID_ARGUMENT"),
        ("GET", "/v1/memes?colour=red", 400, "BAD_REQUEST"),
        ("GET", "/v1/deposits", 401, "USER_TOKEN_MISSING"),
        ("GET", f"/v1/accounts/user:{NOBODYS_ID}", 403, "ACCOUNT_FORBIDDEN"),
        ("GET", f"/v1/viewings/{NOBODYS_ID}", 404, "SESSION_NOT_FOUND"),
    ],
)
async def test_what_is_refused_says_why(door: Door, method: str, path: str, status: int, reason: str) -> None:
    found, headers, body = await door.ask(method, path)
    assert (found, reason_of(body)) == (status, reason)
    assert headers["Content-Type"].startswith("application/json")
    # Who brought nothing did nothing wrong.
    assert headers.get("WWW-Authenticate") == ('Bearer realm="satreel"' if status == 401 else None)


async def test_a_wrong_token_is_refused_by_the_gateway(door: Door) -> None:
    status, headers, body = await door.ask("GET", "/v1/blocks/tip", token="x" * 40)
    assert (status, reason_of(body)) == (401, "SESSION_INVALID")
    assert headers.getall("WWW-Authenticate") == ['Bearer realm="satreel", error="invalid_token"']


async def test_only_administrators_may_do_what_is_theirs(door: Door) -> None:
    found = await door.ask("GET", "/v1/float-address", token=door.user.client.access_token)
    assert (found[0], reason_of(found[2])) == (403, "ADMIN_REQUIRED")


@pytest.mark.parametrize("forged", ["x-satreel-user-token", "x-satreel-service", "x-satreel-team"])
async def test_what_only_the_mesh_may_say_is_taken_from_clients(door: Door, forged: str) -> None:
    said = {forged: "spiffe://satreel/insight", "x-forwarded-client-cert": "URI=spiffe://satreel/insight"}
    # Insight may not call it; a token that is none would be refused.
    status, _, body = await door.ask("GET", "/v1/market", headers=said)
    assert (status, "activeListings" in str(body) or "overview" in body) == (200, True)


@pytest.mark.parametrize("path", ["/v1/challenges", "/graphql"])
async def test_a_body_that_is_too_large_is_refused(door: Door, path: str) -> None:
    async def pieces() -> Any:
        for _ in range(5):
            yield b"x" * 65_536

    headers = {"Content-Type": "application/json", "Expect": "100-continue"}
    status, _, body = await door.ask("POST", path, data=pieces(), headers=headers)
    assert (status, reason_of(body)) == (413, "TOO_LARGE")
