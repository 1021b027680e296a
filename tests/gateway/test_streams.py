"""GraphQL over server-sent events: both modes, and clients that break off, dawdle or pretend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from satreel.rounds.v1 import rounds_service_pb2

from graphql_gateway.edge import streams
from tests.gateway.client import WAIT_S, Answer, Client, Events, bearer
from tests.gateway.fakes import session_of
from tests.gateway.test_sockets import long_answer
from tests.gateway.world import World, opened, token_of, until

ROUND = "subscription { roundUpdated { number } }"
METRICS = "{ metrics { name } }"
STREAM = "/graphql/stream"


async def test_an_operation_has_a_stream_to_itself(world: World, client: Client) -> None:
    world.user("ada")
    for path in ("/graphql", STREAM):
        async with client.events(METRICS, path=path) as events:
            assert events.response.headers["Content-Type"].startswith("text/event-stream")
            assert "no-store" in events.response.headers["Cache-Control"]
            assert (await events.data())["metrics"]
            assert await events.next() == ("complete", None)
            assert await events.until_ended() == b""
        async with client.events("{ me { user { displayName } } }", token=token_of("ada"), path=path) as mine:
            assert await mine.data() == {"me": {"user": {"displayName": "ada"}}}


async def test_a_mistake_comes_as_a_result(client: Client) -> None:
    """An EventSource cannot read the body of a refused request."""
    for query in ("{", "{ nonsense }", "query A { a }"):
        async with client.events(query) as events:
            name, result = await events.next()
            assert (name, [*result]) == ("next", ["errors"])
            assert result["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
            assert await events.next() == ("complete", None)


async def test_a_bad_request_has_its_status(world: World, client: Client) -> None:
    async with client.events("", json=[]) as batch:
        assert batch.response.status == 400
    async with client.events(METRICS, token="forged-forged-forged") as forged:
        assert forged.response.status == 401
    assert not world.log.of("ListMetrics")


async def test_by_get_nothing_is_changed(world: World, client: Client) -> None:
    world.user("ada")
    query = {"query": 'mutation { setDisplayName(displayName: "x") { id } }'}
    async with client.events("", method="GET", token=token_of("ada"), params=query) as events:
        assert (await events.next())[1]["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert not world.log.of("SetDisplayName")


@pytest.mark.parametrize("shared", [False, True])
async def test_who_leaves_ends_the_subscription(world: World, client: Client, shared: bool) -> None:
    world.round()
    for _ in range(2):
        async with subscribed(client, shared=shared) as events:
            await events.next()
            assert world.live.rounds.subscribers == 1
            events.vanish()
        await until(lambda: not world.live.rounds.subscribers)


async def test_a_quiet_stream_is_kept_alive(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(streams, "_LOOK_S", 0.02)
    async with client.events("subscription { marketActivity { at } }") as events:
        assert [await events.line() for _ in range(6)] == [b":", b""] * 3


@pytest.mark.parametrize("shared", [False, True])
async def test_streams_of_an_ended_session_end(world: World, client: Client, shared: bool) -> None:
    ada = world.user("ada")
    world.user("bob")
    played = world.round()
    async with (
        subscribed(client, shared=shared, token=token_of("ada")) as adas,
        subscribed(client, shared=shared, token=token_of("bob")) as bobs,
    ):
        await adas.next()
        await bobs.next()
        world.revocations.tell(session_of(ada))
        assert b"event" not in await adas.until_ended()
        await until(lambda: world.live.rounds.subscribers == 1)
        world.round(played.number + 1)
        world.rounds.feed.publish(round_news(world))
        assert (await bobs.next())[0] == "next"


async def test_a_stopping_gateway_ends_its_streams(tmp_path: Path) -> None:
    async with opened(tmp_path / "stopping") as stopping:
        stopping.round()
        async with Client(stopping.url) as client, client.events(ROUND) as events:
            await events.data()
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(stopping.stop(), events.until_ended())


async def test_who_takes_nothing_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, send_s=0.3) as world:
        query, token = long_answer(world), await reserve(world.client)
        async with take(world.client, token) as events:
            events.stop_reading()
            statuses = [(await operate(world.client, token, query, str(n))).status for n in range(8)]
            assert set(statuses) <= {202, 404}
            await until_gone(world.client, token)


async def test_operations_share_a_stream(world: World, client: Client) -> None:
    played = world.round()
    token = await reserve(client)
    # Operations may be asked for before the stream is taken.
    assert (await operate(client, token, METRICS, "early")).status == 202
    async with take(client, token) as events:
        name, told = await events.next()
        assert (name, told["id"], "data" in told["payload"]) == ("next", "early", True)
        assert await events.next() == ("complete", {"id": "early"})
        for operation_id in ("a", "b"):
            assert (await operate(client, token, ROUND, operation_id)).status == 202
            assert (await events.next())[1]["id"] == operation_id
        assert (await operate(client, token, ROUND, "a")).code == "OPERATION_EXISTS"
        assert (await stop(client, token, "a")).status == 200
        await until(lambda: world.live.rounds.subscribers == 1)
        world.round(played.number + 1)
        world.rounds.feed.publish(round_news(world))
        assert (await events.next())[1]["id"] == "b"


async def test_a_mistake_refuses_the_request_of_a_shared_stream(world: World, client: Client) -> None:
    token = await reserve(client)
    async with take(client, token) as events:
        for query in ("{", "{ nonsense }", "query A { a } query B { b }"):
            answer = await operate(client, token, query, "1")
            assert (answer.status, answer.code) == (400, "BAD_REQUEST")
            assert "data" not in answer.json
        for extensions in (None, {}, {"operationId": 7}, {"operationId": ""}, {"operationId": "x" * 129}):
            body = {"query": METRICS, "extensions": extensions}
            answer = await client.send("POST", STREAM, json=body, headers=key(token))
            assert (answer.status, answer.code) == (400, "BAD_REQUEST"), extensions
        assert (await operate(client, token, METRICS, "1")).status == 202
        assert (await events.next())[1]["id"] == "1"


async def test_a_subscription_is_accepted_before_its_first_event(client: Client) -> None:
    token = await reserve(client)
    async with take(client, token):
        # None ever comes.
        answer = await operate(client, token, "subscription { marketActivity { at } }", "1")
        assert answer.status == 202


async def test_operations_on_one_stream_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, subscriptions_per_socket_max=2) as narrow:
        narrow.round()
        token = await reserve(narrow.client)
        async with take(narrow.client, token):
            statuses = [(await operate(narrow.client, token, ROUND, str(n))).status for n in range(3)]
            assert statuses == [202, 202, 429]


async def test_a_stream_is_taken_once_and_by_whom_it_is(world: World, client: Client) -> None:
    world.user("ada")
    world.user("bob")
    token = await reserve(client, token=token_of("ada"))
    adas, bobs = bearer(token_of("ada")), bearer(token_of("bob"))
    accept = {"Accept": "text/event-stream"}
    for headers in ({}, bobs):
        answer = await client.send("GET", f"{STREAM}?token={token}", headers={**accept, **headers})
        assert (answer.status, answer.code) == (404, "STREAM_NOT_FOUND")
        assert (await operate(client, token, METRICS, "1", headers=headers)).status == 404
    async with client.events("", method="GET", path=STREAM, headers={**key(token), **adas}):
        again = await client.send("GET", STREAM, headers={**accept, **key(token), **adas})
        assert (again.status, again.code) == (409, "STREAM_TAKEN")
        assert (await stop(client, token, "1", headers=bobs)).status == 404
    await until_gone(client, token, headers=adas)
    assert (await client.send("GET", f"{STREAM}?token={token}")).status == 406


async def test_a_stream_that_nobody_takes_is_dropped_with_its_operations(tmp_path: Path) -> None:
    async with opened(tmp_path, connection_init_timeout_s=3.0) as hasty:
        hasty.round()
        token = await reserve(hasty.client)
        assert (await operate(hasty.client, token, ROUND, "1")).status == 202
        await until(lambda: hasty.live.rounds.subscribers == 1)
        await until_gone(hasty.client, token)
        await until(lambda: not hasty.live.rounds.subscribers)


def round_news(world: World) -> rounds_service_pb2.WatchRoundsResponse:
    event = rounds_service_pb2.RoundsEvent(round=world.rounds.rounds[world.rounds.current])
    return rounds_service_pb2.WatchRoundsResponse(cursor="r1", event=event)


def key(token: str) -> dict[str, str]:
    return {"X-GraphQL-Event-Stream-Token": token}


async def reserve(client: Client, *, token: str = "") -> str:
    answer = await client.send("PUT", STREAM, headers=bearer(token))
    assert answer.status == 201
    return answer.body.decode()


def take(client: Client, token: str, **headers: str) -> AbstractAsyncContextManager[Events]:
    return client.events("", method="GET", path=STREAM, headers={**key(token), **headers})


async def operate(
    client: Client, token: str, query: str, operation_id: str, *, headers: dict[str, str] | None = None
) -> Answer:
    body = {"query": query, "extensions": {"operationId": operation_id}}
    return await client.send("POST", STREAM, json=body, headers={**key(token), **(headers or {})})


async def stop(
    client: Client, token: str, operation_id: str, *, headers: dict[str, str] | None = None
) -> Answer:
    path = f"{STREAM}?operationId={operation_id}"
    return await client.send("DELETE", path, headers={**key(token), **(headers or {})})


async def until_gone(client: Client, token: str, *, headers: dict[str, str] | None = None) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await stop(client, token, "none", headers=headers)).status != 404:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def subscribed(client: Client, *, shared: bool, token: str = "") -> AsyncIterator[Events]:
    """A subscription to rounds, on a stream of its own or a shared one."""
    who = bearer(token)
    if not shared:
        async with client.events(ROUND, token=token) as events:
            yield events
        return
    reserved = await reserve(client, token=token)
    async with take(client, reserved, **who) as events:
        assert (await operate(client, reserved, ROUND, "1", headers=who)).status == 202
        yield events
