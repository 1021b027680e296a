"""One house for both: WhatsOnChain, its WebSocket, ARC, and the control of their bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from aiohttp import web
from pydantic import ValidationError

from sandbox.explorers.arc import BASE, Arc
from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import FAULT, ControlRequest, Fault, Faults
from sandbox.explorers.index import ChainIndex
from sandbox.explorers.woc import WhatsOnChain
from sandbox.explorers.woc_socket import HeaderSocket
from sandbox.process import require_free_port
from sandbox.rpc import NodeRpc, RpcFailure

BODY_BYTES_MAX = 40_000_000
SHUTDOWN_S = 2.0
CONTROL = "/_control"
SETTING = "SATREEL_SANDBOX_EXPLORERS_PORT"
CANNED = {
    Fault.HTTP_429: (429, "Too Many Requests", "text/plain"),
    Fault.HTTP_500: (500, "Internal Server Error", "text/plain"),
    Fault.HTML: (200, "<html><body><h1>We are busy.</h1></body></html>", "text/html"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Explorers:
    """The running stand-ins: their addresses.

    For tests in the same process also their faults, and what returns when no callback of ARC's is under way.
    """

    woc_url: str
    woc_socket_url: str
    arc_url: str
    control_url: str
    faults: Faults
    called_back: Callable[[], Awaitable[None]]


class House:
    """The web application over one node."""

    def __init__(self, settings: ExplorersSettings, rpc: NodeRpc) -> None:
        self._settings = settings
        self.faults = Faults(settings.seed)
        self._index = ChainIndex(rpc)
        self._arc = Arc(settings, rpc, self._index, self.faults)
        self.called_back = self._arc.callbacks.delivered
        self._closing = asyncio.Event()
        self._parts = (
            WhatsOnChain(settings, rpc, self._index),
            HeaderSocket(rpc, self._index, self.faults),
            self._arc,
        )

    def app(self) -> web.Application:
        """It follows the node while it runs."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._spoil])
        app.router.add_get(CONTROL, self._show_control)
        app.router.add_post(CONTROL, self._control)
        for part in self._parts:
            part.add_routes(app)
        app.cleanup_ctx.append(self._following)
        app.on_shutdown.append(self._close)
        return app

    async def _following(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follow(), name="follow the node")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self._arc.callbacks.close()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(RpcFailure):  # a node that is away, or starting, is waited for
                await self._arc.submissions.refresh_all()
            await asyncio.sleep(self._settings.poll_s)

    async def _close(self, _app: web.Application) -> None:
        self._closing.set()

    @web.middleware
    async def _spoil(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the request meet its fault: here, where any answer can go wrong, or in its handler."""
        is_answer = not request.path.startswith(("/websocket/", CONTROL))
        fault = self.faults.take(f"{request.method} {request.path}") if is_answer else None
        if fault is None:
            return await handler(request)
        if fault.kind in CANNED:
            status, text, content_type = CANNED[fault.kind]
            return web.Response(status=status, text=text, content_type=content_type)
        if fault.kind in (Fault.SLOW, Fault.SILENCE):
            await self._pause(fault.seconds)
        request[FAULT] = fault
        if fault.kind in (Fault.SILENCE, Fault.RESET):
            return _dropped(request)
        if fault.kind is Fault.ANSWER_LOST:
            with contextlib.suppress(web.HTTPException):
                await handler(request)
            return _dropped(request)
        return await handler(request)

    async def _pause(self, seconds: float) -> None:
        """So long, or until the house closes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _show_control(self, request: web.Request) -> web.Response:
        _require_local(request)
        return web.json_response({"waiting": [order.model_dump() for order in self.faults.waiting()]})

    async def _control(self, request: web.Request) -> web.Response:
        _require_local(request)
        try:
            self.faults.apply(ControlRequest.model_validate_json(await request.read()))
        except (ValidationError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await self._show_control(request)


def _dropped(request: web.Request) -> web.Response:
    """The connection breaks; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _require_local(request: web.Request) -> None:
    if request.remote is None or not ip_address(request.remote).is_loopback:
        raise web.HTTPForbidden(text="the control address is for this machine only")


@asynccontextmanager
async def running_explorers(settings: ExplorersSettings) -> AsyncIterator[Explorers]:
    """The stand-ins for the length of a `with` block. Raises PortTaken."""
    if settings.port:
        require_free_port(settings.port, part="The WhatsOnChain and ARC stand-in", setting=SETTING)
    async with NodeRpc(settings.node_url.get_secret_value()) as rpc:
        house = House(settings, rpc)
        runner = web.AppRunner(house.app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            place = f"{settings.host}:{runner.addresses[0][1]}"
            yield Explorers(
                woc_url=f"http://{place}/v1/bsv/{settings.network}",
                woc_socket_url=f"ws://{place}/websocket/blockHeaders",
                arc_url=f"http://{place}{BASE}",
                control_url=f"http://{place}{CONTROL}",
                faults=house.faults,
                called_back=house.called_back,
            )
        finally:
            await runner.cleanup()
