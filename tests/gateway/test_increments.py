"""`@defer` and `@stream`, over every transport, and for clients that know neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.errors import Unavailable
from tests.gateway.client import Client
from tests.gateway.world import World

DEFER = """query($id: ID!) { meme(id: $id) { name ...Who @defer(label: "who") } }
fragment Who on Meme { creator { displayName } }"""
STREAM = "{ memes(first: 3) { nodes @stream(initialCount: 1) { name } } }"
MULTIPART = {"Accept": "multipart/mixed, application/json"}


def pieces_of(body: bytes) -> list[Any]:
    """The JSON of each part."""
    assert body.startswith(b"\r\n---\r\n")
    parts, _, rest = body.partition(b"\r\n-----\r\n")
    assert rest == b""
    bodies = [part.partition(b"\r\n\r\n") for part in parts.split(b"\r\n---\r\n")[1:]]
    assert {head for head, _, _ in bodies} == {b"Content-Type: application/json; charset=utf-8"}
    return [json.loads(text) for _, _, text in bodies]


async def ask(client: Client, query: str, variables: Any = None, *, accept: str = MULTIPART["Accept"]) -> Any:
    body = {"query": query, "variables": variables}
    return await client.send("POST", json=body, headers={"Accept": accept})


async def test_a_deferred_fragment_comes_later(world: World, client: Client) -> None:
    meme = world.meme("cat", world.user("ada"))
    answer = await ask(client, DEFER, {"id": meme.id})
    assert answer.headers["Content-Type"] == 'multipart/mixed; boundary="-"'
    first, last = pieces_of(answer.body)
    assert (first["data"], first["hasNext"]) == ({"meme": {"name": "cat"}}, True)
    assert first["pending"] == [{"id": "0", "path": ["meme"], "label": "who"}]
    assert last["incremental"] == [{"id": "0", "data": {"creator": {"displayName": "ada"}}}]
    assert (last["completed"], last["hasNext"]) == ([{"id": "0"}], False)


async def test_a_streamed_list_comes_item_by_item(world: World, client: Client) -> None:
    ada = world.user("ada")
    for name in ("a", "b", "c"):
        world.meme(name, ada)
    first, *rest = pieces_of((await ask(client, STREAM)).body)
    assert first["data"] == {"memes": {"nodes": [{"name": "c"}]}}
    items = [item for piece in rest for one in piece.get("incremental", ()) for item in one["items"]]
    assert items == [{"name": "b"}, {"name": "a"}]
    assert rest[-1]["hasNext"] is False


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/graphql-response+json",
        "multipart/mixed;deferSpec=20220824, application/json",
    ],
)
async def test_who_does_not_take_pieces_gets_the_whole(world: World, client: Client, accept: str) -> None:
    ada = world.user("ada")
    meme = world.meme("cat", ada)
    whole = (await ask(client, DEFER, {"id": meme.id}, accept=accept)).json
    assert whole == {"data": {"meme": {"name": "cat", "creator": {"displayName": "ada"}}}}
    assert (await ask(client, STREAM, accept=accept)).json == {
        "data": {"memes": {"nodes": [{"name": "cat"}]}}
    }


async def test_nothing_deferred_is_a_plain_answer(world: World, client: Client) -> None:
    meme = world.meme("cat", world.user("ada"))
    for query, status in (
        (DEFER.replace("(label", "(if: false, label"), 200),
        ("query($id: ID!) { meme(id: $id) { name } } # @defer", 200),
    ):
        answer = await ask(client, query, {"id": meme.id})
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json; charset=utf-8")
        assert answer.json["data"]["meme"]["name"] == "cat"
    refused = await ask(
        client, "{ nonsense ...A @defer }", accept="multipart/mixed, application/graphql-response+json"
    )
    assert (refused.status, refused.code) == (400, "BAD_REQUEST")


async def test_errors_in_pieces_are_rendered_as_all_others(world: World, client: Client) -> None:
    meme = world.meme("cat", world.user("ada"))
    world.log.failing["BatchGetUsers"] = Unavailable("away")
    first, last = pieces_of((await ask(client, DEFER, {"id": meme.id})).body)
    assert "errors" not in first
    [error] = last["incremental"][0]["errors"]
    assert (error["extensions"]["code"], error["path"]) == ("UNAVAILABLE", ["meme", "creator"])
    # What is ours to mend is masked.
    world.log.failing["BatchGetUsers"] = RuntimeError("the password is hunter2")
    answer = await ask(client, DEFER, {"id": meme.id})
    assert b"hunter2" not in answer.body
    assert pieces_of(answer.body)[1]["incremental"][0]["errors"][0]["extensions"]["code"] == "INTERNAL"


async def test_pieces_over_a_socket_and_an_event_stream(world: World, client: Client) -> None:
    meme = world.meme("cat", world.user("ada"))
    query = DEFER.replace("$id: ID!", f'$id: ID! = "{meme.id}"')
    async with client.socket() as socket:
        await socket.subscribe(query)
        first, last = (await socket.next())["payload"], (await socket.next())["payload"]
        assert (first["hasNext"], last["hasNext"]) == (True, False)
        assert last["incremental"][0]["data"] == {"creator": {"displayName": "ada"}}
        assert await socket.next() == {"id": "1", "type": "complete"}
    async with client.events(query) as events:
        assert (await events.next())[1]["hasNext"] is True
        assert (await events.next())[1]["hasNext"] is False
        assert await events.next() == ("complete", None)
