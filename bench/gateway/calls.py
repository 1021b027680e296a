"""What a call alone costs who makes it: gRPC's core as it comes, and a channel of the mesh.

    python -m bench.gateway.calls PORT

It prints a line of JSON: CPU µs of this process for a call of each, in rounds that alternate. Eight calls are
under way at once; each asks for ten users.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import grpc
import uvloop
from satreel.identity.v1.identity_service_pb2 import BatchGetUsersRequest
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from bench.gateway.serving import ROOT, Site
from mesh import telemetry
from mesh.channel import connect
from mesh.ids import uuid7
from mesh.interceptors.guards import CLAIMED_SERVICE_KEY
from sandbox.process import LOOPBACK

ROUNDS, CALLS, IN_FLIGHT = 4, 1_000, 8
ME = "gateway"
CORE, MESH = "grpc.aio", "mesh"


async def measured(port: int) -> dict[str, float]:
    """CPU µs of a call, by the way it is made. No trace is sampled, as without a collector."""
    telemetry.start(service=ME, instance="calls", endpoint="", trace_ratio=0.0, slow_s=0.5)
    address, request = f"{LOOPBACK}:{port}", BatchGetUsersRequest(user_ids=[uuid7() for _ in range(10)])
    channel = connect(me=ME, peer="identity", addresses=address, tls_dir=None)
    async with grpc.aio.insecure_channel(address) as core, channel:
        plain, ours = IdentityServiceStub(core), IdentityServiceStub(channel)

        async def by_core() -> None:
            await plain.BatchGetUsers(request, timeout=5, metadata=((CLAIMED_SERVICE_KEY, ME),))

        async def by_mesh() -> None:
            await ours.BatchGetUsers(request)

        costs: dict[str, list[float]] = {CORE: [], MESH: []}
        for number in range(ROUNDS + 1):
            for way, call in ((CORE, by_core), (MESH, by_mesh)):
                cost = await _cost_us(call)
                # The first round opens connections.
                costs[way] += [cost] if number else []
    return {way: median(found) for way, found in costs.items()}


async def told(site: Site) -> str:
    """A sentence with the figures, of a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.gateway.calls",
        str(site.services.port),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    written, _ = await process.communicate()
    found = json.loads(written)
    return (
        f"A call of BatchGetUsers for ten users costs its client {found[CORE]:,.0f} µs by grpc.aio alone, "
        f"{found[MESH]:,.0f} µs on a channel of the mesh, its deadline, identity, trace and metrics included"
    )


async def _cost_us(call: Callable[[], Any]) -> float:
    async def work() -> None:
        for _ in range(CALLS // IN_FLIGHT):
            await call()

    before_s = _cpu_s()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return (_cpu_s() - before_s) / CALLS * 1e6


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measured(int(sys.argv[1])))))
