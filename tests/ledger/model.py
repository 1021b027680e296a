"""The rules of shares, pool and whole rounds once more: slow, obvious, in fractions, not taken from the code.

A round is told as facts: who owned a film since when, who watched it from when on and for how many seconds.
What follows for every account is computed afresh each time, second by second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from enum import Enum
from fractions import Fraction
from functools import cache
from math import floor

from services.ledger.domain.shares import Parameters

NS_PER_S = 10**9


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


@dataclass(slots=True)
class Viewing:
    """One session: its seconds lie at opened, opened + 1 s, and so on."""

    viewer: str
    opened_ns: int
    seconds: int = 0

    def sats(self, rates: Parameters) -> int:
        """What it cost: a short one is free."""
        return self.seconds * rates.second_price_sats if self.seconds >= rates.free_below_s else 0


@dataclass(slots=True)
class Film:
    """A meme in a round: (since, owner) oldest first, and who watched it."""

    meme: str
    creator: str
    quality_ppm: int
    owners: list[tuple[int, str]]
    viewings: list[Viewing] = field(default_factory=list)

    def owner_at(self, at_ns: int) -> str:
        """Who owned it at this moment."""
        return [owner for since_ns, owner in self.owners if since_ns <= at_ns][-1]

    def paid(self, rates: Parameters) -> list[tuple[str, str]]:
        """(viewer, owner) of every paid second."""
        return [
            (viewing.viewer, self.owner_at(viewing.opened_ns + second * NS_PER_S))
            for viewing in self.viewings
            if viewing.sats(rates)
            for second in range(viewing.seconds)
        ]

    def takings(self, rates: Parameters) -> dict[str, int]:
        """What it took under each owner."""
        return Counter(owner for _, owner in self.paid(rates) for _ in range(rates.second_price_sats))

    def scored(self, rates: Parameters) -> dict[str, int]:
        """Seconds of each viewer that count: not the creator's or the owner's own, and not too many."""
        seconds = Counter(viewer for viewer, owner in self.paid(rates) if viewer not in (owner, self.creator))
        return {
            viewer: min(count, rates.scored_seconds_max)
            for viewer, count in seconds.items()
            if rates.scored_seconds_max
        }

    def first_view_ns(self, rates: Parameters) -> int:
        """First paid second of anyone; 0: nobody watched."""
        return min((viewing.opened_ns for viewing in self.viewings if viewing.sats(rates)), default=0)


class Outcome(Enum):
    """How far a round has come."""

    OPEN = 1
    LOCKED = 2
    PAID = 3
    VOIDED = 4


@dataclass(slots=True)
class Play:
    """A round."""

    id: str
    rates: Parameters
    films: list[Film]
    carried_sats: int = 0
    outcome: Outcome = Outcome.OPEN


def ranked(films: list[Film], rates: Parameters) -> list[Film]:
    """Those with a score: higher score, more viewers, earlier first view, lower id."""

    def place(film: Film) -> tuple[int, int, int, str]:
        scored = film.scored(rates)
        score = sum(scored.values()) * film.quality_ppm
        return -score, -len(scored), film.first_view_ns(rates), film.meme

    return sorted((film for film in films if place(film)[0] < 0), key=place)


def pool_sats(play: Play) -> int:
    """What was carried in and what all films left."""
    return play.carried_sats + sum(split(film.takings(play.rates), play.rates)[3] for film in play.films)


def balances(play: Play) -> Counter[str]:
    """What the round has added to each account so far."""
    changes: Counter[str] = Counter()
    if play.outcome is Outcome.VOIDED:
        return changes
    pool_account = f"pool:{play.id}"
    changes["pool:carried"] -= play.carried_sats
    changes[pool_account] += play.carried_sats
    for film in play.films:
        for viewing in film.viewings:
            changes[f"user:{viewing.viewer}"] -= viewing.sats(play.rates)
        fee_sats, creator_sats, owners_sats, rest = split(film.takings(play.rates), play.rates)
        changes["platform:fee"] += fee_sats
        changes[f"user:{film.creator}"] += creator_sats
        for owner, sats in owners_sats.items():
            changes[f"user:{owner}"] += sats
        changes[f"takings:{play.id}:{film.meme}" if play.outcome is Outcome.OPEN else pool_account] += rest
    if play.outcome is Outcome.PAID:
        _pay_pool(play, changes, pool_account)
    return changes


def _pay_pool(play: Play, changes: Counter[str], pool_account: str) -> None:
    whole = pool_sats(play)
    best = ranked(play.films, play.rates)
    payouts = pool(whole, len(best), play.rates)
    for film, sats in zip(best, payouts, strict=False):
        changes[f"user:{film.creator}"] += sats
    changes[pool_account] -= whole
    changes["pool:carried"] += whole - sum(payouts)
