"""HTTP answers to requests that are not carried out: JSON as GraphQL clients expect it, never our insides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from graphql_gateway.edge import authorize
from graphql_gateway.edge.negotiation import GRAPHQL_RESPONSE, JSON, wanted
from graphql_gateway.errors import REQUEST_CODE, extensions_of, is_fault, masked
from graphql_gateway.safety.documents import PersistedQueryNotFound
from mesh.errors import Code, Failure, InvalidArgument
from mesh.interceptors.guards import UserTokenMissing
from mesh.tokens import CHALLENGE, CHALLENGE_INVALID

_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 416,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
# As proxies count it: only traces ever show it.
_CLIENT_GONE = 499
_CODES = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "TOO_SLOW",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(InvalidArgument):
    """The request is malformed."""

    reason = REQUEST_CODE


def refusal(
    status: int, message: str, extensions: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> web.Response:
    """A GraphQL answer without data: nothing was carried out."""
    body = orjson.dumps({"errors": [{"message": message, "extensions": extensions}]})
    return web.Response(status=status, body=body, content_type=JSON, headers=headers)


def refused(failure: Failure, headers: Mapping[str, str] | None = None) -> web.Response:
    """A failure before execution, such as a bad access token."""
    if is_fault(failure):
        return refusal(500, *masked(failure))
    headers = {**(headers or {}), **_headers(failure)}
    return refusal(_status(failure), failure.message, extensions_of(failure), headers)


def _status(failure: Failure) -> int:
    return _STATUS.get(failure.code, 500)


def _headers(failure: Failure) -> dict[str, str]:
    headers = {}
    if failure.code is Code.UNAUTHENTICATED:
        came = failure.reason != UserTokenMissing.reason
        headers["WWW-Authenticate"] = CHALLENGE_INVALID if came else CHALLENGE
    if "retry_after_s" in failure.metadata:
        headers["Retry-After"] = failure.metadata["retry_after_s"]
    return headers


@web.middleware
async def refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Around every request: whatever is raised becomes an answer, of the JSON type that is asked for."""
    try:
        return await handler(request)
    except Failure as failure:
        if authorize.is_authorization(request):
            return authorize.told(failure, _status(failure), _headers(failure))
        response = refused(failure)
        if isinstance(failure, PersistedQueryNotFound) and wanted(request).json != GRAPHQL_RESPONSE:
            # Clients send the document next; older ones read the reason in a success only.
            response.set_status(200)
    except web.HTTPException as problem:  # aiohttp's: too large, no such path, wrong method, redirects
        if problem.status < 400:
            raise
        allowed = {"Allow": problem.headers["Allow"]} if "Allow" in problem.headers else None
        response = _plain(problem.status, problem.text or problem.reason, allowed)
    except Exception as problem:
        response = _fault(request, problem)
    response.content_type = wanted(request).json or JSON
    return response


def _fault(request: web.Request, problem: Exception) -> web.Response:
    """Ours, unless the client hung up while it was being answered: then nobody reads this."""
    gone = request.transport is None or request.transport.is_closing()
    if gone and isinstance(problem, ConnectionError):
        return web.Response(status=_CLIENT_GONE)
    return refusal(500, *masked(problem))


def _plain(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return refusal(status, message, {"code": _CODES.get(status, REQUEST_CODE)}, headers)
