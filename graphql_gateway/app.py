"""The HTTP application: `/graphql`, `/media/…` and `/healthz`."""

from __future__ import annotations

from aiohttp import web

from graphql_gateway import schema
from graphql_gateway.config import GatewaySettings
from graphql_gateway.edge.media import Media
from graphql_gateway.edge.view import Parts, SatreelView


def build(settings: GatewaySettings, parts: Parts) -> web.Application:
    """The application; starts nothing."""
    application = web.Application(client_max_size=settings.request_bytes_max)
    view = SatreelView(
        schema.build(
            tokens_max=settings.tokens_max,
            depth_max=settings.depth_max,
            introspection=settings.introspection,
        ),
        parts,
        graphiql=settings.graphiql,
        connection_init_timeout_s=settings.connection_init_timeout_s,
        subscriptions_per_socket_max=settings.subscriptions_per_socket_max,
        allowed_origins=settings.allowed_origins,
    )
    media = Media(parts)
    application.router.add_route("*", "/graphql", view)
    application.router.add_get("/media/{meme}/{kind:poster|film|picture}", media.get)
    application.router.add_get("/healthz", _healthy)
    application.router.add_get("/", _to_graphql)
    return application


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _to_graphql(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/graphql")
