"""Which ranks the pool was paid to, and the satoshis of each."""

from __future__ import annotations

from services.ledger.domain.public_record import EntryRecord
from services.ledger.domain.rounds import Payout
from services.ledger.domain.shares import (
    BASIS_POINTS,
    Parameters,
    PoolShares,
    payable_ranks,
    pool_shares,
)
from services.ledger.domain.workings import Step, Workings, decimal, total


def recompute_payouts(
    workings: Workings, pool_sats: int, ranked: list[EntryRecord], rules: Parameters
) -> list[Payout]:
    """The payouts of a pool to the memes ranked, without the ids of their transfers."""
    shares = _paid_ranks(workings, pool_sats, len(ranked), rules)
    if shares is None:
        workings.add(Step("payouts", f"no rank reaches {rules.payout_min_sats} sat: nobody is paid", 0))
        return []
    _show_weights(workings, shares, rules)
    _show_rounding(workings, shares)
    winners = enumerate(zip(ranked, shares.payouts(), strict=False), 1)
    paid = [Payout(rank, entry.meme_id, entry.creator_id, sats, "") for rank, (entry, sats) in winners]
    for payout in paid:
        _show_payout(workings, shares, payout, rules)
    return paid


def _paid_ranks(workings: Workings, pool_sats: int, ranks: int, rules: Parameters) -> PoolShares | None:
    """The shares of as many ranks as reach the least payout; None: nobody does."""
    limit = payable_ranks(ranks, rules)
    if limit < ranks:
        workings.add(Step("ranks beyond the last paid", f"ranks {limit + 1} to {ranks}: {limit} are paid"))
    tried: list[PoolShares] = []
    for paid in range(limit, 0, -1):
        shares = pool_shares(pool_sats, paid, rules)
        if shares.reach(rules):
            break
        tried.append(shares)
    else:
        shares = None
    if tried:
        fell_out = "; ".join(f"rank {len(one.numerators)} would get {_last(one)}" for one in tried)
        workings.add(Step("ranks that fall out", f"below {rules.payout_min_sats} sat: {fell_out}"))
    return shares


def _show_weights(workings: Workings, shares: PoolShares, rules: Parameters) -> None:
    paid = len(shares.numerators)
    weights = f"{total(shares.weights)} = {sum(shares.weights)}"
    formula = f"floor(10^15 / log2(rank + 1)) for ranks 1 to {paid}: {weights}"
    workings.add(Step("weights", formula))
    formula = (
        f"rank {paid} gets {_last(shares)}, at least {rules.payout_min_sats} sat: paid are ranks 1 to {paid}"
    )
    workings.add(Step("least payout", formula))


def _show_rounding(workings: Workings, shares: PoolShares) -> None:
    floors = shares.floors()
    left = shares.pool_sats - sum(floors)
    up = ", ".join(f"rank {place + 1} ({_fraction(shares, place)})" for place in shares.rounded_up())
    one_each = f", one each to the largest fractions: {up}" if up else ""
    workings.add(Step("left by rounding", f"{shares.pool_sats} - ({total(floors)}){one_each}", left))


def _show_payout(workings: Workings, shares: PoolShares, paid: Payout, rules: Parameters) -> None:
    place = paid.rank - 1
    rest = (
        f"{BASIS_POINTS - rules.winner_bp} / {BASIS_POINTS} × {shares.weights[place]} / {sum(shares.weights)}"
    )
    part = f"({rules.winner_bp} / {BASIS_POINTS} + {rest})" if place == 0 else rest
    exact = decimal(shares.numerators[place], shares.denominator)
    floor = shares.floors()[place]
    formula = f"floor({shares.pool_sats} × {part}) = floor({exact})"
    workings.add(Step(f"share of rank {paid.rank}", formula, floor, paid.meme_id), {paid.user_id})
    formula = f"{floor} + {paid.amount_sats - floor} left by rounding"
    payout = Step(f"payout of rank {paid.rank}", formula, paid.amount_sats, paid.meme_id, paid.user_id)
    workings.add(payout, {paid.user_id})


def _last(shares: PoolShares) -> str:
    return decimal(shares.numerators[-1], shares.denominator)


def _fraction(shares: PoolShares, place: int) -> str:
    return decimal(shares.numerators[place] % shares.denominator, shares.denominator)
