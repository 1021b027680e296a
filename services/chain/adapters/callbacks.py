"""Where ARC calls back: whoever knows the token may hint that a transaction has changed.

A callback may be lost, doubled, late, or forged by somebody who got the token: so it only says which
transaction to ask about, and what it says of it is not read. It may also come to an instance that does not
lead, which refuses it: ARC calls again, perhaps whoever leads, who asks about all that is open in any case.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from mesh import logs, telemetry
from services.chain.domain.values import Txid

log = logs.logger(__name__)

PATH = "/arc/callbacks"
BODY_BYTES_MAX = 1 << 20
HINTS_MAX = 10_000
BATCH_MAX = 1_000

_taken = telemetry.counter(
    "chain.callbacks", "Callbacks of ARC, by what became of them.", unit="{callback}", by=("status",)
)


class _One(BaseModel):
    txid: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Many(BaseModel):
    callbacks: Annotated[list[_One], Field(max_length=BATCH_MAX)]


_BODY: TypeAdapter[_Many | _One] = TypeAdapter(_Many | _One)


class Callbacks:
    """`Hints`: each waiting transaction once, however often it is called about."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._takes = True
        self._waiting: dict[Txid, None] = {}
        self._told = asyncio.Event()

    def take(self, yes: bool) -> None:
        """Whether somebody here follows hints; those that wait for nobody are forgotten."""
        self._takes = yes
        if not yes:
            self._waiting.clear()

    async def transactions(self) -> AsyncIterator[Txid]:
        """Ids of transactions that may have changed."""
        while True:
            await self._told.wait()
            self._told.clear()
            while self._waiting:
                txid = next(iter(self._waiting))
                del self._waiting[txid]
                yield txid

    async def handle(self, request: web.Request) -> web.Response:
        """One call of ARC's: 401 without the token, 400 when it is no callback, 503 when too many wait, or
        nobody here follows them.
        """
        said = (
            request.headers.get("Authorization", "").removeprefix("Bearer ").encode(errors="surrogateescape")
        )
        if not hmac.compare_digest(said, self._token):
            return self._answered(401)
        try:
            body = _BODY.validate_json(await request.read(), strict=True)
        except ValidationError:
            return self._answered(400)
        if not self._takes:
            _taken.add(1, {"status": 503})
            return web.Response(status=503, text="this instance does not lead")
        txids = [Txid(one.txid) for one in (body.callbacks if isinstance(body, _Many) else [body])]
        if len(self._waiting) + len(txids) > HINTS_MAX:
            return self._answered(503)
        self._waiting |= dict.fromkeys(txids)
        self._told.set()
        return self._answered(200)

    def _answered(self, status: int) -> web.Response:
        _taken.add(1, {"status": status})
        if status != 200:
            log.warning("a callback was not taken", status=status)
        return web.Response(status=status)


@asynccontextmanager
async def open_callbacks(listen: str, token: str) -> AsyncIterator[tuple[Callbacks, str]]:
    """Listens at HOST:PORT; with the address, as port 0 takes any. Bodies are bounded."""
    host, _, port = listen.rpartition(":")
    callbacks = Callbacks(token)
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post(PATH, callbacks.handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        await site.start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield callbacks, f"http://{bound_host}:{bound_port}{PATH}"
    finally:
        await runner.cleanup()
