"""Before anything is done for requests they wait for their address's turn, and are counted against it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from graphql_gateway.edge.requests import client_address
from graphql_gateway.safety.budget import Budget, Budgets, RateLimited, network_of
from graphql_gateway.safety.turns import Door, TooManyWaiting

BUDGET: web.RequestKey[Budget] = web.RequestKey("budget", Budget)
# Probes come from inside, every few seconds.
_UNCOUNTED = {"/healthz"}
# How long a refusal for asking too much is held back.
HELD_S = 0.5
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def counted(budgets: Budgets, *, trusted_proxies: int) -> Middleware:
    """Around all routes."""

    door = Door()

    @web.middleware
    async def count(request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Raises RateLimited, TooManyWaiting; ConnectionResetError when the client left meanwhile."""
        address = client_address(request, trusted_proxies=trusted_proxies)
        try:
            await door.enter(network_of(address))
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


async def tell_budget(request: web.Request, response: web.StreamResponse) -> None:
    """Before a response's head is sent: what the client may still ask for."""
    budget = request.get(BUDGET)
    if budget is not None:
        response.headers.update(budget.headers)
