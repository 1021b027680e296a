"""The pool: what it held, who ranked where, and what was carried over."""

from __future__ import annotations

from services.ledger.domain.explain_payouts import recompute_payouts
from services.ledger.domain.public_record import EntryRecord, PublicRecord
from services.ledger.domain.rounds import Payout, RoundState
from services.ledger.domain.workings import Step, Workings

_NEVER = 1 << 63


def recompute_pool(workings: Workings, record: PublicRecord, from_entries_sats: int) -> list[Payout]:
    """Shows the pool's steps to all, those of a rank to its creator. Returns the payouts."""
    paid: list[Payout] = []
    if record.state is RoundState.VOIDED:
        left = _void(workings, record)
    else:
        paid, left = _fill_and_pay(workings, record, from_entries_sats)
    for place in range(max(len(paid), len(record.payouts))):
        recorded, recomputed = (_shown(payouts, place) for payouts in (record.payouts, paid))
        workings.compare(f"payout of rank {place + 1}", recorded, recomputed)
    workings.add(left, recorded=record.sums.carried_out)
    return paid


def by_score(entries: tuple[EntryRecord, ...]) -> list[EntryRecord]:
    """Those with a score, best first: score, then viewers, then the earlier first view, then the lower id."""
    scored = [entry for entry in entries if _score(entry)]
    return sorted(
        scored, key=lambda one: (-_score(one), -one.viewers, one.first_view_ns or _NEVER, one.meme_id)
    )


def _void(workings: Workings, record: PublicRecord) -> Step:
    workings.add(
        Step("pool", "the round was voided: viewers got everything back", 0), recorded=record.sums.pool
    )
    workings.compare("ranking", list(record.ranking), [])
    carried = record.sums.carried_in
    return _carried(f"{carried} carried in", carried)


def _fill_and_pay(
    workings: Workings, record: PublicRecord, from_entries_sats: int
) -> tuple[list[Payout], Step]:
    carried_in = record.sums.carried_in
    formula = f"{carried_in} carried in + {from_entries_sats} of the entries"
    pool = workings.add(Step("pool", formula, carried_in + from_entries_sats), recorded=record.sums.pool)
    ranked = _rank(workings, record)
    if record.state is not RoundState.DISTRIBUTED:
        workings.compare("ranking", list(record.ranking), [])
        return [], _carried(f"none yet: the round is {record.state.name}", 0)
    workings.compare("ranking", list(record.ranking), [entry.meme_id for entry in ranked])
    paid = recompute_payouts(workings, pool, ranked, record.rules)
    paid_out = sum(payout.amount_sats for payout in paid)
    return paid, _carried(f"{pool} - {paid_out} paid out", pool - paid_out)


def _rank(workings: Workings, record: PublicRecord) -> list[EntryRecord]:
    ranked = by_score(record.entries)
    for rank, entry in enumerate(ranked, 1):
        score = f"{entry.scored_seconds} s × {entry.quality_ppm} = {_score(entry)}"
        formula = f"score {score}, {entry.viewers} viewers: rank {rank} of {len(ranked)}"
        workings.add(Step("rank", formula, meme_id=entry.meme_id), {entry.creator_id})
    return ranked


def _score(entry: EntryRecord) -> int:
    return entry.scored_seconds * entry.quality_ppm


def _carried(formula: str, sats: int) -> Step:
    return Step("carried to the next round", formula, sats)


def _shown(payouts: list[Payout] | tuple[Payout, ...], place: int) -> str:
    if place >= len(payouts):
        return "none"
    paid = payouts[place]
    return f"{paid.amount_sats} sat to user {paid.user_id} for rank {paid.rank}, meme {paid.meme_id}"
