"""A chain of blocks that reorganises: payments move to other blocks, or lose against a double spend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

# Blocks before the first payment: the deepest reorganisation has something to undo.
GENESIS_BLOCKS = 101
DEPTHS = (1, 1, 2, 2, 6, 14, 100)


@dataclass(slots=True)
class Payment:
    """Coins sent to an address of ours."""

    txid: str
    vout: int
    user_id: str
    sats: int
    # Its block; none while it waits in the mempool.
    block: str | None = None
    # A double spend has won: it never comes back.
    lost: bool = False


@dataclass(frozen=True, slots=True)
class _Branch:
    """Blocks that lost, where they forked off, and the payments in them."""

    fork: int
    blocks: list[str]
    places: list[tuple[Payment, str]]


class Blockchain:
    """The winning chain, as a node shows it."""

    def __init__(self, random: Random, hex64: Callable[[], str]) -> None:
        self._random = random
        self._hex64 = hex64
        self.blocks = [hex64() for _ in range(GENESIS_BLOCKS)]
        self.payments: list[Payment] = []
        self._former: _Branch | None = None

    def pay(self, user_id: str, sats: int) -> None:
        """A payment reaches the mempool."""
        self.payments.append(Payment(self._hex64(), self._random.randint(0, 3), user_id, sats))

    def mine(self) -> None:
        """A block with some of what waits, most of the time all."""
        self._extend(self._hex64())

    def reorganise(self, depth: int) -> int:
        """Another branch wins; returns how many payments lost against a double spend in it.

        Sometimes it is the one that won before, with the same blocks again.
        """
        former = self._former
        if former is not None and self._random.random() < 0.3:
            length = len(self.blocks)
            self._former = self._cut(former.fork)
            self.blocks += former.blocks
            for payment, block in former.places:
                payment.block = None if payment.lost else block
            while len(self.blocks) <= length:
                self._extend(self._hex64())
            return 0
        self._former = branch = self._cut(len(self.blocks) - depth)
        lost = 0
        for payment, _ in branch.places:
            if self._random.random() < 0.15:
                payment.lost = True
                lost += 1
        for _ in range(depth + 1):
            self._extend(self._hex64())
        return lost

    def _cut(self, fork: int) -> _Branch:
        blocks = self.blocks[fork:]
        del self.blocks[fork:]
        orphaned = set(blocks)
        places: list[tuple[Payment, str]] = [
            (payment, payment.block) for payment in self.payments if payment.block in orphaned
        ]
        for payment, _ in places:
            payment.block = None
        return _Branch(fork, blocks, places)

    def _extend(self, block: str) -> None:
        self.blocks.append(block)
        for payment in self.payments:
            if payment.block is None and not payment.lost and self._random.random() < 0.8:
                payment.block = block
