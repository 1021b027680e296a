"""Incremental delivery over HTTP: pieces of a result, cut by `@defer` and `@stream`, each when it is ready.

https://github.com/graphql/graphql-over-http/blob/main/rfcs/IncrementalDelivery.md
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aiohttp import web

from graphql_gateway.edge.negotiation import MULTIPART
from graphql_gateway.edge.results import Result, payload_of

_PART = b"\r\n---\r\nContent-Type: application/json; charset=utf-8\r\n\r\n%b"
_END = b"\r\n-----\r\n"


def asks_for_pieces(query: str) -> bool:
    """Whether a document may name the two directives."""
    return "@defer" in query or "@stream" in query


async def deliver(
    request: web.Request, first: Result, rest: AsyncGenerator[Result, None]
) -> web.StreamResponse:
    """Answers with the pieces as parts of one multipart answer."""
    response = web.StreamResponse(headers={"Content-Type": f'{MULTIPART}; boundary="-"'})
    await response.prepare(request)
    await response.write(_PART % payload_of(first))
    async for piece in rest:
        await response.write(_PART % payload_of(piece))
    await response.write_eof(_END)
    return response
