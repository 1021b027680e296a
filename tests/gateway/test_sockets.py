"""graphql-transport-ws: the protocol, and clients that break it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType
from satreel.ledger.v1 import ledger_service_pb2

from mesh.errors import Unavailable
from tests.gateway.client import WAIT_S, Client, bearer
from tests.gateway.fakes import session_of
from tests.gateway.world import World, opened, token_of, until

ROUND = "subscription { roundUpdated { number state } }"
METRICS = "{ metrics { name } }"
DROP_WAIT_S = 40.0


async def test_queries_and_mutations_run_over_a_socket(world: World, client: Client) -> None:
    world.user("ada")
    async with client.socket(token_of("ada")) as socket:
        await socket.subscribe("{ me { user { displayName } } }")
        assert await socket.data() == {"me": {"user": {"displayName": "ada"}}}
        assert await socket.next() == {"id": "1", "type": "complete"}
        await socket.subscribe('mutation { setDisplayName(displayName: "Ada L") { displayName } }')
        assert await socket.data() == {"setDisplayName": {"displayName": "Ada L"}}


async def test_other_protocols_are_refused(client: Client) -> None:
    for protocol in ("graphql-ws", "nonsense"):
        async with client.socket(ack=False, protocol=protocol) as socket:
            assert await socket.closed() == (4406, "Subprotocol not acceptable")


async def test_a_socket_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async with (
        opened(tmp_path / "hasty", connection_init_timeout_s=0.05) as hasty,
        hasty.client.socket(ack=False) as socket,
    ):
        assert (await socket.closed())[0] == 4408


BAD_MESSAGES: list[Any] = [
    "null",
    "7",
    '"connection_init"',
    "[]",
    "{}",
    "{",
    "",
    '{"type": 7}',
    '{"type": null}',
    '{"type": []}',
    '{"type": "nonsense"}',
    '{"type": "%s"}' % ("\u00e9" * 200),
    '{"type": "connection_init", "payload": 7}',
    '{"type": "connection_init", "payload": []}',
    '{"type": "ping", "payload": "x"}',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "id": 7, "payload": {"query": "{ metrics { name } }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ metrics { name } }"}}',
    '{"type": "subscribe", "id": {}, "payload": {"query": "{ metrics { name } }"}}',
    '{"type": "subscribe", "id": "1", "payload": null}',
    '{"type": "subscribe", "id": "1", "payload": []}',
    '{"type": "subscribe", "id": "1", "payload": {}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 7}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": {}}}',
    '{"type": "complete"}',
    '{"type": "complete", "id": []}',
    "[" * 5_000,
    b"binary",
]


@pytest.mark.parametrize("ack", [True, False])
async def test_a_malformed_message_closes_with_4400(client: Client, ack: bool) -> None:
    for message in BAD_MESSAGES:
        async with client.socket(ack=ack) as socket:
            await (socket.ws.send_str(message) if isinstance(message, str) else socket.ws.send_bytes(message))
            code, reason = await socket.closed()
            assert code == 4400, (message[:50], reason)
            assert len(reason.encode()) <= 123
    # The next client is served.
    async with client.socket() as socket:
        await socket.subscribe(METRICS)
        assert await socket.data()


async def test_a_null_payload_counts_as_none(client: Client) -> None:
    async with client.socket(ack=False) as socket:
        await socket.ws.send_str('{"type": "connection_init", "payload": null}')
        assert await socket.next() == {"type": "connection_ack"}
        await socket.ws.send_str('{"type": "ping", "payload": null}')
        assert await socket.next() == {"type": "pong"}
        await socket.send(type="pong", payload={"any": "thing"})
        await socket.send(type="complete", id="unknown")
        await socket.subscribe(METRICS)
        assert await socket.data()


async def test_the_order_of_things_is_kept(world: World, client: Client) -> None:
    async with client.socket() as socket:
        await socket.send(type="connection_init")
        assert (await socket.closed())[0] == 4429
    async with client.socket(ack=False) as socket:
        await socket.subscribe(METRICS)
        assert (await socket.closed())[0] == 4401
    world.round()
    async with client.socket() as socket:
        await socket.subscribe(ROUND)
        await socket.data()
        await socket.subscribe(ROUND)
        assert (await socket.closed())[0] == 4409


async def test_a_bad_token_closes_with_4403(world: World, client: Client) -> None:
    for offered in ("Bearer forged-forged-forged", "Basic x", "Bearer x", {"a": 1}):
        async with client.socket(ack=False) as socket:
            await socket.send(type="connection_init", payload={"authorization": offered})
            assert (await socket.closed())[0] == 4403
    async with client.socket(ack=False, headers=bearer("forged-forged-forged")) as socket:
        await socket.send(type="connection_init")
        assert (await socket.closed())[0] == 4403
    world.log.failing["Authenticate"] = Unavailable("away")
    async with client.socket(ack=False) as socket:
        await socket.send(type="connection_init", payload={"authorization": f"Bearer {token_of('ada')}"})
        assert (await socket.closed())[0] == 1013


async def test_sockets_of_an_ended_session_are_closed_and_no_others(world: World, client: Client) -> None:
    ada, _ = world.user("ada"), world.user("bob")
    async with (
        client.socket(token_of("ada")) as first,
        client.socket(token_of("ada")) as second,
        client.socket(token_of("bob")) as other,
        client.socket() as nobody,
    ):
        world.revocations.tell(session_of(ada))
        for socket in (first, second):
            assert await socket.closed() == (4403, "The session was ended")
        for socket in (other, nobody):
            await socket.subscribe(METRICS)
            assert await socket.data()
    # Identity has not heard yet: what it answers does not help.
    async with client.socket(ack=False) as late:
        await late.send(type="connection_init", payload={"authorization": f"Bearer {token_of('ada')}"})
        assert (await late.closed())[0] == 4403


async def test_a_socket_goes_on_with_the_next_token_of_its_log_in(tmp_path: Path) -> None:
    async with opened(tmp_path, viewer_cache_s=0) as world:
        ada, sessions = world.user("ada"), world.identity.sessions
        world.ledger.balances[f"user:{ada.id}"] = 5
        async with world.client.socket(token_of("ada")) as socket:
            await socket.subscribe("subscription { balanceChanged { balance } }")
            assert await socket.data() == {"balanceChanged": {"balance": 5}}
            sessions["the-token-that-follows"] = sessions.pop(token_of("ada"))
            await socket.send(type="ping", payload=bearer_payload("the-token-that-follows"))
            assert await socket.next() == {"type": "pong"}
            world.ledger.feed.publish(
                ledger_service_pb2.WatchLedgerResponse(
                    cursor="l1", snapshot=ledger_service_pb2.LedgerSnapshot()
                )
            )
            assert await socket.data() == {"balanceChanged": {"balance": 5}}


async def test_a_socket_keeps_its_log_in(world: World, client: Client) -> None:
    world.user("ada")
    world.user("bob")
    for mine, offered in (("ada", "bob"), ("", "bob"), ("ada", "nobody-at-all")):
        async with client.socket(token_of(mine) if mine else "") as socket:
            await socket.send(type="ping", payload=bearer_payload(token_of(offered)))
            assert (await socket.closed())[0] == 4403


def bearer_payload(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_the_handshakes_header_signs_in_too(world: World, client: Client) -> None:
    world.user("ada")
    async with client.socket(headers=bearer(token_of("ada"))) as socket:
        await socket.subscribe("{ me { user { displayName } } }")
        assert await socket.data() == {"me": {"user": {"displayName": "ada"}}}


async def test_a_mistake_in_a_document_ends_the_operation_and_not_the_socket(client: Client) -> None:
    async with client.socket() as socket:
        for number, query in enumerate(
            ("{", "{ nonsense }", "subscription { watch { x } }", "query A { a }", "")
        ):
            await socket.subscribe(query, as_id=str(number))
            message = await socket.next()
            assert (message["id"], message["type"]) == (str(number), "error")
            assert message["payload"][0]["extensions"]["code"] == "BAD_REQUEST"
        await socket.subscribe(METRICS)
        assert await socket.data()


async def test_operations_on_one_socket_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path / "narrow", subscriptions_per_socket_max=2) as narrow:
        narrow.round()
        async with narrow.client.socket() as socket:
            for number in range(2):
                await socket.subscribe(ROUND, as_id=str(number))
                await socket.data()
            await socket.subscribe(ROUND, as_id="2")
            assert await socket.code() == "TOO_MANY_SUBSCRIPTIONS"
            await socket.send(type="complete", id="0")
            await until(lambda: narrow.live.rounds.subscribers == 1)
            await socket.subscribe(ROUND, as_id="3")
            assert (await socket.data())["roundUpdated"]


async def test_a_large_message_closes_the_socket(client: Client) -> None:
    async with client.socket() as socket:
        await socket.ws.send_str(" " * 300_000)
        assert (await socket.closed())[0] == 1009


async def test_foreign_pages_may_not_open_sockets(client: Client) -> None:
    answer = await client.send(
        "GET",
        headers={
            "Origin": "https://evil.example",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )
    assert answer.status == 403


async def test_a_stopping_gateway_sends_its_clients_away(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, opened(tmp_path / "stopping") as stopping:
        stopping.round()
        client = await stack.enter_async_context(Client(stopping.url))
        socket = await stack.enter_async_context(client.socket())
        await socket.subscribe(ROUND)
        await socket.data()
        reading = asyncio.create_task(socket.closed(), name="the client")
        await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S):
            await stopping.stop()
            assert (await reading)[0] == 1001


async def test_operations_of_one_socket_share_no_state(world: World, client: Client) -> None:
    """Two subscriptions and queries side by side, while the session behind them ends."""
    ada, played = world.user("ada"), world.round()
    world.ledger.balances[f"user:{ada.id}"] = 5
    async with client.socket(token_of("ada")) as socket:
        await socket.subscribe("subscription { balanceChanged { balance } }", as_id="balance")
        assert await socket.data() == {"balanceChanged": {"balance": 5}}
        await socket.subscribe(ROUND, as_id="round")
        assert (await socket.data())["roundUpdated"]["number"] == played.number
        held = world.log.holding["GetAccount"] = asyncio.Event()
        await socket.subscribe("{ me { balance { balance } } }", as_id="query")
        await until(lambda: len(world.log.of("GetAccount")) == 2)
        await socket.subscribe(METRICS, as_id="other")
        assert (await socket.next())["id"] == "other"
        assert (await socket.next())["type"] == "complete"
        held.set()
        assert await socket.data() == {"me": {"balance": {"balance": 5}}}
    assert {call.caller.user_id for call in world.log.of("GetAccount")} == {ada.id}


async def test_a_socket_outlives_its_user_token(tmp_path: Path) -> None:
    async with opened(tmp_path, viewer_cache_s=0) as world:
        world.user("ada")
        world.identity.signer.lifetime_s = -60  # over, as a good one is after a minute of silence
        async with world.client.socket(token_of("ada")) as socket:
            await socket.subscribe("{ me { user { displayName } } }")
            assert await socket.data() == {"me": {"user": {"displayName": "ada"}}}


async def test_who_takes_nothing_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, send_s=0.3) as world:
        query = long_answer(world)
        async with world.client.socket() as socket:
            socket.stop_reading()
            with pytest.raises(ConnectionError):
                for number in range(8):
                    await socket.subscribe(query, as_id=str(number))
                # Frames from the client do not help it.
                async with asyncio.timeout(DROP_WAIT_S):
                    while True:
                        await socket.ws.pong()
                        await asyncio.sleep(0.05)


def long_answer(world: World) -> str:
    """A query of 4 MB: the system's own buffers hold some."""
    meme = world.meme("x" * 100_000, world.user("wordy"))
    names = " ".join(f"a{number}: name" for number in range(40))
    return f'{{ meme(id: "{meme.id}") {{ {names} }} }}'


