"""The WhatsOnChain and ARC stand-ins over the shared node, their client, and a receiver of callbacks.

In a conftest.py: `from tests.fixtures_explorers import house, receiver, wallet`, and those of fixtures_node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from bsv.transaction import Transaction

from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import Faults
from sandbox.explorers.server import Explorers, running_explorers
from sandbox.node import BsvNode
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Payment, Wallet

ARC_KEY, WOC_KEY, TOKEN = "arc-key", "woc-key", "callback-token"
PATIENCE_S = 120.0
Json = Any  # what these tests look at


@dataclass(frozen=True)
class House:
    """The running stand-ins and a client."""

    explorers: Explorers
    http: aiohttp.ClientSession

    @property
    def faults(self) -> Faults:
        return self.explorers.faults

    async def get(self, path: str, status: int = 200, key: str = WOC_KEY) -> Json:
        headers = {"woc-api-key": key} if key else {}
        async with self.http.get(self.explorers.woc_url + path, headers=headers) as response:
            assert response.status == status, await response.text()
            return await _body(response)

    async def post(self, path: str, body: object, status: int = 200) -> Json:
        headers = {"woc-api-key": WOC_KEY}
        async with self.http.post(self.explorers.woc_url + path, json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            return await _body(response)

    async def arc(self, path: str, status: int = 200) -> Json:
        headers = {"Authorization": f"Bearer {ARC_KEY}"}
        async with self.http.get(self.explorers.arc_url + path, headers=headers) as response:
            assert response.status == status, await response.text()
            return await _body(response)

    async def submit(
        self,
        raw: object,
        *,
        status: int = 200,
        path: str = "/v1/tx",
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """`raw`: hex for {"rawTx"}, bytes, or any other JSON as it is."""
        sent = {"Authorization": f"Bearer {ARC_KEY}", **(headers or {})}
        body: dict[str, Any] = {"json": {"rawTx": raw} if isinstance(raw, str) else raw}
        if isinstance(raw, bytes):
            body = {"data": raw}
        async with self.http.post(self.explorers.arc_url + path, headers=sent, **body) as response:
            assert response.status == status, await response.text()
            return await _body(response)

    async def until(self, txid: str, status: str) -> Json:
        """ARC's answer once it gives that status."""
        async with asyncio.timeout(PATIENCE_S):
            while (found := await self.arc(f"/v1/tx/{txid}"))["txStatus"] != status:
                await asyncio.sleep(0.02)
        return found


async def _body(response: aiohttp.ClientResponse) -> Json:
    if response.content_type == "application/json":
        return await response.json()
    if response.content_type == "application/octet-stream":
        return await response.read()
    return await response.text()


@dataclass
class Receiver:
    """Where callbacks arrive, with the status that it answers."""

    url: str = ""
    answers: int = 200
    got: asyncio.Queue[tuple[str, Json]] = field(default_factory=asyncio.Queue)
    tries: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.tries += 1
        if self.answers == 200:
            self.got.put_nowait((request.headers.get("Authorization", ""), await request.json()))
        return web.Response(status=self.answers)

    async def next(self) -> Json:
        """The next callback, by the right token."""
        authorization, body = await asyncio.wait_for(self.got.get(), PATIENCE_S)
        assert authorization == f"Bearer {TOKEN}"
        return body

    def headers(self, *, full: bool = False) -> dict[str, str]:
        """Those that ask ARC for callbacks here."""
        asked = {"X-CallbackUrl": self.url, "X-CallbackToken": TOKEN}
        return asked | ({"X-FullStatusUpdates": "true"} if full else {})


def explorers_settings(node: BsvNode, **fields: object) -> ExplorersSettings:
    """Impatient ones, on any port."""
    given = {"port": 0, "poll_s": 0.02, "callback_pause_s": 0.02, "arc_key": ARC_KEY, "woc_key": WOC_KEY}
    return ExplorersSettings.model_validate({"node_url": node.url, **given, **fields})


@asynccontextmanager
async def running_house(node: BsvNode, **fields: object) -> AsyncIterator[House]:
    """The stand-ins over a node, and a client."""
    settings = explorers_settings(node, **fields)
    async with running_explorers(settings) as explorers, aiohttp.ClientSession() as http:
        yield House(explorers, http)


@pytest.fixture
async def house(bsv_node: BsvNode) -> AsyncIterator[House]:
    async with running_house(bsv_node) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/callback", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    yield found
    await runner.cleanup()


@pytest.fixture
async def wallet(regtest: Regtest) -> Wallet:
    """With one mined coin."""
    found = Wallet.random()
    found.receive(await regtest.fund(found.address, 100_000))
    await regtest.mine(1)
    return found


async def extended(payment: Payment, rpc: NodeRpc, parents: Mapping[str, str] | None = None) -> str:
    """The payment in extended format, by the SDK. `parents`: raw ones by id that the node does not know."""
    known = parents or {}
    transaction = Transaction.from_hex(payment.raw_hex)
    assert transaction is not None
    for source, coin in zip(transaction.inputs, payment.spent, strict=True):
        raw = known.get(coin.txid) or await rpc.text("getrawtransaction", coin.txid)
        source.source_transaction = Transaction.from_hex(raw)
    return str(transaction.to_ef().hex())
