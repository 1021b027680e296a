"""A node in memory: a mempool, blocks, reorganisations, scripts checked by the SDK; and faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bsv.constants import SIGHASH
from bsv.hash import hash160
from bsv.keys import PublicKey
from bsv.script.script import Script
from bsv.transaction import Transaction as SdkTransaction
from bsv.transaction_preimage import tx_preimage

from services.chain.app.ports import Broadcast, Found, Sent
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.header import Block, Header, meets_target
from services.chain.domain.inscriptions import key_hash_paid
from services.chain.domain.merkle import root_of
from services.chain.domain.scan import Findings, Interest, scan
from services.chain.domain.values import BlockHash, Network, Outpoint, Sats, Txid
from services.chain.domain.wire import (
    Output,
    Spent,
    Transaction,
    assemble,
    parse_transaction,
    sha256d,
)

BITS = 0x207FFFFF


def ground(header: Header) -> Header:
    """The header with a nonce that is its proof of work."""
    while not meets_target(header.hash, header.bits):
        header = replace(header, nonce=header.nonce + 1)
    return header


@dataclass
class Mined:
    block: Block
    txs: list[Transaction]


class SimNode:
    """One node. `down` makes it silent; `sends` says how the next sendings end."""

    def __init__(self, salt: int = 0) -> None:
        self.down = False
        self.blamed: list[tuple[str, bool]] = []
        self.sends: list[str] = []
        self.sent: list[Txid] = []
        self.pool: dict[Txid, Transaction] = {}
        self.condemned: set[BlockHash] = set()
        self._faucets = 0
        genesis = Block.first(ground(Header(1, BlockHash(""), f"{salt:064x}", 0, BITS, 0)), 0, 0)
        if not salt:
            genesis = Block.first(CONSENSUS[Network.REGTEST].genesis, 0, 0)
        self.blocks: dict[BlockHash, Mined] = {genesis.hash: Mined(genesis, [])}
        self.tip = genesis.hash
        self._salt = salt
        for _ in range(3):
            self.mine()

    # what tests do

    def fund(self, script: bytes, sats: int, faucet: int | None = None) -> Transaction:
        """A payment from outside into the mempool; the same faucet twice is a double spend."""
        if faucet is None:
            self._faucets += 1
            faucet = self._faucets
        source = Outpoint(Txid(sha256d(f"faucet {faucet}".encode()).hex()), 0)
        raw = assemble([Spent(source, Sats(sats), b"")], [b"\x51"], [Output(Sats(sats), script)])
        tx = parse_transaction(raw)
        for other in [one for one in self.pool.values() if source in one.spends]:
            self.evict(other.txid)
        self.pool[tx.txid] = tx
        return tx

    def evict(self, txid: Txid) -> None:
        """A transaction and those that spend it leave the mempool."""
        self.pool.pop(txid, None)
        for child in [one for one in self.pool.values() if any(point.txid == txid for point in one.spends)]:
            self.evict(child.txid)

    def mine(self, blocks: int = 1, *, only: Sequence[Txid] | None = None) -> BlockHash:
        """Blocks on the tip; the first one takes the mempool, or `only` these of it."""
        for _ in range(blocks):
            taken = [tx for tx in self.pool.values() if only is None or tx.txid in only]
            parent = self.blocks[self.tip].block
            self._salt += 1
            coinbase = Txid(sha256d(f"coinbase {self._salt}".encode()).hex())
            root = root_of([coinbase, *(tx.txid for tx in taken)])
            time_s = 1_700_000_000 + parent.height
            block = parent.next(ground(Header(1, parent.hash, root, time_s, BITS, 0)), 0)
            self.blocks[block.hash] = Mined(block, taken)
            self.tip = block.hash
            for tx in taken:
                del self.pool[tx.txid]
        return self.tip

    def rewind(self, depth: int) -> BlockHash:
        """The newest blocks are found invalid; their transactions wait again. Returns the old tip."""
        old = self.tip
        for _ in range(depth):
            mined = self.blocks[self.tip]
            self.condemned.add(self.tip)
            self.pool = {tx.txid: tx for tx in mined.txs} | self.pool
            self.tip = mined.block.previous_hash
        return old

    def jump(self, block_hash: BlockHash) -> None:
        """The chain that ends there wins, whatever was found of it before."""
        self.condemned -= set(self._chain(block_hash))
        chain = {tx.txid for hash_ in self._chain(block_hash) for tx in self.blocks[hash_].txs}
        lost = [
            tx for hash_ in self._chain(self.tip) for tx in self.blocks[hash_].txs if tx.txid not in chain
        ]
        self.tip = block_hash
        self.pool = {txid: tx for txid, tx in self.pool.items() if txid not in chain}
        self.pool |= {tx.txid: tx for tx in lost}

    def on_chain(self) -> list[Transaction]:
        """All transactions of the winning chain."""
        return [tx for hash_ in self._chain(self.tip) for tx in self.blocks[hash_].txs]

    def paid(self, script: bytes) -> list[int]:
        """What the winning chain pays to a script."""
        return [out.sats for tx in self.on_chain() for out in tx.outputs if out.script == script]

    # what the service sees

    async def best(self) -> BlockHash:
        self._reach()
        return self.tip

    async def header(self, block_hash: BlockHash) -> Found | None:
        self._reach()
        mined = self.blocks.get(block_hash)
        if mined is None:
            return None
        chain = self._chain(self.tip)
        height, block = self.blocks[self.tip].block.height, mined.block
        confirmations = height - block.height + 1 if block_hash in chain else -1
        return Found(block.header, block.height, confirmations, condemned=block_hash in self.condemned)

    async def hash_at(self, height: int) -> BlockHash | None:
        self._reach()
        chain = {self.blocks[hash_].block.height: hash_ for hash_ in self._chain(self.tip)}
        return chain.get(height)

    async def findings(self, block: Block, interest: Interest) -> Findings:
        self._reach()
        return scan(self.blocks[block.hash].txs, interest)

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        return {}

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        how = self.sends.pop(0) if self.sends else "take"
        if self.down or how == "lose":
            return Sent(Broadcast.UNKNOWN, "no answer")
        if how == "refuse":
            return Sent(Broadcast.REJECTED, "-26 16: mandatory-script-verify-flag-failed")
        if how == "full":
            return Sent(Broadcast.REFUSED, "-26 66: mempool min fee not met")
        sent = self._take(parse_transaction(raw))
        return Sent(Broadcast.UNKNOWN, "the answer was lost") if how == "take and lose" else sent

    async def pending(self, interest: Interest) -> Sequence[Txid]:
        self._reach()
        return list(self.pool)

    async def waiting(self, txids: Sequence[Txid]) -> set[Txid]:
        self._reach()
        return {txid for txid in txids if txid in self.pool}

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        self._reach()
        return {txid: self.pool[txid].raw for txid in txids if txid in self.pool}

    async def ask(self, txid: Txid) -> Sent:
        there = not self.down and txid in self.pool
        return Sent(Broadcast.ACCEPTED if there else Broadcast.UNKNOWN)

    def blame(self, why: str, *, lied: bool) -> None:
        self.blamed.append((why, lied))

    async def unspent(self, outpoints: Sequence[Outpoint]) -> set[Outpoint]:
        self._reach()
        known = {one.txid: one for one in [*self.on_chain(), *self.pool.values()]}
        spent = {point for one in known.values() for point in one.spends}
        return {point for point in outpoints if point.txid in known and point not in spent}

    def _reach(self) -> None:
        if self.down:
            raise NodeUnavailable

    def _chain(self, tip: BlockHash) -> list[BlockHash]:
        found = []
        while tip in self.blocks:
            found.append(tip)
            tip = self.blocks[tip].block.previous_hash
        return found

    def _take(self, tx: Transaction) -> Sent:
        known = {one.txid: one for one in [*self.on_chain(), *self.pool.values()]}
        if tx.txid in known:
            return Sent(Broadcast.ACCEPTED, "-27 Transaction already in the mempool")
        if any(point.txid not in known for point in tx.spends):
            return Sent(Broadcast.UNKNOWN, "-25 Missing inputs")
        spent = {point for one in known.values() for point in one.spends}
        if any(point in spent for point in tx.spends):
            return Sent(Broadcast.CONTESTED, "-26 258: txn-mempool-conflict")
        check_scripts(tx, known)
        self.pool[tx.txid] = tx
        self.sent.append(tx.txid)
        return Sent(Broadcast.ACCEPTED)


def check_scripts(tx: Transaction, known: Mapping[Txid, Transaction]) -> None:
    """Every input's script and the sum of values, judged by the SDK, which made none of it."""
    sdk = SdkTransaction.from_hex(tx.raw.hex())
    assert sdk is not None
    assert sdk.txid() == tx.txid
    sources = [known[point.txid].outputs[point.vout] for point in tx.spends]
    assert sum(out.sats for out in sources) >= sum(out.sats for out in tx.outputs)
    for given, source in zip(sdk.inputs, sources, strict=True):
        given.satoshis, given.locking_script = source.sats, Script(source.script)
        given.sighash = SIGHASH.ALL_FORKID
    for place, (given, source) in enumerate(zip(sdk.inputs, sources, strict=True)):
        assert given.unlocking_script is not None
        signature, public_key = (chunk.data for chunk in given.unlocking_script.chunks)
        assert signature is not None
        assert public_key is not None
        assert key_hash_paid(source.script) == hash160(public_key)
        assert signature[-1] == SIGHASH.ALL_FORKID
        preimage = tx_preimage(place, sdk.inputs, sdk.outputs, sdk.version, sdk.locktime)
        assert PublicKey(public_key).verify(signature[:-1], preimage)
