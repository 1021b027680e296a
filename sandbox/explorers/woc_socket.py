"""WhatsOnChain's WebSocket of block headers.

A client sends `{}` and gets `{"connect": …}`, then `{"channel": …, "pub": {"data": header}}` for each block
that joins the best chain, after a reorganisation those from the fork upwards; `{}` now and then, to be
answered by "ping". The numbers in a header are plain: `bits` too.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from aiohttp import WSMsgType, web

from sandbox.explorers.faults import Fault, Faults
from sandbox.explorers.headers import Header
from sandbox.explorers.index import ChainIndex, IndexedBlock
from sandbox.explorers.view import View
from sandbox.rpc import NodeRpc, RpcFailure

CHANNEL = "woc:blockHeader"
EVENT = "WS blockHeaders"
PING_S = 25
MESSAGE_BYTES_MAX = 4096
HISTORY_MAX = 2000


class HeaderSocket:
    """The sockets over one node; each follows the index until its client goes, or the house closes."""

    def __init__(self, rpc: NodeRpc, index: ChainIndex, faults: Faults) -> None:
        self._rpc, self._index, self._faults = rpc, index, faults
        self._open: set[web.WebSocketResponse] = set()

    def add_routes(self, app: web.Application) -> None:
        """Answer in both spellings that clients use."""
        for name in ("blockHeaders", "blockheaders"):
            app.router.add_get(f"/websocket/{name}", self._live)
            app.router.add_get(f"/websocket/{name}/history", self._history)
        app.on_shutdown.append(self._close_all)

    async def _close_all(self, _app: web.Application) -> None:
        for socket in tuple(self._open):
            await socket.close(code=1001)

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        with self._index.news() as news:
            socket = await self._connected(request)
            publishing = asyncio.create_task(self._publish(socket, news))
            try:
                async for message in socket:
                    if message.type is WSMsgType.TEXT and message.data == "ping":
                        await socket.send_str("pong")
            finally:
                publishing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await publishing
                self._open.discard(socket)
        return socket

    async def _history(self, request: web.Request) -> web.WebSocketResponse:
        """Headers `from` a height `to` another, then the end."""
        await self._index.sync()
        bounds = [request.query.get(name, "") for name in ("from", "to")]
        if not all(text.isdecimal() for text in bounds):
            raise web.HTTPBadRequest(text="from and to must be heights")
        first, last = int(bounds[0]), min(int(bounds[1]), self._index.height)
        if not 0 <= last - first < HISTORY_MAX:
            raise web.HTTPBadRequest(text=f"1 to {HISTORY_MAX} headers")
        socket = await self._connected(request)
        view = View(self._rpc, self._index, None)
        for height in range(first, last + 1):
            await _send(socket, await view.header(str(height)))
        await socket.send_json({"disconnect": {"code": 200, "reason": "Data Delivered"}})
        await socket.close()
        self._open.discard(socket)
        return socket

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        """Wait for the client's first message, and greet it."""
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX)
        await socket.prepare(request)
        self._open.add(socket)
        await socket.receive()
        if not socket.closed:
            connect = {
                "client": secrets.token_hex(8),
                "version": "satreel",
                "subs": {CHANNEL: {}},
                "ping": PING_S,
            }
            await socket.send_json({"connect": connect})
        return socket

    async def _publish(self, socket: web.WebSocketResponse, news: asyncio.Queue[IndexedBlock]) -> None:
        while not socket.closed:
            try:
                block = await asyncio.wait_for(news.get(), PING_S)
            except TimeoutError:
                await socket.send_str("{}")
                continue
            fault = self._faults.take(EVENT)
            kind = fault.kind if fault is not None else None
            if kind is Fault.RESET:
                await socket.close(code=1011)
            elif kind is not Fault.SILENCE:
                view = View(self._rpc, self._index, fault)
                with contextlib.suppress(RpcFailure, web.HTTPNotFound):  # gone since: another comes
                    await _send(socket, await view.header((view.tip if view.behind else block).hash))


async def _send(socket: web.WebSocketResponse, header: Header) -> None:
    fields = ("version", "previousblockhash", "merkleroot", "time", "nonce", "hash", "height")
    data = {name: header.get(name, "") for name in fields} | {"bits": int(str(header["bits"]), 16)}
    await socket.send_json({"channel": CHANNEL, "pub": {"data": data}})
