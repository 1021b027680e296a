"""Requests over HTTP: the three gateways in turn, round after round: what disturbs one disturbs all."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.gateway import calls
from bench.gateway.load import BadAnswer, data_of, measured
from bench.gateway.operations import ALL, Operation
from bench.gateway.plan import Plan
from bench.gateway.results import Results
from bench.gateway.serving import Server, Site


async def run(site: Site, plan: Plan, results: Results) -> None:
    """Compares the answers, warms up, and measures. Raises BadAnswer."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(started)
            for started in (site.gateway(), site.mercurius(), site.stock())
        ]
        for operation in ALL:
            await _compare(operation, servers)
        for number in range(plan.rounds + 1):
            for operation in ALL:
                for server in servers:
                    requests = plan.requests if number else plan.warm_up
                    sample = await measured(operation, server, requests=requests, in_flight=plan.in_flight)
                    if number:
                        results.samples[operation.name][server.name].append(sample)
    results.notes.append(await calls.told(site))
    results.notes.append(
        f"{plan.in_flight} requests are under way at once, of the same user: "
        "what they read alike at one time is one call"
    )


async def _compare(operation: Operation, servers: list[Server]) -> None:
    answers = {server.name: await data_of(operation, server) for server in servers}
    first, *others = answers.values()
    if any(other != first for other in others):
        raise BadAnswer(f"{operation.name}: the answers differ: {answers}")
