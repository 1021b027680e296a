"""Whom the edge refuses over gRPC, it tells why: no certificate, or an address that is denied."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from satreel.rounds.v1 import rounds_service_pb2 as pb
from satreel.rounds.v1.rounds_service_pb2_grpc import RoundsServiceStub

from mesh import tls
from mesh.status import from_rpc_error
from tests.edge.lone import alone
from topology import edge

NAME = [("grpc.ssl_target_name_override", "edge.satreel")]


async def refusal(channel: grpc.aio.Channel) -> tuple[str, str, str]:
    """Code, reason and domain."""
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await RoundsServiceStub(channel).ListRounds(pb.ListRoundsRequest(), timeout=20)
    failure = from_rpc_error(refused.value, method="ListRounds")
    return failure.code.name, failure.reason, failure.domain


async def test_without_a_certificate_and_from_a_denied_address(tmp_path: Path) -> None:
    async with alone(tmp_path) as places:
        authority = (tmp_path / "tls" / "ca.pem").read_bytes()
        nobody = grpc.ssl_channel_credentials(authority)
        missing = ("PERMISSION_DENIED", "CERTIFICATE_MISSING", "satreel.edge")
        assert await refusal(grpc.aio.secure_channel(places.https, nobody, NAME)) == missing
        assert await refusal(grpc.aio.insecure_channel(str(places.http))) == missing
        edge.place(places.folder, edge.resource(deny=["127.0.0.0/8"]))
        known = tls.channel_credentials(tmp_path / "tls", "edge")
        denied = ("PERMISSION_DENIED", "ADDRESS_REFUSED", "satreel.edge")
        async with asyncio.timeout(20):
            while await refusal(grpc.aio.secure_channel(places.https, known, NAME)) != denied:
                await asyncio.sleep(0.05)
