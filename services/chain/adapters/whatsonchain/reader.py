"""Reading the chain from WhatsOnChain: headers as they hash, transactions as they are proved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mesh import logs
from mesh.clock import Clock
from services.chain.adapters.http import HttpSource, OutOfReach, TooLong
from services.chain.adapters.whatsonchain.histories import Histories
from services.chain.adapters.whatsonchain.shapes import (
    CHAIN_INFO,
    HEADER,
    PROOFS,
    SPENDER,
    STATUSES,
    TxStatus,
)
from services.chain.app.ports import LATE_BLOCKS, Found
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block
from services.chain.domain.merkle import BadProof, Branch, check_included, node_of
from services.chain.domain.scan import Findings, Interest, scan
from services.chain.domain.tsc import REPEATED, TscProof
from services.chain.domain.values import BlockHash, Network, Outpoint, Txid
from services.chain.domain.wire import BadBytes, Transaction, parse_transaction, sha256d, txid_of

log = logs.logger(__name__)

TXIDS_MAX, TXID_DIGITS = 20, 64
TX_BYTES_MAX = 32 << 20
"""A longer transaction is not read: nobody pays a deposit with one, and its bytes would be held at once."""
TOLD_KEPT = 10_000
HEIGHT_MAX = 1 << 31


class WhatsOnChain:
    """`ChainReader` over WhatsOnChain."""

    def __init__(self, source: HttpSource, network: Network, clock: Clock) -> None:
        self._source = source
        self._network = network
        self._histories = Histories(source, network, clock)
        self._tip = BlockHash("")
        self._read_height = HEIGHT_MAX
        # As long as the tip is the same they are, too: a long way down is not begun again and again.
        self._headers: dict[BlockHash, Found] = {}
        # Transactions that were proved and told, with their blocks.
        self._told: dict[Txid, BlockHash] = {}

    async def best(self) -> BlockHash:
        """Hash of its best block."""
        info = (await self._source.get("/chain/info")).read(CHAIN_INFO)
        if info.chain != self._network:
            raise SourceLies(f"{self._source.name} is of the network {info.chain[:20]!r}")
        if self._tip != info.bestblockhash:
            self._tip = BlockHash(info.bestblockhash)
            self._headers.clear()
        return self._tip

    async def header(self, block_hash: BlockHash) -> Found | None:
        """A header, or None when it does not know the block."""
        if (known := self._headers.get(block_hash)) is not None:
            return known
        found = await self._header(block_hash)
        if found is not None and found.header.hash == block_hash:
            self._headers[block_hash] = found
        return found

    async def hash_at(self, height: int) -> BlockHash | None:
        """The block at this height of its best chain."""
        found = await self._header(str(height))
        if found is not None and found.height != height:
            raise SourceLies(f"the block at {height} says it is at {found.height}")
        return None if found is None else found.header.hash

    async def _header(self, which: str) -> Found | None:
        answer = await self._source.get(f"/block/{which}/header")
        if answer.status == 404:
            return None
        shape = answer.read(HEADER)
        if shape.header.hash != shape.hash:
            raise SourceLies(f"the header of {shape.hash} hashes to {shape.header.hash}")
        return Found(shape.header, shape.height, shape.confirmations)

    async def findings(self, block: Block, interest: Interest) -> Findings:
        """What in this block concerns us, as far as it is proved."""
        await self.best()  # what was asked under another tip is asked again
        found = await self.header(block.hash)
        if found is None or found.confirmations < 1:
            raise NodeUnavailable(f"{self._source.name} does not have block {block.hash} on its chain")
        self._read_height = block.height
        heights = await self._histories.confirmed(interest.scripts, self._tip, block.height - LATE_BLOCKS)
        touched = {txid for txid, height in heights.items() if height == block.height}
        own = {txid for txid, height in (await self._mined(interest.own)).items() if height == block.height}
        return await self._proved(block, touched | own, interest)

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        """What in these blocks its index came to know after they were read."""
        if not blocks:
            return {}
        if afresh:
            self._told.clear()
        heights = await self._histories.confirmed(interest.scripts, self._tip, blocks[0].height, again=True)
        heights = heights | await self._mined([txid for txid in interest.own if txid not in self._told])
        found: dict[BlockHash, Findings] = {}
        for block in blocks:
            late = {txid for txid, height in heights.items() if height == block.height}
            late = {txid for txid in late if self._told.get(txid) != block.hash}
            if late:
                found[block.hash] = await self._proved(block, late, interest)
        return found

    async def _proved(self, block: Block, txids: Collection[Txid], interest: Interest) -> Findings:
        """What the transactions mean to us, those that are proved to stand in the block."""
        ours: list[Txid] = []
        others: list[tuple[int, Transaction]] = []
        for txid in txids:
            branch = await self._branch(txid, block)
            raw = None if branch is None or txid in interest.own else await self._raw(txid)
            if branch is None or (raw is None and txid not in interest.own):
                log.warning("not proved to be in the block", txid=txid, block=block.hash)
                continue
            if raw is None:
                ours.append(txid)
            else:
                others.append((branch.index, _included(raw, branch, block)))
            self._told[txid] = block.hash
        while len(self._told) > TOLD_KEPT:
            del self._told[next(iter(self._told))]
        scanned = scan([tx for _, tx in sorted(others, key=lambda one: one[0])], interest)
        return replace(scanned, ours=ours)

    async def _branch(self, txid: Txid, block: Block) -> Branch | None:
        """The transaction's way up to the block's root; None when there is none to this block."""
        answer = await self._source.get(f"/tx/{txid}/proof/tsc")
        proofs = None if answer.status == 404 else answer.read(PROOFS)
        try:
            for proof in (TscProof.parse(_starred(found)) for found in proofs or []):
                # One of another block is no lie: the chain may have moved meanwhile.
                if proof.txid == txid and proof.target == block.hash:
                    _check_root(proof.branch, txid, block)
                    return proof.branch
        except BadProof as problem:
            raise SourceLies(f"{txid} in {block.hash}: {problem}") from problem
        return None

    async def pending(self, interest: Interest) -> Sequence[Txid]:
        """Transactions that wait to be mined and touch an address of ours."""
        return await self._histories.unconfirmed(interest.scripts)

    async def waiting(self, txids: Sequence[Txid]) -> set[Txid]:
        """Those of the transactions that wait to be mined, or stand in a block that was not read yet."""
        statuses = await self._statuses(txids)
        return {
            Txid(one.txid)
            for one in statuses
            if not one.error and (not one.blockheight or one.blockheight > self._read_height)
        }

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Raw transactions, those that it knows."""
        found = {txid: await self._raw(txid) for txid in txids}
        return {txid: raw for txid, raw in found.items() if raw is not None}

    async def unspent(self, outpoints: Sequence[Outpoint]) -> set[Outpoint]:
        """Those of the outputs that are there and that no transaction spends."""
        known = await self._statuses(sorted({point.txid for point in outpoints}))
        there = {one.txid for one in known if not one.error}
        return {point for point in outpoints if point.txid in there and await self._is_unspent(point)}

    async def _is_unspent(self, point: Outpoint) -> bool:
        """Of an output that it knows: nobody has heard of a spender."""
        answer = await self._source.get(f"/tx/{point.txid}/{point.vout}/spent")
        if answer.status == 404:
            return True
        answer.read(SPENDER)
        return False

    async def proof(self, txid: Txid) -> object | None:
        """The TSC proof that a transaction is in a block, as JSON; None: in none. Whoever asks checks it."""
        answer = await self._source.get(f"/tx/{txid}/proof/tsc")
        proofs = [] if answer.status == 404 else answer.read(PROOFS)
        return _starred(proofs[0]) if proofs else None

    def blame(self, why: str, *, lied: bool) -> None:
        """Nothing: whoever has several sources draws the conclusions."""

    async def _mined(self, txids: Collection[Txid]) -> dict[Txid, int]:
        """Heights of those that are said to be in a block."""
        statuses = await self._statuses(list(txids))
        return {Txid(one.txid): one.blockheight for one in statuses if not one.error and one.blockheight}

    async def _statuses(self, txids: Sequence[Txid]) -> list[TxStatus]:
        found: list[TxStatus] = []
        for start in range(0, len(txids), TXIDS_MAX):
            chunk = txids[start : start + TXIDS_MAX]
            statuses = (await self._source.post("/txs/status", {"txids": list(chunk)})).read(STATUSES)
            if sorted(one.txid for one in statuses) != sorted(chunk):
                raise OutOfReach("not one status for each transaction that was asked for")
            found += statuses
        return found

    async def _raw(self, txid: Txid) -> bytes | None:
        """A transaction's bytes: they hash to its id. None when it is not known, or too long to be read."""
        try:
            answer = await self._source.get(f"/tx/{txid}/hex", bytes_max=2 * TX_BYTES_MAX)
        except TooLong:
            log.warning("a transaction is too long to be read", txid=txid)
            return None
        if answer.status == 404:
            return None
        try:
            raw = bytes.fromhex(answer.body.decode("ascii").strip())
        except ValueError:
            raise OutOfReach(f"the bytes of {txid} are not hex") from None
        if txid_of(raw) != txid:
            raise SourceLies(f"the bytes of {txid} are another's")
        return raw


def _starred(found: dict[str, object]) -> dict[str, object]:
    """A proof with "*" for nodes that are repeated: WhatsOnChain may write them out. Raises BadProof."""
    match found:
        case {"txOrId": str(txid), "index": int(place), "nodes": [*nodes]} if len(txid) == TXID_DIGITS:
            node, starred = node_of(txid), list[object]()
            for level, text in enumerate(nodes):
                repeated = text == REPEATED or (text == node[::-1].hex() and not place >> level & 1)
                sibling = node if repeated else node_of(str(text))
                node = sha256d(sibling + node if place >> level & 1 else node + sibling)
                starred.append(REPEATED if repeated else text)
            return {**found, "nodes": starred}
    return found


def _check_root(branch: Branch, txid: Txid, block: Block) -> None:
    if branch.root(txid) != block.header.merkle_root:
        raise BadProof("the proof leads to another root")


def _included(raw: bytes, branch: Branch, block: Block) -> Transaction:
    try:
        check_included(raw, branch, block.header)
        return parse_transaction(raw)
    except (BadProof, BadBytes) as problem:
        raise SourceLies(f"what is proved to be in {block.hash} is no transaction: {problem}") from problem
