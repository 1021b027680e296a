from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.domain.shares import entitlement, pool_payouts, rank_weight
from tests.ledger import model
from tests.ledger.world import RATES, World, uid

POOL = f"pool:{uid('r')}"
# Unequal primes everywhere: swapped shares would show.
PRIMES = replace(
    RATES,
    platform_fee_bp=211,
    instant_bp=4507,
    creator_bp=1009,
    winner_bp=2003,
    payout_min_sats=97,
    ranks_paid=89,
)


@pytest.mark.parametrize(
    ("takings", "fee", "creator", "owner"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (49, 0, 2, 19),
        (50, 1, 2, 19),
        (600, 12, 26, 237),
        (1_000_000, 20_000, 44_100, 396_900),
    ],
)
def test_known_splits(takings: int, fee: int, creator: int, owner: int) -> None:
    due = entitlement(takings, RATES)
    assert (due.fee_sats, due.creator_sats, due.owner_sats) == (fee, creator, owner)


@given(st.integers(0, 10**12), st.sampled_from([RATES, PRIMES]))
def test_splits_equal_the_model(takings: int, rates: object) -> None:
    due = entitlement(takings, rates)  # type: ignore[arg-type] # sampled
    fee, creator, owners, rest = model.split({"o": takings}, rates)  # type: ignore[arg-type] # sampled
    assert (due.fee_sats, due.creator_sats, due.owner_sats) == (fee, creator, owners["o"])
    assert rest >= 0


def test_weights_are_exact() -> None:
    assert [rank_weight(rank) for rank in (1, 3, 7)] == [10**15, 10**15 // 2, 10**15 // 3]
    assert [rank_weight(rank) for rank in range(1, 101)] == [model.weight(rank) for rank in range(1, 101)]


@settings(max_examples=60)
@given(st.integers(0, 200_000), st.integers(0, 150), st.sampled_from([RATES, PRIMES]))
def test_pools_equal_the_model(pool: int, creators: int, rates: object) -> None:
    payouts = pool_payouts(pool, creators, rates)  # type: ignore[arg-type] # sampled
    assert payouts == model.pool(pool, creators, rates)  # type: ignore[arg-type] # sampled
    assert sum(payouts) in (0, pool)
    assert sorted(payouts, reverse=True) == payouts


@pytest.mark.parametrize(
    ("pool", "creators", "payouts"),
    [
        (99, 1, []),
        (100, 1, [100]),
        (100, 5, [100]),
        (10_000, 0, []),
        # With two ranks the second gets 0.8 * pool * 0.6309 / 1.6309.
        (323, 2, [323]),
        (324, 2, [224, 100]),
    ],
)
def test_the_floor_of_a_payout(pool: int, creators: int, payouts: list[int]) -> None:
    assert pool_payouts(pool, creators, RATES) == payouts


def earn(cuts: list[int]) -> tuple[World, tuple[object, ...]]:
    """One viewer watches one meme for the sum of the cuts, in so many sessions."""
    world = World(checked=len(cuts) < 50, silence_s=3600)
    world.fund("v", 10_000)
    world.open_round("a", "b", length_s=3_000)
    for number, seconds in enumerate(cuts):
        world.open_session(f"s{number}", "v", "m-a", seconds)
        world.report((f"s{number}", seconds), after_s=seconds)
    locked = world.lock()
    paid = world.distribute(["m-a"])
    tally = locked.tallies[0]
    return world, (
        tally.takings,
        tally.fee,
        tally.creator,
        tally.owner,
        tally.pool,
        [p.amount_sats for p in paid.payouts],
    )


def test_one_long_session_and_many_short_ones_pay_the_same() -> None:
    _, whole = earn([600])
    _, minutes = earn([60] * 10)
    _, threes = earn([3] * 200)
    assert whole == minutes == threes
    assert whole == (600, 12, 26, 237, 325, [325])


def test_reporting_at_once_or_each_second_pays_the_same() -> None:
    world, whole = earn([600])
    each = World(checked=False)
    each.fund("v", 10_000)
    each.open_round("a", "b", length_s=3_000)
    each.watch("s0", "v", "m-a", 600)
    assert each.lock().tallies[0].takings == whole[0]
    for name in ("user:a", "user:v", "platform:fee", POOL):
        before_pool_paid = world.balance(name) - (325 if name == "user:a" else 0)
        assert each.balance(name) == before_pool_paid + (325 if name == POOL else 0)


@settings(max_examples=20)
@given(st.lists(st.integers(3, 90), min_size=1, max_size=12))
def test_cuts_never_matter(cuts: list[int]) -> None:
    assert earn(cuts)[1] == earn([sum(cuts)])[1]


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.data(), st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_many_owners_never_get_more_than_was_taken(
    fee_bp: int, data: st.DataObject, parts: list[int]
) -> None:
    rates = replace(
        RATES,
        platform_fee_bp=fee_bp,
        instant_bp=data.draw(st.sampled_from([10_000 - fee_bp, (10_000 - fee_bp) // 2])),
        creator_bp=data.draw(st.sampled_from([0, 1, 3_333, 5_000, 9_999, 10_000])),
    )
    whole = entitlement(sum(parts), rates)
    owners = sum(entitlement(part, rates).owner_sats for part in parts)
    assert whole.fee_sats + whole.creator_sats + owners <= sum(parts)
