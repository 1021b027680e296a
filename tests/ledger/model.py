"""The rules of shares and pool once more: slow, obvious, in fractions, from the rules and not the code."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import floor

from services.ledger.domain.shares import Parameters


def percent(basis_points: int) -> Fraction:
    """10,000 basis points are the whole."""
    return Fraction(basis_points, 10_000)


def fee(takings: int, rates: Parameters) -> int:
    """Platform fee, rounded down."""
    return floor(takings * percent(rates.platform_fee_bp))


def instant(takings: int, rates: Parameters) -> int:
    """The instant part of the rest."""
    return floor((takings - fee(takings, rates)) * percent(rates.instant_bp))


def split(takings_by_owner: Mapping[str, int], rates: Parameters) -> tuple[int, int, dict[str, int], int]:
    """Fee, creator's part, each owner's part, pool's part of what a meme took under its owners."""
    takings = sum(takings_by_owner.values())
    creator = floor(instant(takings, rates) * percent(rates.creator_bp))
    owners = {
        owner: floor(instant(part, rates) * (1 - percent(rates.creator_bp)))
        for owner, part in takings_by_owner.items()
    }
    rest = takings - fee(takings, rates) - creator - sum(owners.values())
    return fee(takings, rates), creator, owners, rest


def log2(number: int) -> Fraction:
    """To many more digits than needed."""
    with localcontext() as context:
        context.prec = 80
        return Fraction(Decimal(number).ln() / Decimal(2).ln())


@cache
def weight(rank: int) -> int:
    """1 / log2(rank + 1), in whole 10^-15ths."""
    exact = {2**k: Fraction(k) for k in range(1, 10)}.get(rank + 1)
    return floor(10**15 / (exact or log2(rank + 1)))


def pool(pool_sats: int, ranks: int, rates: Parameters) -> list[int]:
    """Payouts by rank: tries every number of paid ranks, the most first."""
    for paid in range(min(ranks, rates.ranks_paid, 100), 0, -1):
        weights = [weight(rank) for rank in range(1, paid + 1)]
        shared = pool_sats * (1 - percent(rates.winner_bp))
        exact = [shared * Fraction(one, sum(weights)) for one in weights]
        exact[0] += pool_sats * percent(rates.winner_bp)
        if min(exact) < max(rates.payout_min_sats, 1):
            continue
        payouts = [floor(share) for share in exact]
        order = sorted(range(paid), key=lambda place: (-(exact[place] - payouts[place]), place))
        for place in order[: pool_sats - sum(payouts)]:
            payouts[place] += 1
        return payouts
    return []
