"""What the node does not keep: transactions by block, spenders by output, outputs by address.

Read from the node's best chain and mempool, block by block; blocks that leave the chain are taken out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sandbox.explorers.wire import Outpoint
from sandbox.rpc import NodeRefused, NodeRpc, sats_of

FULL_TRANSACTIONS = 2
NEWS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Output:
    """An output. `address` is empty when its script has none."""

    txid: str
    vout: int
    sats: int
    script_hex: str
    address: str


@dataclass(frozen=True, slots=True)
class IndexedTx:
    """A transaction as far as it is looked up."""

    txid: str
    spends: tuple[Outpoint, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class IndexedBlock:
    """A block of the best chain."""

    hash: str
    height: int
    time: int
    txs: tuple[IndexedTx, ...]

    @property
    def txids(self) -> list[str]:
        """Its transactions, in order."""
        return [tx.txid for tx in self.txs]


@dataclass(slots=True)
class _Entries:
    """What the transactions of the chain, or of the mempool, come to."""

    txs: dict[str, IndexedTx] = field(default_factory=dict)
    spenders: dict[Outpoint, tuple[str, int]] = field(default_factory=dict)
    by_address: dict[str, dict[Outpoint, Output]] = field(default_factory=dict)

    def add(self, tx: IndexedTx) -> None:
        self.txs[tx.txid] = tx
        self.spenders |= {outpoint: (tx.txid, vin) for vin, outpoint in enumerate(tx.spends)}
        for output in tx.outputs:
            self.by_address.setdefault(output.address, {})[output.txid, output.vout] = output

    def remove(self, tx: IndexedTx) -> None:
        del self.txs[tx.txid]
        for outpoint in tx.spends:
            self.spenders.pop(outpoint, None)
        for output in tx.outputs:
            del self.by_address[output.address][output.txid, output.vout]


class ChainIndex:
    """One node's chain. `sync` first, then look things up. Raises RpcFailure where the node fails."""

    def __init__(self, rpc: NodeRpc) -> None:
        self._rpc = rpc
        self._blocks: list[IndexedBlock] = []
        self._by_hash: dict[str, IndexedBlock] = {}
        self._by_txid: dict[str, IndexedBlock] = {}
        self.mined, self.waiting = _Entries(), _Entries()
        self._news: set[asyncio.Queue[IndexedBlock]] = set()
        self._one_at_a_time = asyncio.Lock()

    @property
    def height(self) -> int:
        """Of the best block."""
        return len(self._blocks) - 1

    def block_at(self, height: int) -> IndexedBlock | None:
        """The block of the best chain at this height."""
        return self._blocks[height] if 0 <= height < len(self._blocks) else None

    def block_by_hash(self, block_hash: str) -> IndexedBlock | None:
        """The block of this hash, if it is on the best chain."""
        return self._by_hash.get(block_hash)

    def block_of(self, txid: str) -> IndexedBlock | None:
        """The block of the best chain that has the transaction."""
        return self._by_txid.get(txid)

    def rivals(self, txid: str, spends: Iterable[Outpoint]) -> tuple[list[str], list[str]]:
        """Other transactions that spend one of these outputs: those mined, and those that wait."""
        found = []
        for entries in (self.mined, self.waiting):
            spenders = (entries.spenders.get(outpoint) for outpoint in spends)
            found.append(sorted({spender[0] for spender in spenders if spender} - {txid}))
        return found[0], found[1]

    @contextmanager
    def news(self) -> Iterator[asyncio.Queue[IndexedBlock]]:
        """Blocks as they join the best chain, lowest first; who is too slow misses some."""
        queue: asyncio.Queue[IndexedBlock] = asyncio.Queue(NEWS_MAX)
        self._news.add(queue)
        try:
            yield queue
        finally:
            self._news.discard(queue)

    async def sync(self) -> None:
        """Catch up with the node."""
        async with self._one_at_a_time:
            await self._follow_chain(await self._rpc.text("getbestblockhash"))
            await self._follow_mempool(await self._rpc.texts("getrawmempool"))

    async def _follow_chain(self, best: str) -> None:
        joining: list[IndexedBlock] = []
        news = self._news if self._blocks else ()  # what was there before is none
        wanted = best
        while wanted and wanted not in self._by_hash:
            block, wanted = await self._read_block(wanted)
            joining.append(block)
        fork = self._by_hash[wanted].height if wanted else -1
        while self.height > fork:
            self._disconnect(self._blocks[-1])
        for block in reversed(joining):
            self._connect(block)
            for queue in news:
                if not queue.full():
                    queue.put_nowait(block)

    async def _follow_mempool(self, txids: list[str]) -> None:
        for gone in self.waiting.txs.keys() - set(txids):
            self.waiting.remove(self.waiting.txs[gone])
        for txid in txids:
            if txid not in self.waiting.txs:
                try:
                    found = await self._rpc.record("getrawtransaction", txid, True)
                except NodeRefused:
                    continue  # gone since it was listed
                self.waiting.add(_tx(found))

    async def _read_block(self, block_hash: str) -> tuple[IndexedBlock, str]:
        """The block, and the hash of the one below; "" for the first."""
        found = await self._rpc.record("getblock", block_hash, FULL_TRANSACTIONS)
        txs = tuple(_tx(tx) for tx in _items(found["tx"]))
        block = IndexedBlock(block_hash, int(str(found["height"])), int(str(found["time"])), txs)
        return block, str(found.get("previousblockhash", ""))

    def _connect(self, block: IndexedBlock) -> None:
        self._blocks.append(block)
        self._by_hash[block.hash] = block
        for tx in block.txs:
            self._by_txid[tx.txid] = block
            self.mined.add(tx)

    def _disconnect(self, block: IndexedBlock) -> None:
        self._blocks.pop()
        del self._by_hash[block.hash]
        for tx in reversed(block.txs):
            del self._by_txid[tx.txid]
            self.mined.remove(tx)


def _tx(found: dict[str, object]) -> IndexedTx:
    txid = str(found["txid"])
    spends = tuple((str(i["txid"]), int(str(i["vout"]))) for i in _items(found["vin"]) if "txid" in i)
    return IndexedTx(txid, spends, tuple(_output(txid, output) for output in _items(found["vout"])))


def _output(txid: str, found: dict[str, object]) -> Output:
    script = found["scriptPubKey"]
    if not isinstance(script, dict):
        raise TypeError("the node gave an output without a script")
    address = "".join(script.get("addresses", [])[:1])
    return Output(txid, int(str(found["n"])), sats_of(found["value"]), str(script["hex"]), address)


def _items(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
