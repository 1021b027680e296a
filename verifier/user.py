"""What one user got, and the proof that each of their payouts is under the root on chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.ledger.domain.explain import explain
from services.ledger.domain.public_record import PublicRecord
from services.rounds.domain.merkle import audit_path, root_along
from services.rounds.domain.record import payout_leaves
from services.rounds.domain.values import Payout
from verifier.findings import Findings
from verifier.payload import Payload


@dataclass(frozen=True, slots=True)
class Proof:
    """One payout as a leaf: which of how many, and the hashes beside its way up, hex."""

    leaf: str
    index: int
    size: int
    path: tuple[str, ...]


def proofs_of(payouts: tuple[Payout, ...], user_id: str) -> Iterator[Proof]:
    """A proof for each payout of the user."""
    leaves = payout_leaves(payouts)
    for index, paid in enumerate(payouts):
        if paid.user_id == user_id:
            path = tuple(node.hex() for node in audit_path(leaves, index))
            yield Proof(leaves[index].decode(), index, len(leaves), path)


def leads_to(proof: Proof, root: str) -> bool:
    """Whether the proof holds."""
    path = [bytes.fromhex(node) for node in proof.path]
    found = root_along(proof.leaf.encode(), proof.index, proof.size, path)
    return found is not None and found.hex() == root


def check_user(
    findings: Findings, payload: Payload, record: PublicRecord | None, user_id: str
) -> list[Proof]:
    """What the user got, with the export if there is one. Returns the proofs of their payouts."""
    proofs = list(proofs_of(payload.payouts, user_id))
    pool_sats = sum(paid.amount_sats for paid in payload.payouts if paid.user_id == user_id)
    flaws = [
        f"payout {proof.leaf}: its proof does not lead to the root {payload.payouts_root}"
        for proof in proofs
        if not leads_to(proof, payload.payouts_root)
    ]
    said = f"user {user_id}: {pool_sats} sat of the pool in {len(proofs)} payouts"
    if record is not None:
        said += f", {explain(record, user_id).total_sats} sat all together"
    findings.add("user", said, flaws)
    return proofs