async def test_who_does_not_answer_pings_is_dropped(tmp_path: Path) -> None:
    """That who does is not, `both_loops/test_sending.py` proves without a clock."""
    async with opened(tmp_path, ping_s=0.2) as world:
        world.round()
        async with world.client.socket(autoping=False) as dead:
            await dead.subscribe(ROUND)
            async with asyncio.timeout(WAIT_S):
                while (await dead.ws.receive()).type not in {WSMsgType.CLOSED, WSMsgType.ERROR}:
                    pass
            await until(lambda: not world.live.rounds.subscribers)


async def test_a_close_frame_reaches_who_is_busy_with_news(world: World, client: Client) -> None:
    """It is the last frame, and is not lost with those before it."""
    async with client.socket() as socket:
        for number in range(50):
            await socket.subscribe(METRICS, as_id=str(number))
        await socket.ws.send_str("nonsense")
        assert await socket.until_closed() == 4400


async def test_an_id_is_free_again_when_its_operation_is_over(world: World, client: Client) -> None:
    world.round()
    async with client.socket() as socket:
        for _ in range(3):
            await socket.subscribe(METRICS)
            await socket.data()
            assert await socket.next() == {"id": "1", "type": "complete"}
        for _ in range(3):
            await socket.subscribe(ROUND)
            await socket.data()
            await socket.send(type="complete", id="1")
        await until(lambda: not world.live.rounds.subscribers)


async def test_frames_are_not_compressed(client: Client) -> None:
    """A compressor would take more memory than all else of a socket; a bomb needs one."""
    async with client.socket(compress=15) as socket:
        assert not socket.ws.compress
