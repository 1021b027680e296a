"""The HTTP application: `/graphql`, `/graphql/stream`, `/media/…`, `/healthz`; `/authorize/…` for edges."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

from aiohttp import hdrs, web

from graphql_gateway import memes, schema
from graphql_gateway.composition import Composition
from graphql_gateway.config import GatewaySettings
from graphql_gateway.context import Parts
from graphql_gateway.edge import authorize, graphiql
from graphql_gateway.edge.counting import counted, tell_budget
from graphql_gateway.edge.endpoint import Endpoint
from graphql_gateway.edge.handshake import end_declined
from graphql_gateway.edge.heads import TimedRunner
from graphql_gateway.edge.media import Media
from graphql_gateway.edge.origins import Origins, asking
from graphql_gateway.edge.refusals import refusals
from graphql_gateway.safety.manifests import no_longer_valid
from graphql_gateway.telemetry import traced
from mesh import logs
from mesh.config import HEAD_BYTES_MAX
from mesh.contracts import TIMEOUT_S_DEFAULT

log = logs.logger(__name__)

# What runs gets as long as a call may take.
SHUTDOWN_S = TIMEOUT_S_DEFAULT
# Of a connection between requests; and until the head of one is there.
IDLE_S, HEAD_S = 75.0, 10.0
# Of a body that nobody reads any more, so that its sender hears the refusal.
LINGER_S = 2.0
_LOOK_S = 0.05
_LEAVING: web.AppKey[asyncio.Event] = web.AppKey("leaving", asyncio.Event)


def build(settings: GatewaySettings, parts: Parts, composition: Composition | None = None) -> web.Application:
    """The application over the whole graph, or that composition; starts nothing."""
    composition = composition or schema.composed()
    origins = Origins(settings.allowed_origins)
    count = counted(parts.budgets, parts.front, trusted_proxies=settings.trusted_proxies)
    application = web.Application(
        client_max_size=settings.request_bytes_max,
        middlewares=[traced, refusals, asking(origins), count],
    )
    application.on_response_prepare.append(origins.tell)
    application.on_response_prepare.append(tell_budget)
    application.on_response_prepare.append(end_declined)
    graph = schema.build(
        composition,
        tokens_max=settings.tokens_max,
        bounds=settings.bounds,
        introspection=settings.is_open,
    )
    for document_id, problem in no_longer_valid(parts.documents.trusted, graph).items():
        log.warning("a trusted document is not valid", document=document_id, problem=problem)
    endpoint = Endpoint(graph, parts, settings, origins)
    application.router.add_route("*", "/graphql", endpoint.graphql)
    application.router.add_put("/graphql/stream", endpoint.reserve)
    application.router.add_get("/graphql/stream", endpoint.stream, allow_head=False)
    application.router.add_post("/graphql/stream", endpoint.operate)
    application.router.add_delete("/graphql/stream", endpoint.stop)
    if memes.DOMAIN in composition.domains:
        application.router.add_get("/media/{meme}/{kind:poster|film|picture}", Media(parts).get)
    if settings.is_open and settings.graphiql_files is not None:
        application.router.add_static(graphiql.PATH, settings.graphiql_files)
    application.router.add_route("*", f"{authorize.PREFIX}/{{path:.*}}", authorize.Authorize(parts).answer)
    application.router.add_get("/healthz", _healthy)
    application.router.add_get("/", _to_graphql)

    async def send_clients_away(_application: web.Application) -> None:
        await endpoint.connected.send_away()

    application.on_shutdown.append(send_clients_away)
    leaving = application[_LEAVING] = asyncio.Event()

    async def tell_leaving(_request: web.Request, response: web.StreamResponse) -> None:
        if leaving.is_set() and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    application.on_response_prepare.append(tell_leaving)
    return application


async def leave(runner: web.AppRunner, drain_s: float) -> None:
    """Says that it leaves, and `drain_s` later takes no more connections.

    By then the proxies before it send nobody here any more, who would come back here. WebSockets are closed
    then, and other connections with their next answer, again within `drain_s`.
    """
    runner.app[_LEAVING].set()
    await asyncio.sleep(drain_s)
    for site in tuple(runner.sites):
        await site.stop()
    await runner.app.shutdown()
    server = runner.server
    with suppress(TimeoutError):
        async with asyncio.timeout(drain_s):
            while server is not None and server.connections:  # noqa: ASYNC110 - aiohttp tells nobody
                await asyncio.sleep(_LOOK_S)


def runner(application: web.Application, *, head_s: float = HEAD_S) -> web.AppRunner:
    """What serves the application. Bodies stay as they are sent: compressed ones are refused."""
    # The access log would hold film tickets.
    return TimedRunner(
        application,
        head_s=head_s,
        auto_decompress=False,
        # REST asks for a thousand things by their ids in one line, which the edge hands on.
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        # Who goes away stops what is done for them.
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        keepalive_timeout=IDLE_S,
        lingering_time=LINGER_S,
    )


async def _healthy(request: web.Request) -> web.Response:
    if request.app[_LEAVING].is_set():
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="leaving\n")
    return web.Response(text="ok\n")


async def _to_graphql(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/graphql")
