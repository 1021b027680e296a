"""Reading blocks in order: what stands in them is applied, and undone when they leave the winning chain.

The pointer `scanned` survives a restart: the last block whose contents were applied, with the one that was
begun. Applying or undoing a block may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh import logs
from services.chain.app.accounts import Accounts
from services.chain.app.books import BLOCK, Books
from services.chain.app.deposits import Deposits
from services.chain.app.headers import SCANNED
from services.chain.app.orders import Work
from services.chain.app.ports import LATE_BLOCKS, ChainReader
from services.chain.app.undoing import Undoing
from services.chain.app.wallet import Wallet
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.header import Block
from services.chain.domain.scan import Findings, Interest
from services.chain.domain.states import TxState
from services.chain.domain.values import BlockHash, Purpose, Txid

log = logs.logger(__name__)


class Reader:
    """Applies what stands in blocks: deposits, and our own transactions."""

    def __init__(
        self,
        *,
        books: Books,
        accounts: Accounts,
        deposits: Deposits,
        wallet: Wallet,
        work: Mapping[Purpose, Work],
        node: ChainReader,
        undoing: Undoing,
        final_depth: int,
    ) -> None:
        self._undoing = undoing
        self._books = books
        self._records = books.records
        self._accounts = accounts
        self._deposits = deposits
        self._wallet = wallet
        self._work = work
        self._node = node
        self._final_depth = final_depth
        # Whether what was told late so far was applied to its end.
        self._heeded = False

    async def catch_up(self) -> None:
        """Applies blocks until the last one applied is the tip. Raises NodeUnavailable, RemoteFailure."""
        while await self._step():
            pass
        self._books.settled(BLOCK)
        for block in self._books.chain.trim(self._books.chain.tip.height):
            await self._records.blocks.delete(block.hash)
        await self._catch_up_late()
        await self._deposits.credit_due()
        await self._finish_deep()

    async def _catch_up_late(self) -> None:
        """Applies what a source knew of too late. Should its block leave the chain, it is undone with it."""
        chain = self._books.chain
        lowest = chain.lowest.height
        blocks = [
            chain.at(height)
            for height in range(max(lowest, chain.tip.height - LATE_BLOCKS), chain.tip.height + 1)
        ]
        found = await self._node.overlooked(
            [block for block in blocks if block], self._interest(), afresh=not self._heeded
        )
        self._heeded = False
        for block_hash, late in found.items():
            if (block := chain.get(block_hash)) is not None:
                await self._found(block, late)
        self._heeded = True

    async def _step(self) -> bool:
        """One step towards the tip: what is done is written down, and what is begun before it is begun.

        So a block that was half applied when the chain left it is undone, and one that was half undone when
        the chain came back to it is undone whole, and applied again.
        """
        kept = await self._records.pointers.get(SCANNED)
        if kept is None:
            raise NodeUnavailable("the record of the last block read is missing")
        chain, here, begun = self._books.chain, BlockHash(kept.value.block_hash), BlockHash(kept.value.begun)
        block = chain.get(here)
        if kept.value.undoing:
            await self._undoing.undo(begun)
            after = replace(kept.value, begun="", undoing=False)
        elif begun and chain.get(begun) is None:
            after = replace(kept.value, undoing=True)
        elif block is None:
            known = await self._records.blocks.get(here)
            if known is None:
                raise NodeUnavailable(f"block {here} is no longer known: the chain changed too deeply")
            after = replace(kept.value, block_hash=known.value.previous_hash, begun=here, undoing=True)
        elif block == chain.tip:
            return False
        else:
            following = chain.at(block.height + 1)
            if following is None:
                raise NodeUnavailable(f"no block at {block.height + 1}")
            if begun:
                await self._apply(following)
                after = replace(kept.value, block_hash=following.hash, begun="")
            else:
                after = replace(kept.value, begun=following.hash)
        await self._records.pointers.put(kept, after)
        return True

    async def _apply(self, block: Block) -> None:
        await self._found(block, await self._node.findings(block, self._interest()))

    def _interest(self) -> Interest:
        """As it is now: whoever is asked works on it while all of this goes on."""
        own = frozenset(tx.txid for tx in self._books.live())
        return self._accounts.interest(own, frozenset(self._books.coins))

    async def _found(self, block: Block, found: Findings) -> None:
        await self._deposits.found(found.payments, block)
        await self._deposits.credit_due()
        for txid in found.ours:
            await self._mined(txid, block)
        for conflict in found.conflicts:
            await self._wallet.lost(conflict.outpoint, conflict.txid, block)
        _log_findings(block, found)

    async def _mined(self, txid: Txid, block: Block) -> None:
        kept = self._books.tx_of(txid)
        if kept is None:
            return
        async with self._books.settling(f"mined:{kept.value.plan}"):
            mined = replace(kept.value, state=TxState.MINED, block_hash=block.hash, block_height=block.height)
            kept = await self._books.put_tx(self._books.txs[mined.plan], mined)
            await self._work[mined.purpose].mined(mined)
            if mined.due_sats:
                await self._books.put_tx(kept, replace(mined, due_sats=0))

    async def _finish_deep(self) -> None:
        for kept in list(self._books.txs.values()):
            tx = kept.value
            if tx.state is TxState.MINED and self._books.confirmations(tx) >= self._final_depth:
                await self._wallet.finish(tx)


def _log_findings(block: Block, found: Findings) -> None:
    if found.payments or found.ours:
        log.info(
            "block applied",
            height=block.height,
            block=block.hash,
            payments=len(found.payments),
            ours=len(found.ours),
        )
