"""Before anything is done for requests they wait for their address's turn, and are counted against it; while
too much waits, they are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from graphql_gateway.edge.requests import client_address
from graphql_gateway.safety.budget import Budget, Budgets, RateLimited, network_of
from graphql_gateway.safety.front import Front, Kind
from graphql_gateway.safety.turns import TooManyWaiting

BUDGET: web.RequestKey[Budget] = web.RequestKey("budget", Budget)
# Probes come from inside, every few seconds.
_UNCOUNTED = {"/healthz"}
# How long a refusal for asking too much is held back.
HELD_S = 0.5
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def counted(budgets: Budgets, front: Front, *, trusted_proxies: int) -> Middleware:
    """Around all routes."""

    @web.middleware
    async def count(request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Raises Overloaded, RateLimited, TooManyWaiting; ConnectionResetError when the client has left."""
        if front.is_overloaded() and not _goes_on(request):
            raise front.refusal(Kind.REQUEST)
        address = client_address(request, trusted_proxies=trusted_proxies)
        try:
            await front.door.enter(network_of(address))
            if request.transport is None:
                raise ConnectionResetError
            if request.path not in _UNCOUNTED:
                budget = request[BUDGET] = budgets.of(address)
                await budget.arrive()
            return await handler(request)
        except (RateLimited, TooManyWaiting):
            # Who asks without a pause is given one: a connection has one request at a time.
            await asyncio.sleep(HELD_S)
            raise

    return count


def _goes_on(request: web.Request) -> bool:
    """What is no new work: probes, what ends an operation, films of viewings that are paid for already."""
    return request.path in _UNCOUNTED or request.method == hdrs.METH_DELETE or request.path.endswith("/film")


async def tell_budget(request: web.Request, response: web.StreamResponse) -> None:
    """Before a response's head is sent: what the client may still ask for."""
    budget = request.get(BUDGET)
    if budget is not None:
        response.headers.update(budget.headers)
