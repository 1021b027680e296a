"""Subscriptions: the gateway and graphql-ws one after the other, each with the same sockets and events."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.gateway.load import BadAnswer
from bench.gateway.plan import Plan
from bench.gateway.results import Delivery, Results
from bench.gateway.serving import Server, Site, told

FILES_BESIDE = 500
SETTLE_S = 1.0
ANSWER_BYTES_MAX = 1 << 22
# Messages are few and large for who has a whole core: events wait until the last one is delivered.
SPARE_S = 60.0


async def run(site: Site, plan: Plan, results: Results) -> None:
    """For each number of sockets. Raises BadAnswer when messages are missing."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(plan.sockets) + FILES_BESIDE
    if files < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
    for sockets in plan.sockets:
        if sockets + FILES_BESIDE > most:
            results.notes.append(
                f"{sockets:,} sockets need more open files than this machine allows ({most:,})."
            )
            continue
        for started in (site.gateway, site.graphql_ws):
            async with started() as server:
                results.deliveries[sockets][server.name] = await delivered(site, server, sockets, plan)


async def delivered(site: Site, server: Server, sockets: int, plan: Plan) -> Delivery:
    """What so many sockets cost, and what events cost them. Raises BadAnswer."""
    async with _clients(site, server, 20):
        pass  # code that is used for the first time is no memory of sockets
    await asyncio.sleep(SETTLE_S)
    before = server.resident_bytes()
    async with _clients(site, server, sockets) as clients:
        await asyncio.sleep(SETTLE_S)
        held = server.resident_bytes() - before
        messages = sockets * plan.events
        cpu_s = server.cpu_s()
        clients.order(str(messages))
        site.services.order(f"publish {plan.events} {plan.event_every_s}")
        assert clients.process.stdout is not None
        async with asyncio.timeout(plan.events * plan.event_every_s + SPARE_S):
            seen = json.loads(await clients.process.stdout.readline())
        cpu_s = server.cpu_s() - cpu_s
    if seen["lost"] or seen["messages"] < messages / 2:
        raise BadAnswer(
            f"{server.name}: of {messages} messages came {seen['messages']}, {seen['lost']} sockets lost"
        )
    return Delivery(sockets, seen["messages"], seen["seconds"], cpu_s, held / sockets, seen["delays_ms"])


@asynccontextmanager
async def _clients(site: Site, server: Server, sockets: int) -> AsyncIterator[Server]:
    gc.collect()
    argv = (sys.executable, "-m", "bench.gateway.sockets", str(server.port), str(sockets))
    async with told(f"clients of {server.name}", argv, site.folder) as clients:
        yield clients
