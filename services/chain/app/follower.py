"""Following the chain: headers first and at once, then what stands in the blocks, in order.

Two pointers survive a restart: `tip`, the best block and the event that led to it, and `scanned`, the last
block whose contents were applied, with the one that was begun. Applying or undoing a block may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from mesh import logs
from mesh.clock import Clock
from services.chain.app.accounts import Accounts
from services.chain.app.books import BLOCK, Books
from services.chain.app.deposits import Deposits
from services.chain.app.freshness import Freshness
from services.chain.app.headers import SCANNED, TIP, broken, lie, read_header
from services.chain.app.orders import Work
from services.chain.app.ports import LATE_BLOCKS, ChainReader, Found, News
from services.chain.app.records import Kept, Pointer
from services.chain.app.undoing import Undoing
from services.chain.app.wallet import Wallet
from services.chain.domain.consensus import BadHeader
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block
from services.chain.domain.headers import Switch
from services.chain.domain.scan import Findings, Interest
from services.chain.domain.states import TxState
from services.chain.domain.values import BlockHash, Purpose, Txid

log = logs.logger(__name__)

WALK_MAX = 10_000
"""Blocks that are caught up with in one go."""
LAG_BLOCKS = 2
"""So far behind ours a source is no longer up to date."""


class Follower:
    """Keeps our chain at the node's best one."""

    def __init__(
        self, *, books: Books, node: ChainReader, news: News, clock: Clock, freshness: Freshness
    ) -> None:
        self._books = books
        self._freshness = freshness
        self._records = books.records
        self._node = node
        self._news = news
        self._clock = clock
        self._noted = BlockHash("")
        self.moved = asyncio.Event()

    async def resume(self) -> None:
        """Tells the last event again if it is not certain that it was told."""
        kept = await self._records.pointers.get(TIP)
        if kept is None or kept.value.published:
            return
        pointer = kept.value
        found = await self._records.blocks.get_many([*pointer.orphaned, *pointer.connected])
        switch = Switch(
            tuple(found[key].value for key in pointer.orphaned if key in found),
            tuple(found[key].value for key in pointer.connected if key in found),
        )
        await self._publish(kept, switch)

    async def follow(self) -> bool:
        """Asks the node for its best block and moves there; whether the chain moved.

        Raises SourceLies, NodeUnavailable; nothing has changed then.
        """
        best = await self._node.best()
        chain = self._books.chain
        if best == chain.tip.hash:
            self._freshness.confirm()
            return False
        if (known := chain.get(best)) is not None:
            self._note(best, "the node's tip is behind ours")
            if (behind := chain.tip.height - known.height) >= LAG_BLOCKS:
                self._node.blame(f"its best block is {behind} behind ours", lied=False)
            return False
        switch = await self._switch(best)
        other = switch.connected[-1]
        if switch.orphaned and not await self._has_won(other):
            self._note(best, "a branch without more work is not followed")
            if other.work == chain.tip.work:
                self._freshness.confirm(rival=other)
            return False
        await self._move(switch)
        self._freshness.confirm()
        return True

    def _note(self, best: BlockHash, what: str) -> None:
        """Says why the node's best block is not followed, once."""
        if best != self._noted:
            log.warning(what, node=best, ours=self._books.chain.tip.hash)
            self._noted = best

    async def _switch(self, best: BlockHash) -> Switch:
        """What would leave and join our chain if it moved to the node's best block, checked."""
        branch = await self._branch(best)
        try:
            switch = self._books.chain.plan([found.header for found in branch], self._clock.now_ns())
        except BadHeader as problem:
            raise self._blamed(broken(problem)) from problem
        if [found.height for found in branch] != [block.height for block in switch.connected]:
            raise self._blamed(lie(f"the heights up to block {best} are not those of its chain"))
        return switch

    def _blamed(self, problem: NodeUnavailable) -> NodeUnavailable:
        if isinstance(problem, SourceLies):
            self._node.blame(problem.message, lied=True)
        return problem

    async def _branch(self, best: BlockHash) -> list[Found]:
        """Headers from ours to the node's best, the lowest first, each with its work."""
        chain, branch, wanted = self._books.chain, list[Found](), best
        while chain.get(wanted) is None:
            branch.append(await read_header(self._node, wanted, chain.consensus))
            if len(branch) > WALK_MAX or branch[-1].height <= chain.lowest.height:
                log.critical("the node's chain does not meet ours", tip=best, ours=chain.tip.hash)
                raise NodeUnavailable("the node's chain does not meet ours: another network, or too deep")
            wanted = branch[-1].header.previous_hash
        return branch[::-1]

    async def _has_won(self, tip: Block) -> bool:
        """Whether a branch beats our tip: it has more work, or the node found our tip to be invalid.

        Of two with the same work the first seen stays.
        """
        ours = self._books.chain.tip
        if tip.work > ours.work:
            return True
        found = await self._node.header(ours.hash)
        return found is not None and found.condemned

    async def _move(self, switch: Switch) -> None:
        kept = await self._records.pointers.get(TIP)
        if kept is None:
            raise NodeUnavailable("the tip's record is missing")
        await self._records.blocks.ensure_all(switch.connected)
        pointer = Pointer(
            TIP,
            switch.connected[-1].hash,
            sequence=kept.value.sequence + 1,
            at_ns=self._clock.now_ns(),
            orphaned=tuple(block.hash for block in switch.orphaned),
            connected=tuple(block.hash for block in switch.connected),
            published=False,
        )
        written = await self._records.pointers.put(kept, pointer)
        self._books.chain.apply(switch)
        await self._publish(written, switch)
        self.moved.set()
        if switch.orphaned:
            log.warning("reorganisation", depth=len(switch.orphaned), tip=pointer.block_hash)

    async def _publish(self, kept: Kept[Pointer], switch: Switch) -> None:
        self._news.blocks(f"{kept.value.sequence:016d}", kept.value.at_ns, switch)
        await self._records.pointers.put(kept, replace(kept.value, published=True))


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
        found = await self._node.overlooked([block for block in blocks if block], self._interest())
        for block_hash, late in found.items():
            if (block := chain.get(block_hash)) is not None:
                await self._found(block, late)

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
        return self._accounts.interest(frozenset(self._books.plans), frozenset(self._books.coins))

    async def _found(self, block: Block, found: Findings) -> None:
        await self._deposits.found(found.payments, block)
        await self._deposits.credit_due()
        for txid in found.ours:
            await self._mined(txid, block)
        for conflict in found.conflicts:
            await self._wallet.lost(conflict.outpoint, conflict.txid)
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
