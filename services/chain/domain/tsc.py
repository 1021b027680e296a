"""Merkle proofs of the Technical Standards Committee, as WhatsOnChain and nodes give them.

https://tsc.bsvblockchain.org/standards/merkle-proof-standardised-format/: a JSON object {index, txOrId,
target, nodes, targetType, proofType, composite}; "*" stands for a node that is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.chain.domain.header import Header
from services.chain.domain.merkle import BadProof, Branch, node_of
from services.chain.domain.values import Txid
from services.chain.domain.wire import HEADER_BYTES, BadBytes, parse_transaction

REPEATED = "*"
_TXID_DIGITS = 64


class TargetType(StrEnum):
    """What a proof's target is."""

    HASH = "hash"
    HEADER = "header"
    MERKLE_ROOT = "merkleRoot"


@dataclass(frozen=True, slots=True)
class TscProof:
    """A proof of one transaction. `raw` is the transaction if the proof brought it; `target` is hex."""

    txid: Txid
    branch: Branch
    target_type: TargetType
    target: str
    raw: bytes | None = None

    @classmethod
    def parse(cls, found: object) -> TscProof:
        """The proof that this JSON value is; fields it does not know are left aside. Raises BadProof."""
        if not isinstance(found, Mapping):
            raise BadProof("a proof is an object")
        if found.get("proofType", "branch") != "branch" or found.get("composite", False) is not False:
            raise BadProof("only single branches are understood, no trees or composites")
        txid, raw = _transaction(_text(found, "txOrId"))
        target_type, target = _target(found)
        branch = _branch(found.get("index"), found.get("nodes"))
        root = branch.root(txid)
        if target_type is TargetType.MERKLE_ROOT and root != target:
            raise BadProof("the nodes do not lead to the target")
        return cls(txid, branch, target_type, target, raw)

    def check_target(self, header: Header) -> None:
        """That the header is that of the block which the proof speaks of. Raises BadProof."""
        match self.target_type:
            case TargetType.HASH:
                same = self.target == header.hash
            case TargetType.HEADER:
                same = self.target == bytes(header).hex()
            case TargetType.MERKLE_ROOT:
                same = self.target == header.merkle_root
        if not same:
            raise BadProof(f"the proof's {self.target_type} is not that of {header.hash}")


def _text(found: Mapping[object, object], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise BadProof(f"{name} is not a text")
    return value


def _transaction(text: str) -> tuple[Txid, bytes | None]:
    if len(text) == _TXID_DIGITS:
        node_of(text)
        return Txid(text), None
    try:
        found = parse_transaction(bytes.fromhex(text))
    except ValueError as problem:
        raise BadProof(f"txOrId is neither an id nor a transaction: {problem}") from problem
    return found.txid, found.raw


def _target(found: Mapping[object, object]) -> tuple[TargetType, str]:
    target = _text(found, "target")
    kind = found.get("targetType", TargetType.HASH)
    if not isinstance(kind, str) or kind not in tuple(TargetType):
        raise BadProof(f"targetType {kind!r:.40} is unknown")
    if kind != TargetType.HEADER:
        node_of(target)
        return TargetType(kind), target
    try:
        raw = bytes.fromhex(target)
        Header.parse(raw)
    except (BadBytes, ValueError) as problem:
        raise BadProof(f"the target is no header of {HEADER_BYTES} bytes") from problem
    return TargetType.HEADER, raw.hex()


def _branch(index: object, nodes: object) -> Branch:
    if not isinstance(index, int) or isinstance(index, bool):
        raise BadProof("index is not a whole number")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise BadProof("nodes is not a list of texts")
    return Branch(index, tuple(None if node == REPEATED else node_of(node) for node in nodes))
