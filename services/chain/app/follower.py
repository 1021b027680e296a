"""Following the chain: headers first and at once; what stands in the blocks is read by `reader`.

The pointer `tip` survives a restart: the best block, and the event that led to it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mesh import logs
from mesh.clock import Clock
from services.chain.app.books import Books
from services.chain.app.freshness import Freshness
from services.chain.app.headers import TIP, broken, lie, read_header
from services.chain.app.ports import ChainReader, Found, News
from services.chain.app.records import Kept, Pointer
from services.chain.domain.consensus import BadHeader
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block
from services.chain.domain.headers import Switch
from services.chain.domain.values import BlockHash

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
            try:  # a long way down shall not be had for nothing
                chain.consensus.check_start(branch[-1].header, branch[-1].height)
            except BadHeader as problem:
                raise self._blamed(broken(problem)) from problem
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
