"""One process of the gateway. Reads as a recipe."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from graphql_gateway import app, federation, schema
from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Parts
from graphql_gateway.edge.authentication import Authenticator
from graphql_gateway.edge.tickets import Tickets
from graphql_gateway.execution.memo import Memo
from graphql_gateway.live import Live
from graphql_gateway.safety.budget import Budgets
from graphql_gateway.safety.documents import Documents
from graphql_gateway.safety.front import Front
from graphql_gateway.safety.leases import Leases
from graphql_gateway.safety.manifests import read_manifests
from graphql_gateway.safety.persisted import RedisStore
from graphql_gateway.safety.windows import EnduringWindows, OwnWindows, SharedWindows
from graphql_gateway.services import Services
from mesh.runtime import Runtime

# Half of what a message to a thousand sockets cost was a search for garbage among what lives as long as they.
GC_THRESHOLDS = (25_000, 4, 500)


@dataclass(frozen=True, slots=True)
class Place:
    """Of one of several processes: its number, from 1, and the socket that all listen on."""

    worker: int
    socket_fd: int


async def main(settings: GatewaySettings, only: list[str], place: Place | None = None) -> None:
    """Serves until told to stop."""
    gc.set_threshold(*GC_THRESHOLDS)
    composition = schema.composed(only, subgraph=settings.subgraph)
    async with Runtime(settings, worker=place.worker if place else None) as runtime:
        services = Services.sharing_reads(runtime.channel)
        live = Live.over(services, settings.redis_url, runtime.clock)
        windows = EnduringWindows(SharedWindows(runtime.redis), OwnWindows(), runtime.clock)
        leases = await runtime.enter(Leases(windows, runtime.clock))
        parts = Parts(
            services=live.before(services),
            live=live,
            authenticator=Authenticator(
                services.identity, runtime.clock, settings.viewer_cache_s, runtime.revocations
            ),
            revocations=runtime.revocations,
            tickets=Tickets(settings.ticket_key),
            budgets=Budgets(leases, settings.quotas, running_max=settings.operations_per_client_max),
            front=Front(settings.call_wait_max_s),
            documents=Documents(
                RedisStore(runtime.redis, kept_s=settings.persisted_s, kept_max=settings.persisted_max),
                read_manifests(settings.trusted_documents),
                only_trusted=settings.documents == "trusted",
            ),
            memo=Memo(live, runtime.clock),
            elsewhere=federation.elsewhere(composition),
        )
        runner = app.runner(app.build(settings, parts, composition), head_s=settings.head_s)
        await runner.setup()
        runtime.on_close(runner.cleanup)
        runtime.on_stop(partial(app.leave, runner, settings.drain_s))
        await site_of(runner, settings, place).start()
        if place is not None:
            _follow_parent(runtime)
        runtime.background(partial(live.run, composition.feeds), "live")
        # Schema and contracts stay for good: no collection need look at them again.
        gc.freeze()
        await runtime.serve()


def site_of(runner: web.AppRunner, settings: GatewaySettings, place: Place | None) -> web.BaseSite:
    """Where it listens: on an address of its own, or on the socket that several share."""
    if place is not None:
        return web.SockSite(runner, socket.socket(fileno=place.socket_fd))
    host, _, port = settings.http_listen.rpartition(":")
    return web.TCPSite(runner, host.strip("[]"), int(port))


def _follow_parent(runtime: Runtime) -> None:
    """The parent never writes to our standard input: it ends when the parent is gone."""
    loop, reader = asyncio.get_running_loop(), sys.stdin.fileno()

    def gone() -> None:
        loop.remove_reader(reader)
        runtime.stop("the parent is gone")

    loop.add_reader(reader, gone)
