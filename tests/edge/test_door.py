"""Who comes in at the door, and by what: TLS 1.3, HTTP/2, WebSockets, gRPC, addresses."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys
from typing import Any

import aiohttp
import grpc
import pytest
from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2, identity_service_pb2_grpc

from mesh.authority import Authority
from tests.edge.conftest import Door
from tests.logs import entries
from topology import edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIP = b'{"query": "{ tip { height } }"}'


async def test_tls_1_2_is_refused(door: Door) -> None:
    old = door.tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        await asyncio.open_connection("127.0.0.1", door.house.settings.https_port, ssl=old)


async def test_a_certificate_of_another_authority_is_refused(door: Door, tmp_path: Any) -> None:
    Authority.open(tmp_path).issue("insight")
    strange = door.tls()
    strange.load_cert_chain(tmp_path / "insight.pem", tmp_path / "insight.key")
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        async with door.client.get(f"{door.house.secure_url}/healthz", ssl=strange) as response:
            await response.read()


async def test_https_speaks_http_2(door: Door) -> None:
    context = door.tls()
    context.set_alpn_protocols(["h2"])
    port = door.house.settings.https_port
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    spoken = writer.get_extra_info("ssl_object")
    assert (spoken.selected_alpn_protocol(), spoken.version()) == ("h2", "TLSv1.3")
    writer.close()


async def test_graphql_is_asked_over_tls(door: Door) -> None:
    headers = {"Content-Type": "application/json"}
    url = f"{door.house.secure_url}/graphql"
    async with door.client.post(url, data=TIP, headers=headers, ssl=door.tls()) as response:
        assert (await response.json())["data"]["tip"]["height"] >= 0


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "clear"])
async def test_subscriptions_run_over_websockets(door: Door, secure: bool) -> None:
    url = door.house.secure_url if secure else door.house.url
    options: dict[str, Any] = {"ssl": door.tls()} if secure else {}
    async with door.client.ws_connect(
        f"{url}/graphql", protocols=["graphql-transport-ws"], **options
    ) as socket:
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json(timeout=30))["type"] == "connection_ack"
        query = "subscription { blockFound { __typename } }"
        await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": query}})
        assert "blockFound" in (await socket.receive_json(timeout=30))["payload"]["data"]


def channel(door: Door, part: str | None) -> grpc.aio.Channel:
    folder = door.house.tls_dir
    own = [(folder / f"{part}.{kind}").read_bytes() for kind in ("key", "pem")] if part else [None, None]
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *own)
    return grpc.aio.secure_channel(f"localhost:{door.house.settings.https_port}", credentials)


async def test_teams_call_by_grpc_as_themselves(door: Door) -> None:
    async with channel(door, "insight") as mine:
        answer = await chain_service_pb2_grpc.ChainServiceStub(mine).GetTitleAudit(
            chain_service_pb2.GetTitleAuditRequest(), timeout=10
        )
        assert answer is not None
        # The contract names neither insight here, nor the edge.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await identity_service_pb2_grpc.IdentityServiceStub(mine).Authenticate(
                identity_service_pb2.AuthenticateRequest(access_token="x"), timeout=10
            )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_grpc_streams_pass(door: Door) -> None:
    async with channel(door, "insight") as mine:
        call = chain_service_pb2_grpc.ChainServiceStub(mine).WatchBlocks(
            chain_service_pb2.WatchBlocksRequest()
        )
        first = await asyncio.wait_for(call.read(), 30)
        assert isinstance(first, chain_service_pb2.WatchBlocksResponse)
        assert first.WhichOneof("news") == "snapshot"
        call.cancel()


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "clear"])
async def test_grpc_without_a_certificate_is_refused(door: Door, secure: bool) -> None:
    clear = f"127.0.0.1:{door.house.settings.http_port}"
    async with channel(door, None) if secure else grpc.aio.insecure_channel(clear) as nobodys:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await chain_service_pb2_grpc.ChainServiceStub(nobodys).GetTip(
                chain_service_pb2.GetTipRequest(), timeout=10
            )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(("part", "status"), [("insight", "0"), (None, "7")])
async def test_grpc_web_is_as_grpc(door: Door, part: str | None, status: str) -> None:
    url = f"{door.house.secure_url}/satreel.chain.v1.ChainService/GetTip"
    headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
    body = struct.pack(">BI", 0, 0)
    async with door.client.post(url, data=body, headers=headers, ssl=door.tls(part)) as response:
        told = response.headers.get("grpc-status") or (await response.read()).decode("latin-1")
    assert f"grpc-status:{status}" in told or told == status


async def test_a_denied_address_is_refused_until_it_is_allowed_again(door: Door) -> None:
    folder = door.house.settings.data_dir / "edge"

    async def until(status: int) -> Any:
        for _ in range(600):
            found, _, body = await door.ask("GET", "/v1/blocks/tip")
            if found == status:
                return body
            await asyncio.sleep(0.05)
        raise AssertionError(f"{found} where {status} should be")

    command = [sys.executable, "-m", "topology.addresses", str(folder)]
    try:
        deny = await asyncio.create_subprocess_exec(*command, "--deny", "127.0.0.0/8")
        assert await deny.wait() == 0
        assert edge.read_lists((folder / edge.ADDRESSES_FILE).read_text()) == ([], ["127.0.0.0/8"])
        assert (await until(403))["details"][0]["reason"] == "ADDRESS_REFUSED"
        edge.place(folder, edge.resource(allow=["10.0.0.0/8"]))
        await until(403)
        edge.place(folder, edge.resource(allow=["127.0.0.1"]))
        await until(200)
    finally:
        edge.place(folder, edge.resource())
    await until(200)


async def test_the_description_and_its_page_are_served(door: Door) -> None:
    status, headers, body = await door.ask("GET", "/openapi.json")
    assert (status, body) == (200, json.loads(edge.OPENAPI.read_text()))
    assert headers["Content-Type"] == "application/json"


async def test_who_comes_in_is_logged_without_secrets(door: Door) -> None:
    await door.ask("GET", "/v1/memes?pageSize=3", token=door.user.client.access_token)
    log = door.house.parts.log_path("edge")
    async with asyncio.timeout(60):
        while not (
            found := [line for line in entries(log) if (line["path"], line["status"]) == ("/v1/memes", 200)]
        ):
            await asyncio.sleep(0.05)
    assert found[-1]["method"] == "GET"
    assert found[-1]["route"].endswith("ContentService/ListMemes")
    assert door.user.client.access_token not in log.read_text()
