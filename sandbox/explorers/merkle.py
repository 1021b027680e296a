"""Merkle proofs of a block's transactions, as WhatsOnChain (TSC) and ARC (BUMP, BRC-74) write them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.explorers.wire import varint

_HASH, _DUPLICATE, _TXID = b"\0", b"\1", b"\2"


@dataclass(frozen=True, slots=True)
class Step:
    """The sibling at one level, in the node's byte order; a duplicate where the level is of odd length."""

    sibling: bytes
    duplicate: bool


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """The way from a transaction, at `index` of its block, up to the Merkle root."""

    txid: str
    index: int
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, txid: str, txids: Sequence[str]) -> MerkleProof:
        """Of a transaction among those of its block, in order."""
        level = [bytes.fromhex(each)[::-1] for each in txids]
        place = index = txids.index(txid)
        steps = []
        while len(level) > 1:
            if len(level) % 2:
                level.append(level[-1])
                duplicate = place >= len(level) - 2
            else:
                duplicate = False
            steps.append(Step(level[place ^ 1], duplicate))
            level = [_sha256d(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
            place //= 2
        return cls(txid, index, tuple(steps))

    def tsc_nodes(self) -> list[str]:
        """As WhatsOnChain writes them: a duplicate in full, not as "*"."""
        return [step.sibling[::-1].hex() for step in self.steps]

    def bump_hex(self, height: int) -> str:
        """A BUMP with this transaction, a coinbase apart, and its siblings only."""
        own = varint(self.index) + _TXID + bytes.fromhex(self.txid)[::-1]
        head = varint(height) + bytes([len(self.steps)])
        first, *higher = (self._leaf(level, step) for level, step in enumerate(self.steps))
        leaves = first + own if self.index % 2 else own + first
        return b"".join((head, varint(2), leaves, *(varint(1) + leaf for leaf in higher))).hex()

    def spoiled(self) -> MerkleProof:
        """One that leads to another root."""
        lie = Step(_sha256d(bytes.fromhex(self.txid)), duplicate=False)
        return dataclasses.replace(self, steps=(lie, *self.steps[1:]))

    def _leaf(self, level: int, step: Step) -> bytes:
        offset = varint((self.index >> level) ^ 1)
        return offset + (_DUPLICATE if step.duplicate else _HASH + step.sibling)


def _sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
