"""Merkle trees: the root of a block's transactions, and that one of them stands under it.

Two weaknesses of the tree are met here. A level of odd length repeats its last node, so a list with that
node written out has the same root (CVE-2012-2459): a node that equals its sibling is refused unless it is
said to be repeated. And 64 bytes hash like two nodes (CVE-2017-12842): `check_included` wants the
transaction itself, none of 64 bytes, and the number of the block's transactions where that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.chain.domain.header import Header
from services.chain.domain.values import Txid
from services.chain.domain.wire import hash_bytes, hash_text, sha256d, txid_of

NODE_BYTES = 32
PAIR_BYTES = 2 * NODE_BYTES
DEPTH_MAX = 32


class BadProof(ValueError):  # noqa: N818 - an answer, as failures are
    """The proof is malformed, ambiguous, or of something else."""


def node_of(text: str) -> bytes:
    """A node from its hex as explorers show it. Raises BadProof."""
    if len(text) != PAIR_BYTES or not set(text) <= set("0123456789abcdef"):
        raise BadProof(f"{text!r:.80} is not a hash")
    return hash_bytes(text)


def parent_of(left: bytes, right: bytes) -> bytes:
    """The node over two others that are not the same. Raises BadProof."""
    if left == right:
        raise BadProof("a node equals its sibling, which is not said to be repeated")
    return sha256d(left + right)


def root_of(txids: Sequence[Txid]) -> str:
    """The Merkle root of a block's transactions, in order. Raises BadProof: none, or ambiguous ones."""
    return hash_text(root_over([hash_bytes(txid) for txid in txids]))


def root_over(level: Sequence[bytes]) -> bytes:
    """The root over these nodes. Raises BadProof: none, or ambiguous ones."""
    if not level:
        raise BadProof("a block has at least one transaction")
    while len(level) > 1:
        last = [sha256d(level[-1] * 2)] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [parent_of(left, right) for left, right in pairs] + last
    return level[0]


@dataclass(frozen=True, slots=True)
class Branch:
    """A transaction's way up to the root: its place in the block, and the sibling at each level.

    None is a node that is repeated, because it is the last of an odd number.
    """

    index: int
    siblings: tuple[bytes | None, ...]

    @property
    def depth(self) -> int:
        """Levels between transaction and root."""
        return len(self.siblings)

    def root(self, txid: Txid) -> str:
        """The root that it leads to. Raises BadProof."""
        if self.depth > DEPTH_MAX:
            raise BadProof(f"a branch of {self.depth} levels; {DEPTH_MAX} are the most")
        if self.index < 0 or self.index >> self.depth:
            raise BadProof(f"index {self.index} does not fit {self.depth} levels")
        node, place, last = node_of(txid), self.index, False
        for level, sibling in enumerate(self.siblings):
            if sibling is None:
                if place % 2 or place == 0:
                    raise BadProof(f"level {level}: there is no node to be repeated")
                node, last = sha256d(node * 2), True
            elif place % 2:
                node = parent_of(sibling, node)
            elif last:
                raise BadProof(f"level {level}: there is a node behind the one that was the last")
            else:
                node = parent_of(node, sibling)
            place //= 2
        return hash_text(node)


def depth_of(transactions: int) -> int:
    """Levels of the tree over so many transactions, at least one."""
    return (transactions - 1).bit_length()


def check_included(raw: bytes, branch: Branch, header: Header, transactions: int | None = None) -> Txid:
    """That a raw transaction is in the header's block; its id. Raises BadProof.

    `transactions` is how many the block has: with it, nothing else can pass for a transaction or a node.
    """
    if len(raw) == PAIR_BYTES:
        raise BadProof(f"{PAIR_BYTES} bytes could be two nodes as well as a transaction")
    if transactions is not None and (branch.depth != depth_of(transactions) or branch.index >= transactions):
        raise BadProof(
            f"place {branch.index} under {branch.depth} levels is none in a block of {transactions}"
        )
    txid = txid_of(raw)
    if branch.root(txid) != header.merkle_root:
        raise BadProof(f"{txid} is not proven to be in {header.hash}")
    return txid
