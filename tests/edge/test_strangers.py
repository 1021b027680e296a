"""Whom the edge refuses over gRPC, it tells why, by code and reason."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from mesh import tls
from mesh.status import from_rpc_error
from tests.edge.lone import alone, serving
from topology import edge

NAME = [("grpc.ssl_target_name_override", "edge.satreel")]


LIST = "/satreel.rounds.v1.RoundsService/ListRounds"
# More than the edge keeps of a request.
LARGE = bytes(300_000)


async def refusal(channel: grpc.aio.Channel, path: str = LIST, body: bytes = b"") -> tuple[str, str, str]:
    """Code, reason and domain."""
    call: Any = channel.unary_unary(path)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(body, timeout=20)
    failure = from_rpc_error(refused.value, method=path)
    assert failure.message
    return failure.code.name, failure.reason, failure.domain


def known(folder: Path, places: edge.Places) -> grpc.aio.Channel:
    """Of somebody with a certificate of the mesh."""
    return grpc.aio.secure_channel(places.https, tls.channel_credentials(folder / "tls", "edge"), NAME)


async def test_without_a_certificate_and_from_a_denied_address(tmp_path: Path) -> None:
    async with alone(tmp_path) as places:
        authority = (tmp_path / "tls" / "ca.pem").read_bytes()
        nobody = grpc.ssl_channel_credentials(authority)
        missing = ("PERMISSION_DENIED", "CERTIFICATE_MISSING", "satreel.edge")
        assert await refusal(grpc.aio.secure_channel(places.https, nobody, NAME)) == missing
        assert await refusal(grpc.aio.insecure_channel(str(places.http))) == missing
        edge.place(places.folder, edge.resource(deny=["127.0.0.0/8"]))
        denied = ("PERMISSION_DENIED", "ADDRESS_REFUSED", "satreel.edge")
        async with asyncio.timeout(20):
            while await refusal(known(tmp_path, places)) != denied:
                await asyncio.sleep(0.05)


async def test_what_cannot_be_done(tmp_path: Path) -> None:
    """There is no gateway to be asked, nor any service."""
    async with alone(tmp_path) as places:
        found = {
            path: await refusal(known(tmp_path, places), path, body)
            for path, body in (
                ("/satreel.rounds.v1.RoundsService/Nothing", b""),
                ("/v1/rounds", b""),
                ("/graphql", LARGE),
                (LIST, b""),
            )
        }
    assert found == {
        "/satreel.rounds.v1.RoundsService/Nothing": ("UNIMPLEMENTED", "METHOD_UNKNOWN", "satreel.edge"),
        "/v1/rounds": ("UNIMPLEMENTED", "METHOD_UNKNOWN", "satreel.edge"),
        "/graphql": ("RESOURCE_EXHAUSTED", "TOO_LARGE", "satreel.edge"),
        LIST: ("UNAVAILABLE", "UNAVAILABLE", "satreel.edge"),
    }


async def test_who_asks_too_often(tmp_path: Path) -> None:
    """By the gateway's count, and by the edge's own; not UNAVAILABLE, which channels repeat by themselves."""

    async def too_many(_request: web.Request) -> web.Response:
        return web.json_response({"code": 8, "message": "by the gateway"}, status=429)

    limits = edge.Limits(requests_per_s=1, requests_at_once=1)
    async with (
        serving(web.route("*", "/{path:.*}", too_many)) as gateway,
        alone(tmp_path, gateway=(gateway,), limits=limits) as places,
        known(tmp_path, places) as channel,
    ):
        call: Any = channel.unary_unary(LIST)
        answers = await asyncio.gather(*(_failed(call) for _ in range(30)))
    assert {code for code, _ in answers} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    said = {message for _, message in answers}
    assert {json.loads(message)["message"] for message in said if message.startswith("{")} == {
        "by the gateway"
    }
    assert any("your address" in message for message in said)


async def _failed(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"", timeout=20)
    return refused.value.code(), refused.value.details() or ""
