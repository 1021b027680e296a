"""WhatsOnChain's REST addresses under /v1/bsv/<network>: its limit, its texts, and who answers what."""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.explorers import woc_addresses, woc_blocks, woc_txs
from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import FAULT
from sandbox.explorers.index import ChainIndex
from sandbox.explorers.view import View
from sandbox.explorers.woc_blocks import Handler
from sandbox.rpc import NodeRpc, RpcFailure

CLIENTS_MAX = 1000
# Answers to one who sends no key.
RATE_PER_S = 3
ROUTES = woc_blocks.ROUTES | woc_txs.ROUTES | woc_addresses.ROUTES


class WhatsOnChain:
    """The handlers over one node."""

    def __init__(self, settings: ExplorersSettings, rpc: NodeRpc, index: ChainIndex) -> None:
        self._settings, self._rpc, self._index = settings, rpc, index
        self._answered: dict[str, deque[float]] = {}

    def add_routes(self, app: web.Application) -> None:
        """Answer under this network's name only."""
        base = f"/v1/bsv/{{network:{self._settings.network}}}"
        app.router.add_get(base + "/woc", self._alive)
        for route, handler in ROUTES.items():
            method, path = route.split(" ")
            app.router.add_route(method, base + path, self._over_view(handler))

    def _over_view(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            self._require_within_limit(request)
            try:
                await self._index.sync()
                return await handler(View(self._rpc, self._index, request.get(FAULT)), request)
            except RpcFailure as failure:
                raise web.HTTPInternalServerError(text="unexpected response code 500") from failure

        return handle

    async def _alive(self, request: web.Request) -> web.Response:
        self._require_within_limit(request)
        return web.Response(text="Whats On Chain")

    def _require_within_limit(self, request: web.Request) -> None:
        """So many answers a second to each client that sends no key."""
        key = self._settings.woc_key.get_secret_value()
        if sent := request.headers.get("woc-api-key", ""):
            if key and not hmac.compare_digest(sent.encode(), key.encode()):
                raise web.HTTPUnauthorized(text="Unauthorized")
            return
        if len(self._answered) > CLIENTS_MAX:
            self._answered.clear()
        times = self._answered.setdefault(request.remote or "", deque(maxlen=RATE_PER_S))
        now = time.monotonic()
        if len(times) == RATE_PER_S and now - times[0] < 1:
            raise web.HTTPTooManyRequests(text="Too Many Requests")
        times.append(now)
