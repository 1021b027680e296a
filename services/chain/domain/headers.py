"""The winning chain as this service knows it: its newest blocks, and how it moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.chain.domain.consensus import Consensus
from services.chain.domain.header import Block, Header
from services.chain.domain.values import BlockHash

NS_PER_S = 1_000_000_000
WINDOW_BLOCKS = 300
"""Headers kept at least: the deepest reorganisation that is followed by itself."""


class NotLinked(ValueError):  # noqa: N818 - an answer, as failures are
    """The blocks do not hang together, or not on this chain."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The winning chain moved: blocks that left it, highest first, and that joined it, lowest first."""

    orphaned: tuple[Block, ...]
    connected: tuple[Block, ...]


class HeaderChain:
    """A window of the winning chain, lowest first, linked by hashes; what joins it keeps the rules."""

    def __init__(self, blocks: Iterable[Block], consensus: Consensus) -> None:
        self.consensus = consensus
        self._blocks: list[Block] = []
        self._by_hash: dict[BlockHash, Block] = {}
        for block in blocks:
            self._append(block)
        if not self._blocks:
            raise NotLinked("a chain has at least one block")

    @classmethod
    def begin(cls, headers: Sequence[Header], height: int, consensus: Consensus, now_ns: int) -> HeaderChain:
        """A chain that begins with these, lowest first, the lowest at this height. Raises BadHeader."""
        lowest, *above = headers
        consensus.check_start(lowest, height)
        chain = cls([Block.first(lowest, height, now_ns)], consensus)
        if above:
            chain.apply(chain.plan(above, now_ns))
        return chain

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All of them, the lowest first."""
        return tuple(self._blocks)

    @property
    def tip(self) -> Block:
        """The best block."""
        return self._blocks[-1]

    @property
    def lowest(self) -> Block:
        """The lowest block still known."""
        return self._blocks[0]

    def get(self, block_hash: BlockHash) -> Block | None:
        """The block of this hash, if it is on the chain and in the window."""
        return self._by_hash.get(block_hash)

    def at(self, height: int) -> Block | None:
        """The block at this height, if it is in the window."""
        place = height - self.lowest.height
        return self._blocks[place] if 0 <= place < len(self._blocks) else None

    def confirmations(self, height: int) -> int:
        """Blocks on top of and including this height; 0 for height 0, which stands for "unmined"."""
        return max(0, self.tip.height - height + 1) if height else 0

    def plan(self, branch: Sequence[Header], now_ns: int) -> Switch:
        """What would leave and join if this branch (lowest first), seen now, won.

        Raises NotLinked when it does not begin on the chain, BadHeader when one of it breaks a rule.
        """
        fork = self.get(branch[0].previous_hash) if branch else None
        if fork is None:
            raise NotLinked("the branch does not begin on the chain")
        base = fork.height
        connected: list[Block] = []

        def at(height: int) -> Block | None:
            return self.at(height) if height <= base else connected[height - base - 1]

        parent = fork
        for header in branch:
            self.consensus.check_next(header, parent, at, now_ns // NS_PER_S)
            parent = parent.next(header, now_ns)
            connected.append(parent)
        return Switch(tuple(reversed(self._blocks[base - self.lowest.height + 1 :])), tuple(connected))

    def apply(self, switch: Switch) -> None:
        """Moves the chain. Raises NotLinked."""
        if tuple(reversed(self._blocks[len(self._blocks) - len(switch.orphaned) :])) != switch.orphaned:
            raise NotLinked("the blocks to leave are not the newest")
        for block in switch.orphaned:
            self._blocks.pop()
            del self._by_hash[block.hash]
        for block in switch.connected:
            self._append(block)

    def trim(self, height: int) -> list[Block]:
        """Forgets blocks below `height` that are more than the window; returns them."""
        surplus = min(len(self._blocks) - WINDOW_BLOCKS, height - self.lowest.height)
        dropped = self._blocks[: max(0, surplus)]
        del self._blocks[: len(dropped)]
        for block in dropped:
            del self._by_hash[block.hash]
        return dropped

    def _append(self, block: Block) -> None:
        if self._blocks:
            below = self._blocks[-1]
            if block.previous_hash != below.hash or block.height != below.height + 1:
                raise NotLinked(f"block {block.hash} does not follow {below.hash}")
        self._blocks.append(block)
        self._by_hash[block.hash] = block
