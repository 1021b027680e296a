"""Subscriptions: the gateway and graphql-ws one after the other, each with the same sockets and events."""

from __future__ import annotations

import asyncio
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
# For who is slower than the events come.
SPARE_S = 60.0
OPEN_S = 0.05


async def run(site: Site, plan: Plan, results: Results) -> None:
    """For each number of sockets. Raises BadAnswer when hardly any message comes."""
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
                results.deliveries[sockets][server.name] = await delivered(
                    site, server, sockets, plan, results
                )


async def delivered(site: Site, server: Server, sockets: int, plan: Plan, results: Results) -> Delivery:
    """What so many sockets cost, and what events cost them. Raises BadAnswer when hardly any come."""
    async with _clients(site, server, 20):
        pass  # code that is used for the first time is no memory of sockets
    await asyncio.sleep(SETTLE_S)
    before = server.resident_bytes()
    async with _clients(site, server, sockets) as clients:
        await asyncio.sleep(SETTLE_S)
        held = server.resident_bytes() - before
        messages = sockets * plan.events
        cpu_s = server.cpu_s()
        seconds_max = plan.events * plan.event_every_s + SPARE_S
        clients.order(f"{messages} {seconds_max}")
        site.services.order(f"publish {plan.events} {plan.event_every_s}")
        assert clients.process.stdout is not None
        seen = json.loads(await clients.process.stdout.readline())
        cpu_s = server.cpu_s() - cpu_s
    if seen["messages"] < sockets:
        raise BadAnswer(
            f"{server.name}: {sockets} sockets got {seen['messages']} messages, {seen['lost']} ended"
        )
    if seen["messages"] < messages:
        results.notes.append(
            f"{server.name}, {sockets:,} sockets: of {messages:,} messages {seen['messages']:,} came within "
            f"{seconds_max:.0f} s; {seen['lost']:,} subscriptions ended."
        )
    return Delivery(sockets, seen["messages"], seen["seconds"], cpu_s, held / sockets, seen["delays_ms"])


@asynccontextmanager
async def _clients(site: Site, server: Server, sockets: int) -> AsyncIterator[Server]:
    argv = (sys.executable, "-m", "bench.gateway.sockets", str(server.port), str(sockets))
    async with told(
        f"clients of {server.name}", argv, site.folder, start_s_max=60 + sockets * OPEN_S
    ) as clients:
        yield clients
