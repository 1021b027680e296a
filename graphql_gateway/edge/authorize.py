"""What the edge asks before it passes a REST or gRPC request on: who asks, and whether it may ask again.

Envoy's `ext_authz` over HTTP: a request's method, path and Authorization header come here, without its body.
200 lets it pass, with the mesh's short-lived token of the user; anything else is the client's answer, a
google.rpc.Status as JSON. No route of the edge leads here.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web
from google.rpc import code_pb2

from graphql_gateway.context import Parts
from graphql_gateway.edge.authentication import bearer_token
from graphql_gateway.edge.counting import BUDGET
from graphql_gateway.edge.rest_costs import RestCosts
from graphql_gateway.errors import is_fault, masked
from mesh import contracts
from mesh.contracts import service_of
from mesh.errors import Code, Failure
from mesh.interceptors.guards import USER_TOKEN_KEY

PREFIX = "/authorize"
_DOMAIN = "satreel.gateway"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
# Methods of identity that a stranger may try secrets on; GraphQL's fields for them have @countsAsLogIn.
_LOG_INS = ("CreateChallenge", "LogIn", "RefreshSession")


def is_authorization(request: web.Request) -> bool:
    """Whether the edge asks for one of its clients."""
    return request.path.startswith(f"{PREFIX}/")


class Authorize:
    """The edge's questions."""

    def __init__(self, parts: Parts) -> None:
        self._authenticator = parts.authenticator
        self._costs = RestCosts()
        self._log_ins = {place for name in _LOG_INS for place in _places(name)}

    async def answer(self, request: web.Request) -> web.Response:
        """Raises BadToken, SessionEnded, RateLimited, and what identity answers."""
        token = bearer_token(request.headers.get(hdrs.AUTHORIZATION, ""))
        viewer = await self._authenticator.viewer_of(token) if token else None
        budget = request[BUDGET]
        budget.user_id = viewer.id if viewer else None
        await budget.ask()
        # Envoy leaves a slash at the end out of account when it looks for the method.
        path = request.path.removeprefix(PREFIX).rstrip("/")
        if (request.method, path) in self._log_ins:
            await budget.log_in()
        if cost := self._costs.of(request.method, path, request.query):
            await budget.pay_values(cost)
        return web.Response(headers={USER_TOKEN_KEY: viewer.user_token} if viewer else None)


def told(failure: Failure, status: int, headers: Mapping[str, str]) -> web.Response:
    """A refusal as REST clients read errors."""
    message = masked(failure)[0] if is_fault(failure) else failure.message
    return _status(
        status, code_pb2.Code.Value(failure.code), message, failure.reason, failure.metadata, headers
    )


def fault() -> web.Response:
    """Something of ours broke."""
    message = "this failed through no fault of yours"
    return _status(HTTPStatus.INTERNAL_SERVER_ERROR, code_pb2.INTERNAL, message, Code.INTERNAL, {}, {})


def _status(
    status: int, code: int, message: str, reason: str, metadata: Mapping[str, str], headers: Mapping[str, str]
) -> web.Response:
    info: dict[str, Any] = {"@type": _ERROR_INFO, "reason": reason, "domain": _DOMAIN}
    if metadata:
        info["metadata"] = dict(metadata)
    body = orjson.dumps({"code": code, "message": message, "details": [info]})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _places(method: str) -> list[tuple[str, str]]:
    """The methods and paths of HTTP by which REST, and by which gRPC calls it."""
    contract = contracts.method(f"/{service_of('identity')}/{method}")
    return [("POST", contract.path), *((rest.verb, rest.path) for rest in contract.rest)]
