"""The chain as each adapter reaches it: the node itself, and WhatsOnChain and ARC in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from mesh.clock import SystemClock
from sandbox.explorers.faults import Faults
from sandbox.explorers.server import Explorers, running_explorers
from sandbox.node import BsvNode
from services.chain.adapters.arc import Arc
from services.chain.adapters.callbacks import Callbacks
from services.chain.adapters.http import Access, HttpSource
from services.chain.adapters.node import RpcNode, open_node
from services.chain.adapters.whatsonchain.reader import WhatsOnChain
from services.chain.adapters.whatsonchain.sending import WhatsOnChainSender
from services.chain.domain.values import Network, Txid
from tests.fixtures_explorers import ARC_KEY, WOC_KEY, explorers_settings

FAST = 1000
# Longer than any answer takes that comes at all; what stays silent is given less by its test.
TIMEOUT_S = 60.0


async def hints_now(callbacks: Callbacks) -> list[Txid]:
    """All hints that wait; they come without a pause."""
    found: list[Txid] = []

    async def take() -> None:
        async for txid in callbacks.transactions():
            found.append(txid)

    taking = asyncio.create_task(take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    return found


@dataclass(frozen=True)
class Outside:
    """Everything there is, over one node."""

    node: RpcNode
    explorers: Explorers
    session: aiohttp.ClientSession

    @property
    def faults(self) -> Faults:
        return self.explorers.faults

    def woc(self, *, key: str = WOC_KEY, per_s: int = FAST, timeout_s: float = TIMEOUT_S) -> HttpSource:
        headers = {"woc-api-key": key} if key else {}
        access = Access("WhatsOnChain", self.explorers.woc_url, headers, per_s, timeout_s)
        return HttpSource(self.session, access, SystemClock())

    def arc_source(self, *, timeout_s: float = TIMEOUT_S) -> HttpSource:
        headers = {"Authorization": f"Bearer {ARC_KEY}"}
        access = Access("ARC", self.explorers.arc_url, headers, FAST, timeout_s)
        return HttpSource(self.session, access, SystemClock())

    def reader(self, **how: object) -> WhatsOnChain:
        return WhatsOnChain(self.woc(**how), Network.REGTEST, SystemClock())  # type: ignore[arg-type]

    def woc_sender(self) -> WhatsOnChainSender:
        return WhatsOnChainSender(self.woc())

    def arc(self, callback: dict[str, str] | None = None, *, timeout_s: float = TIMEOUT_S) -> Arc:
        return Arc(self.arc_source(timeout_s=timeout_s), callback or {}, wait_s=1)


@asynccontextmanager
async def opened_outside(node: BsvNode) -> AsyncIterator[Outside]:
    async with (
        open_node(node.url, TIMEOUT_S) as rpc,
        running_explorers(explorers_settings(node)) as explorers,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{explorers.woc_url}/chain/info", headers={"woc-api-key": WOC_KEY}):
            pass  # it has read the chain now
        yield Outside(rpc, explorers, session)
