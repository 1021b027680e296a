"""GraphQL over HTTP: in what form an answer comes, and with which status."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request

from graphql_gateway.edge.negotiation import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, Wanted, wanted
from mesh.errors import Unavailable
from tests.gateway.client import Client, bearer
from tests.gateway.world import World

METRICS = "{ metrics { name } }"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.1", JSON),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        ("Application/GraphQL-Response+JSON;charset=utf-8", GRAPHQL_RESPONSE),
        (f"{JSON}, {GRAPHQL_RESPONSE}", GRAPHQL_RESPONSE),
        (f"{JSON}, {GRAPHQL_RESPONSE};q=0.9", JSON),
        (f"{GRAPHQL_RESPONSE}, {JSON};q=0.9", GRAPHQL_RESPONSE),
        (f"*/*, {GRAPHQL_RESPONSE};q=0.9", JSON),
        (f"{JSON};q=0, */*", None),
        (f"{JSON};q=nonsense", None),
        (f"{JSON};q=2", None),
        ("application/json-evil", None),
        ("application/graphql", None),
        ("text/plain", None),
        (",;,=,", None),
        ("a/b," * 5_000 + JSON, None),
    ],
)
def test_which_json_a_client_gets(accept: str | None, expected: str | None) -> None:
    headers = {} if accept is None else {hdrs.ACCEPT: accept}
    assert wanted(make_mocked_request("POST", "/graphql", headers=headers)).json == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # What graphql-sse, urql, Apollo Client and browsers send.
        (EVENT_STREAM, Wanted(None, event_stream=True)),
        (f"{EVENT_STREAM}, multipart/mixed", Wanted(None, event_stream=True, incremental=True)),
        (
            f"{GRAPHQL_RESPONSE}, application/graphql+json, {JSON}, {EVENT_STREAM}, multipart/mixed",
            Wanted(GRAPHQL_RESPONSE, incremental=True),
        ),
        (
            f"multipart/mixed;incrementalSpec=v0.2,{GRAPHQL_RESPONSE},{JSON};q=0.9",
            Wanted(GRAPHQL_RESPONSE, incremental=True),
        ),
        (f"multipart/mixed;deferSpec=20220824,{GRAPHQL_RESPONSE},{JSON};q=0.9", Wanted(GRAPHQL_RESPONSE)),
        (f"multipart/mixed;boundary=graphql;subscriptionSpec=1.0,{JSON}", Wanted(JSON)),
        (f"multipart/mixed;incrementalSpec=v9,{JSON}", Wanted(JSON)),
        (f"{EVENT_STREAM}, {JSON};q=0.5", Wanted(JSON, event_stream=True)),
        (f"{EVENT_STREAM};q=0, {JSON}", Wanted(JSON)),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Wanted(JSON, html=True)),
    ],
)
def test_who_takes_more_than_json(accept: str, expected: Wanted) -> None:
    request = make_mocked_request("POST", "/graphql", headers={hdrs.ACCEPT: accept})
    assert wanted(request) == expected


NOT_EXECUTED: tuple[tuple[str, Any], ...] = (
    ("{", None),
    ("{ nonsense }", None),
    ("query A { metrics { name } } query B { metrics { name } }", None),
    ("query($id: ID!) { meme(id: $id) { id } }", {"id": None}),
    ("query($id: ID!) { meme(id: $id) { id } }", {}),
)


async def test_the_status_tells_new_clients_whether_it_was_executed(world: World, client: Client) -> None:
    for query, variables in NOT_EXECUTED:
        for accept, status in ((GRAPHQL_RESPONSE, 400), (JSON, 200)):
            answer = await ask(client, query, variables, accept=accept)
            assert (answer.status, answer.code) == (status, "BAD_REQUEST"), (query, accept)
            assert answer.headers["Content-Type"] == f"{accept}; charset=utf-8"
            assert "data" not in answer.json
    assert not world.log.calls


async def test_what_was_executed_is_200_whatever_failed(world: World, client: Client) -> None:
    world.log.failing["GetTip"] = Unavailable("away")
    for accept in (GRAPHQL_RESPONSE, JSON):
        answer = await ask(client, "{ metrics { name } tip { height } }", accept=accept)
        assert (answer.status, answer.code) == (200, "UNAVAILABLE")
        assert "data" in answer.json


async def test_refusals_come_in_the_form_that_is_asked_for(client: Client) -> None:
    for accept, kind in ((GRAPHQL_RESPONSE, GRAPHQL_RESPONSE), (JSON, JSON), (EVENT_STREAM, JSON)):
        answer = await ask(client, METRICS, accept=accept, token="forged-forged-forged")
        assert (answer.status, answer.headers["Content-Type"]) == (401, kind)
        assert answer.json["errors"]


async def test_who_takes_no_form_of_ours_is_told(world: World, client: Client) -> None:
    answer = await ask(client, METRICS, accept="text/plain")
    assert (answer.status, answer.code) == (406, "NOT_ACCEPTABLE")
    assert not world.log.calls


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("APPLICATION/JSON", 200),
        ("application/json; charset=iso-8859-1", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json, text/plain", 415),
        ("application/json-evil", 415),
        ("application/jsonp", 415),
        ("text/json", 415),
        ("application/graphql", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
async def test_only_json_in_utf8_is_read(client: Client, kind: str, status: int) -> None:
    body = b'{"query": "{ metrics { name } }"}'
    assert (await client.send("POST", data=body, headers={"Content-Type": kind})).status == status


async def test_compressed_bodies_are_refused(client: Client) -> None:
    for encoding in ("gzip", "deflate", "br", "identity"):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        answer = await client.send("POST", data=b"{}", headers=headers)
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_parameter_is_given_once(client: Client) -> None:
    answer = await client.send("GET", "/graphql?query={__typename}&query={__typename}")
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")


async def test_get_without_a_query_is_400_for_programs(client: Client) -> None:
    assert (await client.send("GET")).status == 400


async def test_other_methods_are_405_with_those_that_are(client: Client) -> None:
    for method, path, allowed in (
        ("HEAD", "/graphql", {"GET", "POST"}),
        ("PUT", "/graphql", {"GET", "POST"}),
        ("PATCH", "/graphql/stream", {"GET", "POST", "PUT", "DELETE"}),
    ):
        answer = await client.send(method, path)
        assert (answer.status, set(answer.headers["Allow"].split(","))) == (405, allowed)


async def ask(client: Client, query: str, variables: Any = None, *, accept: str, token: str = "") -> Any:
    body = {"query": query, "variables": variables}
    return await client.send("POST", json=body, headers={"Accept": accept, **bearer(token)})
