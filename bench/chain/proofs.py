"""Proofs of inclusion read and checked; the peer reads BUMPs, and knows no TSC proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from bsv.merkle_path import MerklePath

from bench.chain.payments import NETWORK, Payer, addresses
from bench.chain.plan import Plan
from bench.chain.samples import SATREEL, SDK, Sample, measured, require, require_same
from services.chain.domain.bump import Bump, Flag, Leaf
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.merkle import Branch, check_included
from services.chain.domain.tsc import TscProof
from services.chain.domain.values import Txid
from services.chain.domain.wire import hash_bytes, hash_text, txid_of

LEVELS = 12
BUMP = f"BUMP proof read and checked, {LEVELS} levels"
TSC = f"TSC proof read and checked with its transaction, {LEVELS} levels"


def samples(plan: Plan) -> Iterator[Sample]:
    """One transaction in a block of thousands, under a known header."""
    payer = Payer(1)
    raw = payer.pay(payer.coins[0], addresses(1)).raw
    siblings = tuple(hashlib.sha256(b"sibling %d" % level).digest() for level in range(LEVELS))
    branch = Branch(0x5A5 % (1 << LEVELS), siblings)
    txid = txid_of(raw)
    root = branch.root(txid)
    header = replace(CONSENSUS[NETWORK].genesis, merkle_root=root)
    bump_hex = bytes(_bump(txid, branch)).hex()
    target = {"target": header.merkle_root, "targetType": "merkleRoot"}
    tsc = {"index": branch.index, "txOrId": raw.hex(), "nodes": [*map(hash_text, siblings)], **target}

    def bump_once(_: int) -> str:
        return Bump.from_hex(bump_hex).root

    def sdk_bump_once(_: int) -> str:
        return str(MerklePath.from_hex(bump_hex).compute_root(txid))

    def tsc_once(_: int) -> Txid:
        proof = TscProof.parse(tsc)
        proof.check_target(header)
        return check_included(proof.raw or b"", proof.branch, header)

    require_same([root, bump_once(0), sdk_bump_once(0)], "the roots differ")
    require(tsc_once(0) == txid, "another transaction is proven")
    yield measured(BUMP, SATREEL, plan.proofs, bump_once)
    yield measured(BUMP, SDK, plan.proofs // 2, sdk_bump_once)
    yield measured(TSC, SATREEL, plan.proofs, tsc_once)


def _bump(txid: Txid, branch: Branch) -> Bump:
    """The branch as a BUMP."""
    place = branch.index
    own = Leaf(Flag.TXID, hash_bytes(txid))
    levels = []
    for level, sibling in enumerate(branch.siblings):
        given = {place ^ 1: Leaf(Flag.NODE, sibling or b"")}
        levels.append(dict(sorted({place: own, **given}.items())) if level == 0 else given)
        place //= 2
    return Bump(7, tuple(levels))
