"""The record of a finished round: canonical JSON, written on chain. Its format: docs/ROUND-RECORD.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from services.rounds.domain.failures import RoundImbalanceError
from services.rounds.domain.merkle import root_of
from services.rounds.domain.ranking import standings
from services.rounds.domain.values import NS_PER_MS, Distribution, MemeTally, Payout, Round, totals

FORMAT = "satreel/round-result"
FORMAT_VERSION = 1


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the same value is always the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def result_record(round_: Round, tally: tuple[MemeTally, ...], distribution: Distribution) -> str:
    """What is written on chain. Raises RoundImbalanceError when the ledger's numbers do not add up."""
    check_balance(tally, distribution)
    anchor = round_.anchor
    if anchor is None or round_.starts_at_ns is None or round_.locks_at_ns is None:
        raise ValueError("a round without an anchor has no result")
    sums = totals(tally)
    return canonical(
        {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "round": {
                "id": round_.id,
                "number": round_.number,
                "starts_at_ms": round_.starts_at_ns // NS_PER_MS,
                "locks_at_ms": round_.locks_at_ns // NS_PER_MS,
            },
            "rules": asdict(round_.rules),
            "anchor": {"height": anchor.height, "hash": anchor.hash, "orphaned": list(anchor.orphaned)},
            "entries": [[entry.meme_id, entry.creator_id, entry.quality_ppm] for entry in round_.entries],
            "standings": [
                [line.rank, line.tally.meme_id, line.score, *_figures(line.tally)]
                for line in standings(round_.entries, tally)
            ],
            "payouts": [payout_row(payout) for payout in distribution.payouts],
            "payouts_root": payouts_root(distribution.payouts),
            "ledger_record_sha256": distribution.record_sha256,
            "sums": {
                "takings": sums.takings_sats,
                "fee": sums.fee_sats,
                "creators": sums.creator_sats,
                "owners": sums.owner_sats,
                "carried_in": distribution.carried_in_sats,
                "pool": distribution.pool_sats,
                "paid_out": sum(payout.amount_sats for payout in distribution.payouts),
                "carried_out": distribution.carried_out_sats,
            },
        }
    )


def check_balance(tally: tuple[MemeTally, ...], distribution: Distribution) -> None:
    """Every satoshi of the round is accounted for. Raises RoundImbalanceError."""
    for row in tally:
        if row.takings_sats != row.fee_sats + row.creator_sats + row.owner_sats + row.pool_sats:
            raise RoundImbalanceError(f"shares of meme {row.meme_id} are not its takings")
    if distribution.pool_sats != distribution.carried_in_sats + totals(tally).pool_sats:
        raise RoundImbalanceError("the pool is not what the entries brought and what was carried in")
    paid = sum(payout.amount_sats for payout in distribution.payouts)
    if distribution.pool_sats != paid + distribution.carried_out_sats:
        raise RoundImbalanceError("the pool is not what was paid and what was carried out")


def payout_row(payout: Payout) -> list[object]:
    """A payout as it stands in the record, and as a leaf of the tree."""
    return [payout.rank, payout.meme_id, payout.user_id, payout.amount_sats]


def payout_leaves(payouts: Sequence[Payout]) -> list[bytes]:
    """The leaves of the tree over payouts, in their order: by rank."""
    return [canonical(payout_row(payout)).encode() for payout in payouts]


def payouts_root(payouts: Sequence[Payout]) -> str:
    """Merkle tree hash over the payouts, hex."""
    return root_of(payout_leaves(payouts)).hex()


def _figures(row: MemeTally) -> list[int | None]:
    first_view_ms = None if row.first_view_ns is None else row.first_view_ns // NS_PER_MS
    return [
        row.scored_seconds,
        row.paid_seconds,
        row.viewers,
        first_view_ms,
        row.takings_sats,
        row.fee_sats,
        row.creator_sats,
        row.owner_sats,
        row.pool_sats,
    ]
