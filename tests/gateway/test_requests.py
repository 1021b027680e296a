"""HTTP: malformed requests, errors, who is asking, and bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yarl
from graphql import get_introspection_query

from graphql_gateway import graph
from graphql_gateway.config import GatewaySettings
from mesh import contracts
from mesh.errors import Code, RemoteFailure, Unavailable
from mesh.ids import uuid7
from tests.gateway.client import WAIT_S, Client, bearer
from tests.gateway.fakes import session_of
from tests.gateway.world import World, opened, token_of

JSON = {"Content-Type": "application/json"}
METRICS = '{"query": "{ metrics { name } }"'


BAD_BODIES = (
    b"",
    b"null",
    b"true",
    b"7",
    b'"text"',
    b"[]",
    b'[{"query": "{ metrics { name } }"}]',
    b"{",
    b"{}",
    b'{"query": null}',
    b'{"query": 7}',
    b'{"query": ""}',
    b'{"query": "{ metrics { name } }", "variables": []}',
    b'{"query": "{ metrics { name } }", "variables": "x"}',
    b'{"query": "{ metrics { name } }", "operationName": 7}',
    b'{"query": "{ metrics { name } }", "extensions": 7}',
    b'{"query": "\xff\xfe"}',
    b"\xef\xbb\xbf" + METRICS.encode() + b"}",
    b'{"query": "\\ud800"}',
    b'{"query": NaN}',
    b"[" * 100_000,
    b'{"variables":' * 5_000,
    b'{"query": ' + b"9" * 10_000 + b"}",
    gzip.compress(METRICS.encode() + b"}"),
)


async def test_a_malformed_body_is_400_and_reaches_no_service(world: World, client: Client) -> None:
    for body in BAD_BODIES:
        answer = await client.send("POST", data=body, headers=JSON)
        assert (answer.status, answer.code) == (400, "BAD_REQUEST"), (body[:50], answer)
        assert "data" not in answer.json
    assert not world.log.calls


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/json-evil", "application/x-www-form-urlencoded", "multipart/mixed"],
)
async def test_another_content_type_is_415(client: Client, kind: str) -> None:
    answer = await client.send("POST", data=f"{METRICS}}}".encode(), headers={"Content-Type": kind})
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_only_get_and_post_are_spoken(client: Client) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = await client.send(method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST"), method
    assert (await client.send("GET", "/nowhere")).code == "NOT_FOUND"


async def test_get_is_for_queries(world: World, client: Client) -> None:
    query = {"query": "query($x: ID!) { meme(id: $x) { id } }", "variables": json.dumps({"x": uuid7()})}
    assert (await client.send("GET", params=query)).json == {"data": {"meme": None}}
    assert (await client.send("GET", params={**query, "variables": "["})).status == 400
    refused = await client.send("GET", params={"query": "mutation { floatAddress }"})
    assert (refused.status, refused.headers["Allow"], refused.code) == (405, "POST", "METHOD_NOT_ALLOWED")
    assert (await client.send("GET", params={"query": "subscription { roundUpdated { id } }"})).status == 400
    assert [call.name for call in world.log.calls] == ["BatchGetMemes"]


WRONG_REQUESTS: tuple[tuple[str, Any], ...] = (
    ("{", None),
    ("{ nonsense }", None),
    ("{ ...Unknown }", None),
    ("fragment A on Query { ...A } { ...A }", None),
    ("query($id: ID!) { meme(id: $id) { id } }", None),
    ("query($id: ID!) { meme(id: $id) { id } }", {"id": None}),
    ("query($id: ID!) { meme(id: $id) { id } }", {"id": {"a": [1]}}),
    ("{ memes(state: NONSENSE) { nodes { id } } }", None),
    ('mutation { withdraw(address: "a", amountSats: 1.5) { id } }', None),
    ('mutation { withdraw(address: "a", amountSats: -1) { id } }', None),
    ('mutation { withdraw(address: "a", amountSats: 9007199254740992) { id } }', None),
    ('mutation { withdraw(address: "a", amountSats: ' + "9" * 9_000 + ") { id } }", None),
    ('{ series(metrics: ["a"], start: "yesterday", end: "2026-01-01T00:00:00Z") { stepS } }', None),
    ('{ series(metrics: ["a"], start: "2026-01-01", end: "2026-01-01T00:00:00Z") { stepS } }', None),
    ('{ series(metrics: [], start: "0001-01-01T00:00:00+09:00", end: "2026-01-01") { stepS } }', None),
    ('mutation { uploadMeme(name: "a", picture: "text") { id } }', None),
    (
        'mutation($picture: Upload!) { uploadMeme(name: "a", picture: $picture) { id } }',
        {"picture": "text"},
    ),
    ("{ a: " * 900 + "a" + "}" * 900, None),
    ("query A { metrics { name } } query A { metrics { name } }", None),
    ("{ memes(first: " + "9" * 9_000 + ") { nodes { id } } }", None),
    ("query($n: Int) { memes(first: $n) { nodes { id } } }", {"n": 2**31}),
)


async def test_a_wrong_request_is_told_as_such(world: World, client: Client) -> None:
    for query, variables in WRONG_REQUESTS:
        answer = await client.post(query, variables)
        codes = {error["extensions"]["code"] for error in answer.json["errors"]}
        assert codes == {"BAD_REQUEST"}, (query[:100], answer.json)
        assert answer.json.get("data") is None
    assert not world.log.calls


async def test_the_operation_must_be_named_when_there_are_several(client: Client) -> None:
    query = "query A { metrics { name } } query B { metrics { name } }"
    assert (await client.fail(query))["code"] == "BAD_REQUEST"
    assert (await client.post(query, operationName="C")).code == "BAD_REQUEST"
    assert (await client.post(query, operationName="B")).json["data"]["metrics"]


async def test_documents_are_bounded(world: World, client: Client) -> None:
    meme = world.meme("m", world.user("ada"))
    deep = "{ meme(id: $id) { " + "creator { memes { nodes { " * 6 + "id" + "}}}" * 6 + "}}"
    many = "{ " + " ".join(f"a{number}: metrics {{ name }}" for number in range(600)) + " }"
    doubling = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    doubling += "fragment F60 on Query { metrics { name } } { ...F0 }"
    began = time.process_time()
    for query, code in (
        ("query($id: ID!) " + deep, "OPERATION_TOO_LARGE"),
        (many, "BAD_REQUEST"),
        (doubling, "OPERATION_TOO_LARGE"),
    ):
        assert (await client.fail(query, {"id": meme.id}))["code"] == code, query
    assert time.process_time() - began < 40  # unbounded, the last alone would take for ever
    wide = "meme(id: $id) { creator { ...F } } " * 20 + "} fragment F on User { " + "displayName " * 100 + "}"
    assert "2000 fields" in (await client.fail("query($id: ID!) { " + wide, {"id": meme.id}))["message"]
    aliased = " ".join(f"a{n}: id" for n in range(201))
    aliased = f"query($id: ID!) {{ meme(id: $id) {{ {aliased} }} }}"
    assert "200 aliases" in (await client.fail(aliased, {"id": meme.id}))["message"]
    assert not world.log.calls


MEMES = "memes(first: 100) { nodes { creator { "
SERIES = '{ series(metrics: %s, start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z") { stepS } }'
BOARDS = "{ rounds(first: 100) { nodes { leaderboard(limit: 100) { ...S } } } } "
TOO_COSTLY = (
    # Lists within lists, with the size written, in a variable, behind a fragment, and by many small pages.
    "{ " + MEMES * 3 + "id" + "}}}" * 3 + " }",
    "query($n: Int = 100) { " + MEMES.replace("100", "$n") * 3 + "id" + "}}}" * 3 + " }",
    BOARDS + "fragment S on Leaderboard { standings { rank score viewers meme { name } creator { id } } }",
    "{ " + MEMES + " ".join(f"a{n}: memes(first: 1) {{ nodes {{ id }} }}" for n in range(100)) + "}}}}",
    "{ rounds(first: 100) { nodes { " + " ".join(f"a{n}: result {{ txid }}" for n in range(100)) + "}}}",
    # Introspection within introspection.
    "{ " + " ".join(f"a{n}: __schema {{ ...S }}" for n in range(8)) + " } fragment S on __Schema { "
    + " ".join(f"b{n}: types {{ ...T }}" for n in range(9)) + " } fragment T on __Type { "
    + " ".join(f"c{n}: name" for n in range(9)) + " }",
)  # fmt: skip
# Compared with itself again and again.
REPEATED = "{ " + "tip { hash } " * 300 + "}"


async def test_an_answer_that_would_be_too_large_is_not_begun(world: World, client: Client) -> None:
    for query in TOO_COSTLY:
        assert (await client.fail(query))["code"] == "OPERATION_TOO_LARGE", query[:200]
    assert (await client.fail(REPEATED))["code"] == "BAD_REQUEST"
    many_points = SERIES % json.dumps(["a"] * 7)
    assert (await client.fail(many_points))["code"] == "TOO_MANY_POINTS"
    assert not world.log.calls
    assert await client.ask("{ " + MEMES * 2 + "id" + "}}}" * 2 + " }")


async def test_the_standard_introspection_is_answered(client: Client) -> None:
    assert (await client.ask(get_introspection_query()))["__schema"]["types"]


async def test_introspection_can_be_switched_off(tmp_path: Path) -> None:
    async with opened(tmp_path / "off", profile="production") as closed:
        assert (await closed.client.fail("{ __schema { types { name } } }"))["code"] == "BAD_REQUEST"
        assert (await closed.client.fail("{ _service { sdl } }"))["code"] == "BAD_REQUEST"
        for guess, variables in (
            ("{ metric { name } }", None),
            ("{ metrics { nam } }", None),
            ("{ memes(stat: X) { nodes { id } } }", None),
            ("query($s: MemeState) { memes(state: $s) { nodes { id } } }", {"s": "PUBLISHD"}),
        ):
            assert "Did you mean" not in (await closed.client.fail(guess, variables))["message"]
            async with closed.client.socket() as socket:
                await socket.subscribe(guess, variables)
                assert "Did you mean" not in json.dumps(await socket.next())


async def test_a_large_body_is_413(world: World, client: Client) -> None:
    answer = await client.send("POST", data=b" " * 300_000, headers=JSON)
    assert (answer.status, answer.code) == (413, "TOO_LARGE")

    async def chunks() -> Any:
        for _ in range(400):
            yield b" " * 1_000

    assert (await client.send("POST", data=chunks(), headers=JSON)).status == 413


async def test_a_failure_of_a_service_keeps_its_reason_and_metadata(world: World, client: Client) -> None:
    world.user("ada")
    buy = "mutation($id: ID!) { purchase(listingId: $id, expectedPriceSats: 10) { id } }"
    error = await client.fail(buy, {"id": uuid7()}, token=token_of("ada"))
    assert error == {
        "message": "The balance does not cover this.",
        "code": "INSUFFICIENT_FUNDS",
        "status": "FAILED_PRECONDITION",
        "service": "market",
        "metadata": {"available": "3", "needed": "10"},
    }
    error = await client.fail(buy, {"id": uuid7()})
    assert (error["code"], error["status"]) == ("USER_TOKEN_MISSING", "UNAUTHENTICATED")
    error = await client.fail('mutation { setDisplayName(displayName: "x") { id } }', token=token_of("ada"))
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["violations"][0]["field"] == "display_name"
    assert not world.log.of("SetDisplayName")


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("the password is hunter2"),
        RemoteFailure(Code.INTERNAL, "INTERNAL", "hunter2"),
        RemoteFailure(Code.UNKNOWN, "UNKNOWN", "hunter2"),
    ],
)
async def test_our_own_faults_are_masked(world: World, client: Client, problem: Exception) -> None:
    world.log.failing["GetTip"] = problem
    answer = await client.post("{ tip { height } }")
    assert answer.error["code"] == "INTERNAL"
    assert len(answer.error["errorId"]) >= 32
    assert b"hunter2" not in answer.body


async def test_a_service_that_does_not_answer_is_named(world: World, client: Client) -> None:
    held = world.log.holding["GetTip"] = asyncio.Event()
    error = await client.fail("{ tip { height } }")
    held.set()
    assert (error["code"], error["service"]) == ("DEADLINE_EXCEEDED", "chain")
    # The contract's, which is less than a query's.
    left_s = world.log.of("GetTip")[0].left_s
    assert left_s is not None
    # gRPC rounds it up.
    assert left_s < contracts.TIMEOUT_S_DEFAULT + 1 < graph.QUERY_S


async def test_a_bad_token_is_401(world: World, client: Client) -> None:
    world.user("ada")
    assert await client.ask("{ me { user { displayName } } }", token=token_of("ada"))
    authorizations = [
        "Bearer forged-forged-forged",
        "Bearer x",
        "Bearer " + "x" * 300,
        "Bearer",
        "Basic YTpi",
        "Bearer caf\u00e9-caf\u00e9-caf\u00e9-caf\u00e9",
    ]
    for authorization in authorizations:
        answer = await client.send(
            "POST", json={"query": "{ metrics { name } }"}, headers={"Authorization": authorization}
        )
        assert (answer.status, answer.code) == (401, "SESSION_INVALID"), authorization
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="satreel", error="invalid_token"'
    assert not world.log.of("ListMetrics")


async def test_a_revoked_token_is_out_within_the_stated_time(world: World, client: Client) -> None:
    world.user("ada")
    query: dict[str, Any] = {
        "json": {"query": "{ me { user { id } } }"},
        "headers": bearer(token_of("ada")),
    }
    assert (await client.send("POST", **query)).status == 200
    world.identity.sessions.clear()
    for age_s, status in ((2.9, 200), (0.2, 401)):
        world.passes(age_s)
        assert (await client.send("POST", **query)).status == status
    assert len(world.log.of("Authenticate")) == 2


async def test_a_session_that_is_heard_to_have_ended_is_out_at_once(world: World, client: Client) -> None:
    ada = world.user("ada")
    query = "{ me { user { displayName } } }"
    assert await client.ask(query, token=token_of("ada"))
    world.revocations.tell(session_of(ada))
    answer = await client.post(query, token=token_of("ada"))
    assert (answer.status, answer.code) == (401, "TOKEN_INVALID")
    world.log.failing["Authenticate"] = Unavailable("away")
    assert (await client.post(query, token=token_of("ada"))).status == 503


async def test_nobody_is_believed_when_neither_identity_nor_redis_is_heard(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.user("ada")
    query = "{ me { user { displayName } } }"
    assert await client.ask(query, token=token_of("ada"))
    world.log.failing["Authenticate"] = Unavailable("away")
    monkeypatch.setattr(world.revocations, "are_known", False)
    world.passes(4)
    assert (await client.post(query, token=token_of("ada"))).status == 503


async def test_without_identity_known_viewers_are_believed_for_a_while(world: World, client: Client) -> None:
    world.user("ada")
    world.user("bob")
    query = "{ me { user { displayName } } }"
    assert await client.ask(query, token=token_of("ada"))
    world.log.failing["Authenticate"] = Unavailable("away")
    stranger = await client.post(query, token=token_of("bob"))
    assert (stranger.status, stranger.code) == (503, "UNAVAILABLE")
    # Longer than a check counts otherwise.
    world.passes(4)
    assert await client.ask(query, token=token_of("ada")) == {"me": {"user": {"displayName": "ada"}}}


async def test_log_in_steps_need_no_token_and_pass_the_client_on(world: World, client: Client) -> None:
    query = 'mutation { createChallenge(address: "1BoatSLRHtKNngkdXEeobR76b53LETtpyT") { message } }'
    answer = await client.send("POST", json={"query": query}, headers={"User-Agent": "caf\u00e9"})
    assert answer.json["data"]["createChallenge"]["message"].endswith("signs")
    assert world.log.of("CreateChallenge")[0].request.client_address == "127.0.0.1"


HTML: dict[str, Any] = {"headers": {"Accept": "text/html"}}


async def test_graphiql_is_for_development(tmp_path: Path) -> None:
    assert GatewaySettings().profile == "production"
    async with opened(tmp_path, profile="production") as closed:
        assert (await closed.client.send("GET", **HTML)).status == 404


async def test_graphiql_can_be_switched_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "on") as local:
        page = await local.client.send("GET", **HTML)
        assert page.status == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert b"Offline, use any GraphQL client" in page.body
        assert (await local.client.send("GET", "/", **HTML)).body == page.body


async def test_graphiql_comes_whole_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "files" / "react@18").mkdir(parents=True)
    (tmp_path / "files" / "react@18" / "react.js").write_text("run()")
    (tmp_path / "secret").write_text("hunter2")
    async with opened(tmp_path / "on", graphiql_files=tmp_path / "files") as local:
        page = await local.client.send("GET", **HTML)
        assert b'src="/graphiql/react@18.2.0/' in page.body
        assert b"https://" not in page.body
        script = await local.client.send("GET", "/graphiql/react@18/react.js")
        assert script.body == b"run()"
        assert script.headers["Content-Type"].endswith("javascript")
        for path in ("/graphiql/../secret", "/graphiql/%2e%2e/secret", "/graphiql/", "/graphiql/none.js"):
            assert (await local.client.send("GET", path)).status in {403, 404}


async def test_health_is_plain(client: Client) -> None:
    assert (await client.send("GET", "/healthz")).body == b"ok\n"


async def test_who_sends_too_slowly_is_sent_away(tmp_path: Path) -> None:
    async with opened(tmp_path, request_s=0.2) as world:
        answer = await world.client.begin(JSON, METRICS.encode())
        assert (answer.status, answer.code) == (408, "TOO_SLOW")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "nonsense"])
async def test_behind_an_upgrade_that_is_not_made_nothing_is_read(client: Client, upgrade: str) -> None:
    """What follows is lost, wholly or in part: the rest must not be taken for a request."""
    url = yarl.URL(client.url)
    head = f"GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\nGET /hea"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(head.encode())
        async with asyncio.timeout(WAIT_S):
            told = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"lthz HTTP/1.1\r\nHost: g\r\n\r\n")
            rest = await reader.read()
    finally:
        writer.transport.abort()
    assert told.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in told
    assert b"HTTP/1.1" not in rest
