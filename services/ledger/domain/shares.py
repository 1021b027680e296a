"""Who gets what of a satoshi: instant shares on accumulated totals, and the pool's curve. Whole numbers only.

The rules are DOMAIN.md's "Money"; every function here is exact, so anyone can recompute a payout by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache

BASIS_POINTS = 10_000
RANKS_MAX = 100
# A weight is floor(10**15 / log2(rank + 1)). The logarithms are taken by `decimal` with 50 digits, which
# rounds correctly by its specification: the table is the same on every machine (floating point promises no
# such thing).
WEIGHT_SCALE = 10**15
WEIGHT_DIGITS = 50


@dataclass(frozen=True, slots=True)
class Parameters:
    """Rates and curve of a round, stamped on it. Shares are in basis points; see the contract for each."""

    version: int
    platform_fee_bp: int
    instant_bp: int
    creator_bp: int
    winner_bp: int
    ranks_paid: int
    payout_min_sats: int
    second_price_sats: int
    free_below_s: int
    session_max_s: int
    scored_seconds_max: int


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What accumulated takings entitle to, in satoshis. Each part only grows as takings grow.

    The instant part is what creator and owner share; it is shown, not paid.
    """

    fee_sats: int
    instant_sats: int
    creator_sats: int
    owner_sats: int


def entitlement(takings_sats: int, rates: Parameters) -> Entitlement:
    """Floors of accumulated takings. What these leave (rounding included) is the pool's."""
    fee = takings_sats * rates.platform_fee_bp // BASIS_POINTS
    instant = (takings_sats - fee) * rates.instant_bp // BASIS_POINTS
    return Entitlement(
        fee_sats=fee,
        instant_sats=instant,
        creator_sats=instant * rates.creator_bp // BASIS_POINTS,
        owner_sats=instant * (BASIS_POINTS - rates.creator_bp) // BASIS_POINTS,
    )


@cache
def rank_weight(rank: int) -> int:
    """Weight of a rank (from 1) in the shared part of the pool: floor(10**15 / log2(rank + 1))."""
    context = Context(prec=WEIGHT_DIGITS)
    log2 = context.divide(context.ln(Decimal(rank + 1)), context.ln(Decimal(2)))
    # Ranks 1, 3, 7, … have whole logarithms; the quotient of two rounded ones could fall a hair beside them.
    exact = (rank + 1).bit_length() - 1
    if rank + 1 == 1 << exact:
        return WEIGHT_SCALE // exact
    return int(context.divide(Decimal(WEIGHT_SCALE), log2))


@dataclass(frozen=True, slots=True)
class PoolShares:
    """What each paid rank gets of a pool, exactly: numerators by rank over one denominator."""

    pool_sats: int
    weights: tuple[int, ...]
    numerators: tuple[int, ...]
    denominator: int

    def reach(self, rates: Parameters) -> bool:
        """Whether every share reaches the least payout. Shares fall with rank: the last one tells."""
        return self.numerators[-1] >= max(rates.payout_min_sats, 1) * self.denominator

    def floors(self) -> list[int]:
        """The whole satoshis in each share."""
        return [share // self.denominator for share in self.numerators]

    def rounded_up(self) -> list[int]:
        """Places (from 0) that get one of the satoshis left by rounding: largest fraction, then rank."""
        places = range(len(self.numerators))
        by_fraction = sorted(places, key=lambda place: (-(self.numerators[place] % self.denominator), place))
        return by_fraction[: self.pool_sats - sum(self.floors())]

    def payouts(self) -> list[int]:
        """Whole satoshis by rank, together the pool."""
        payouts = self.floors()
        for place in self.rounded_up():
            payouts[place] += 1
        return payouts


def pool_shares(pool_sats: int, paid: int, rates: Parameters) -> PoolShares:
    """The winner's part goes to rank 1, the rest to all `paid` ranks (at least 1) by weight."""
    weights = tuple(rank_weight(rank) for rank in range(1, paid + 1))
    total = sum(weights)
    shares = [pool_sats * (BASIS_POINTS - rates.winner_bp) * weight for weight in weights]
    shares[0] += pool_sats * rates.winner_bp * total
    return PoolShares(pool_sats, weights, tuple(shares), BASIS_POINTS * total)


def payable_ranks(ranks: int, rates: Parameters) -> int:
    """How many of this many ranked memes the rules let the pool pay, before the least payout is looked at."""
    return min(ranks, rates.ranks_paid, RANKS_MAX)


def pool_payouts(pool_sats: int, ranks: int, rates: Parameters) -> list[int]:
    """Payouts in satoshis by rank for a pool and this many ranked memes; an empty list carries the pool over.

    Dropping the last rank while its exact share is below the minimum pays the most ranks that can be paid.
    """
    for paid in range(payable_ranks(ranks, rates), 0, -1):
        shares = pool_shares(pool_sats, paid, rates)
        if shares.reach(rates):
            return shares.payouts()
    return []
