"""Transactions that a real node in regtest accepts: one by one as the service sends them, and in batches."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench.chain.payments import DUST_SATS, NETWORK, SATS_PER_KB
from bench.chain.plan import Plan
from bench.chain.samples import Delivery, require
from sandbox.node import BsvNode, NodePorts, running_node
from sandbox.process import free_port
from sandbox.regtest import Regtest
from services.chain.adapters.node import RpcNode, open_node
from services.chain.app.ports import Broadcast
from services.chain.domain.keys import FLOAT, KeyRing
from services.chain.domain.spending import OUTPUTS_MAX, ChangeRule, Signed, Spendable, check, draft, sign
from services.chain.domain.values import Outpoint, Sats, Txid
from services.chain.domain.wire import Output

ONE_BY_ONE = "one by one, by the service's adapter"
TIMEOUT_S = 60.0
# What a coin of each payment holds, and what making a thousand of them needs besides.
COIN_SATS, SPLIT_SATS = 1_000, 10_000
PAID_SATS = 500


async def deliveries(plan: Plan) -> AsyncIterator[Delivery]:
    """Payments of one input and two outputs, each way another set of them; all get into a block."""
    ways = 1 + len(plan.batches)
    with tempfile.TemporaryDirectory(prefix="satreel-bench-") as folder:
        ports = NodePorts(rpc=free_port(), zmq=free_port())
        async with running_node(Path(folder), ports) as node, open_node(node.url, TIMEOUT_S) as adapter:
            purse = _Purse(node, Regtest(node.rpc))
            raws = await purse.payments(ways * plan.sent_thousands)
            share = len(raws) // ways
            yield await _one_by_one(node, adapter, raws[:share])
            await purse.mined(share)
            for place, size in enumerate(plan.batches, 1):
                yield await _batches(node, raws[place * share : (place + 1) * share], size)
                await purse.mined(share)


async def _one_by_one(node: BsvNode, adapter: RpcNode, raws: Sequence[bytes]) -> Delivery:
    with _watched(node, ONE_BY_ONE, len(raws)) as found:
        for raw in raws:
            sent = await adapter.send(raw, ())
            require(sent.outcome is Broadcast.ACCEPTED, f"the node says {sent}")
    return found.delivery


async def _batches(node: BsvNode, raws: Sequence[bytes], size: int) -> Delivery:
    with _watched(node, f"batches of {size:,}", len(raws)) as found:
        for start in range(0, len(raws), size):
            batch = [{"hex": raw.hex()} for raw in raws[start : start + size]]
            refused = await node.rpc.call("sendrawtransactions", batch, timeout_s=TIMEOUT_S)
            require(refused == {}, f"the node says {refused!r:.300}")
    return found.delivery


@dataclass(slots=True)
class _Watch:
    delivery: Delivery


@contextmanager
def _watched(node: BsvNode, way: str, transactions: int) -> Iterator[_Watch]:
    """Times what runs in the block, here and in the node."""
    found = _Watch(Delivery(way, transactions, 0.0, 0.0, 0.0))
    node_s, own_s, begun_s = _cpu_s(node), time.process_time(), time.perf_counter()
    yield found
    found.delivery = replace(
        found.delivery,
        seconds=time.perf_counter() - begun_s,
        own_cpu_s=time.process_time() - own_s,
        node_cpu_s=_cpu_s(node) - node_s,
    )


def _cpu_s(node: BsvNode) -> float:
    times = psutil.Process(node.child.pid).cpu_times()
    return float(times.user + times.system)


class _Purse:
    """Real coins, and payments of them."""

    def __init__(self, node: BsvNode, regtest: Regtest) -> None:
        self._rpc = node.rpc
        self._regtest = regtest
        self._ring = KeyRing(secrets.token_bytes(64), NETWORK)
        self._script = self._ring.key(FLOAT).script

    async def payments(self, thousands: int) -> list[bytes]:
        """So many thousand payments, each of a coin of its own that is in a block."""
        each_sats = OUTPUTS_MAX * COIN_SATS + SPLIT_SATS
        given = await self._regtest.fund(self._ring.address(FLOAT), thousands * each_sats + SPLIT_SATS)
        await self._regtest.mine()
        [many] = await self._split(
            [self._coin(Txid(given.txid), given.vout, given.sats)], thousands, each_sats
        )
        coins = await self._split(many, OUTPUTS_MAX, COIN_SATS)
        return [self._pay(coin, [PAID_SATS]).raw for split in coins for coin in split]

    async def _split(self, coins: Sequence[Spendable], parts: int, sats: int) -> list[list[Spendable]]:
        found = []
        for coin in coins:
            signed = self._pay(coin, [sats] * parts)
            await self._rpc.text("sendrawtransaction", signed.raw.hex())
            found.append([self._coin(signed.txid, vout, sats) for vout in range(parts)])
        await self._regtest.mine()
        return found

    async def mined(self, count: int) -> None:
        """Raises RuntimeError unless the next block has so many transactions besides its own."""
        [block] = await self._regtest.mine()
        header = await self._rpc.record("getblockheader", block, True)
        require(header.get("num_tx") == count + 1, f"{header.get('num_tx')} transactions in the block")

    def _coin(self, txid: Txid, vout: int, sats: int) -> Spendable:
        return Spendable(Outpoint(txid, vout), Sats(sats), FLOAT, self._script)

    def _pay(self, coin: Spendable, amounts: Sequence[int]) -> Signed:
        outputs = [Output(Sats(sats), self._script) for sats in amounts]
        found = draft(outputs, [coin], ChangeRule(self._script, dust_sats=DUST_SATS), SATS_PER_KB)
        check(found, SATS_PER_KB, DUST_SATS)
        return sign(found, self._ring.key)
