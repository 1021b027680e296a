"""What gRPC's core cannot read in a head is refused at the edge, or taken: it would spoil calls of others."""

from __future__ import annotations

from pathlib import Path

import grpc
from satreel.rounds.v1 import rounds_service_pb2 as pb

from tests.edge.test_waiting import ASKED, door

# Each spoilt the calls that came behind it on the same connection, or its own with words of the core.
REFUSED = [("grpc-timeout", value) for value in ("soon", "-5S", "", "5s", "5S, 6S", "999999999S")] + [
    ("grpc-encoding", "zip")
]
TAKEN = {
    "anything-bin": "!!!",
    "Grpc-Trace-Bin": "%",
    "grpc-status": "bad",
    "grpc-previous-rpc-attempts": "many",
    "grpc-retry-pushback-ms": "soon",
    "grpc-internal-encoding-request": "zip",
}


async def test_nobody_spoils_the_calls_of_others(tmp_path: Path) -> None:
    async with door(tmp_path) as at, at.stub() as stub:
        await at.lead(True)
        await at.until("cluster.rounds.membership_healthy", 1)
        for name, value in REFUSED:
            status, _, told = await at.rest(**{name: value})
            assert (status, told["details"][0]["reason"]) == (400, "BAD_REQUEST"), (name, value)
            assert (await at.rest())[0] == 200, (name, value)
        assert at.rounds.calls == len(REFUSED)
        for name, value in TAKEN.items():
            assert (await at.rest(**{name: value}))[0] == 200, name
        for name, value in {"grpc-timeout": "99999999H", "grpc-encoding": "gzip"}.items():
            assert (await at.rest(**{name: value}))[0] == 200, name
        zipped = grpc.Compression.Gzip
        answer = await stub.ListRounds(
            ASKED, timeout=20, compression=zipped, metadata=(("anything-bin", b"\0"),)
        )
        assert answer == pb.ListRoundsResponse()
