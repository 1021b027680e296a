"""Money in a round: cuts change nothing, each second belongs to one owner, ties and floors are exact."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.domain.shares import Parameters, pool_payouts
from services.ledger.domain.views import RoundView
from services.rounds.domain import ranking as leaderboard
from services.rounds.domain.values import Entry, InstantNs, MemeId, MemeTally, UserId
from tests.ledger import model
from tests.ledger.test_split_model import PRIMES, SHORT
from tests.ledger.twin import Twin, compare_tallies
from tests.ledger.world import RATES, START_NS, uid

ROUND_S = 600
Accounts = dict[tuple[str, str], tuple[int, int, int]]


def watched(cuts: list[int], rates: Parameters, sold_at_s: int | None = None) -> Accounts:
    """All accounts after a round of one viewer, one session right after the other, and perhaps a sale."""
    twin = Twin(silence_s=3_600, each_step=False)
    twin.deposit("d", "v", 10_000)
    twin.open_round("r", [("m", "a", 900_001), ("n", "b", 900_001)], rates=rates)
    left_s = sold_at_s
    for number, cut in enumerate(cuts):
        twin.open_session(f"s{number}", "v", "m", 1_000)
        if left_s is not None and left_s < cut:
            twin.wait(left_s)
            twin.give("t", "m", "o")
            twin.wait(cut - left_s)
            left_s = None
        else:
            twin.wait(cut)
            left_s = None if left_s is None else left_s - cut
        twin.report((f"s{number}", cut))
        twin.close(f"s{number}", "v")
    twin.lock("r")
    twin.distribute("r")
    twin.compare()
    return {key: (view.balance, view.held, view.debt) for key, view in twin.world.accounts().items()}


@pytest.mark.parametrize("rates", [SHORT, replace(RATES, free_below_s=0)])
@pytest.mark.parametrize("sold_at_s", [None, 1, 599])
def test_600_seconds_at_once_or_one_by_one(rates: Parameters, sold_at_s: int | None) -> None:
    whole = watched([ROUND_S], rates, sold_at_s)
    assert whole == watched([1] * ROUND_S, rates, sold_at_s)
    assert whole["user:v", "sat"] == (10_000 - ROUND_S, 0, 0)


def cuts(least: int) -> st.SearchStrategy[list[int]]:
    """600 s in sessions of at least so many seconds."""

    def whole(parts: list[int]) -> list[int]:
        kept: list[int] = []
        for part in parts:
            if sum(kept) + part + least <= ROUND_S:
                kept.append(part)
        return [*kept, ROUND_S - sum(kept)]

    return st.lists(st.integers(least, 120) | st.integers(least, least + 3), max_size=60).map(whole)


@settings(max_examples=40)
@given(cuts(1), st.integers(0, ROUND_S - 1), st.sampled_from([SHORT, replace(SHORT, creator_bp=0)]))
def test_cuts_change_nothing_where_every_second_is_paid(
    parts: list[int], sold_at_s: int, rates: Parameters
) -> None:
    assert watched(parts, rates, sold_at_s) == watched([ROUND_S], rates, sold_at_s)


@settings(max_examples=40)
@given(cuts(3), st.integers(0, ROUND_S - 1), st.sampled_from([RATES, PRIMES]))
def test_cuts_change_nothing_where_short_sessions_are_free(
    parts: list[int], sold_at_s: int, rates: Parameters
) -> None:
    assert watched(parts, rates, sold_at_s) == watched([ROUND_S], rates, sold_at_s)


@settings(max_examples=25)
@given(cuts(1))
def test_what_is_too_short_is_free_and_the_rest_unchanged(parts: list[int]) -> None:
    paid = sum(part for part in parts if part >= PRIMES.free_below_s)
    assert watched(parts, PRIMES) == (watched([paid], PRIMES) if paid else watched([], PRIMES))


def sold(rates: Parameters, sales: list[tuple[float, str]], *, each: bool) -> None:
    """A film watched for the whole round, given away at these times; reported at each sale or at the end."""
    twin = Twin(silence_s=3_600, each_step=False)
    for viewer in ("v", "w"):
        twin.deposit(viewer, viewer, 10_000)
    twin.open_round("r", [("m", "a", 900_001)], rates=rates)
    twin.open_session("s", "v", "m", 9_000)
    twin.wait(0.25)
    twin.open_session("u", "w", "m", 9_000)
    for number, (at_s, owner) in enumerate(sales):
        twin.wait(START_S + at_s - twin.world.now_ns / model.NS_PER_S)
        twin.give(f"t{number}", "m", owner)
        if each:
            twin.report_all()
    twin.wait(START_S + ROUND_S + 1 - twin.world.now_ns / model.NS_PER_S)
    twin.report_all()
    twin.lock("r")
    compare_tallies(twin.world.round("r"), twin.slow.plays[uid("r")])
    twin.distribute("r")
    twin.compare()


START_S = START_NS // model.NS_PER_S


def test_a_title_sold_at_every_second() -> None:
    """One round for each second, sold on it, a little before or a little after."""
    for second in range(1, ROUND_S):
        sold(PRIMES, [(second + (second % 3 - 1) / 8, "o")], each=second % 2 == 0)


@pytest.mark.parametrize("each", [False, True], ids=["reported at the end", "reported at each sale"])
@pytest.mark.parametrize("owners", [1, 7, 599])
def test_a_title_sold_at_every_second_of_one_round(owners: int, each: bool) -> None:
    """In turn to so many owners; creator and viewer among them see their own film."""
    names = ["a", "v", *(f"o{number}" for number in range(owners))]
    sold(PRIMES, [(second, names[second % len(names)]) for second in range(1, ROUND_S)], each=each)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 4_799), st.sampled_from(["a", "o", "p", "v", "w"])), max_size=20),
    st.booleans(),
)
def test_a_title_sold_at_any_times(sales: list[tuple[int, str]], each: bool) -> None:
    """To the eighth of a second; viewers and creator may buy it, and may get it back."""
    ordered = sorted((1 + eighths / 8, owner) for eighths, owner in sales)
    owner, kept = "a", []
    for at_s, buyer in ordered:
        if buyer != owner and at_s < ROUND_S:
            kept.append((at_s, buyer))
            owner = buyer
    sold(PRIMES, kept, each=each)


@pytest.mark.parametrize("rates", [RATES, PRIMES, SHORT, replace(RATES, winner_bp=9_973)])
def test_a_rank_is_paid_from_its_floor_on(rates: Parameters) -> None:
    """The smallest pool that pays so many ranks, and one satoshi less."""
    shared = 1 - model.percent(rates.winner_bp)
    for ranks in range(2, rates.ranks_paid + 1):
        weights = [model.weight(rank) for rank in range(1, ranks + 1)]
        floor = ceil(rates.payout_min_sats / (shared * Fraction(weights[-1], sum(weights))))
        enough, short = pool_payouts(floor, 150, rates), pool_payouts(floor - 1, 150, rates)
        assert len(enough) >= ranks > len(short)
        assert sum(enough) == floor
        assert sum(short) == floor - 1
        assert min(enough) >= rates.payout_min_sats
        if ranks % 9 == 2:
            assert enough == model.pool(floor, 150, rates)
            assert short == model.pool(floor - 1, 150, rates)
    assert pool_payouts(rates.payout_min_sats, 150, rates) == [rates.payout_min_sats]
    assert pool_payouts(rates.payout_min_sats - 1, 150, rates) == []


def test_equal_fractions_go_to_the_better_rank() -> None:
    """A pool of all weights together: shares are fifths of a satoshi, many of them equally far from whole."""
    for ranks in range(2, 101):
        weights = [model.weight(rank) for rank in range(1, ranks + 1)]
        assert pool_payouts(sum(weights), ranks, RATES) == model.pool(sum(weights), ranks, RATES)


def ranking_of_rounds(view: RoundView, qualities: dict[str, int]) -> list[str]:
    """By the rounds service, from what the ledger shows."""
    entries = [
        Entry(MemeId(tally.meme_id), UserId("c"), qualities[tally.meme_id], InstantNs(0))
        for tally in view.tallies
    ]
    rows = [
        MemeTally(
            MemeId(tally.meme_id),
            scored_seconds=tally.scored_seconds,
            viewers=tally.viewers,
            first_view_ns=InstantNs(tally.first_view_ns) if tally.first_view_ns else None,
        )
        for tally in view.tallies
    ]
    return list(leaderboard.payable(leaderboard.standings(entries, rows)))


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([750_000, 900_000]),
            st.sampled_from([(), (60,), (30, 30), (20, 20, 20), (72,), (36, 36), (2,)]),
            st.booleans(),
        ),
        min_size=1,
        max_size=9,
    ),
    st.randoms(use_true_random=False),
)
def test_ties(memes: list[tuple[int, tuple[int, ...], bool]], order: object) -> None:
    """Equal scores: more viewers, then the earlier first view, then the lower id. 60 * 0.9 = 72 * 0.75."""
    twin = Twin(silence_s=3_600, each_step=False)
    names = [f"m{number}" for number in range(len(memes))]
    order.shuffle(names)  # type: ignore[attr-defined] # a Random
    entries = [(name, f"c-{name}", quality) for name, (quality, _, _) in zip(names, memes, strict=True)]
    twin.open_round("r", entries, rates=replace(PRIMES, payout_min_sats=1))
    for late in (False, True):
        for name, (_, viewings, is_late) in zip(names, memes, strict=True):
            for place, seconds in enumerate(viewings if is_late is late else ()):
                twin.deposit(f"d:{name}:{place}", f"v-{name}-{place}", seconds)
                twin.open_session(f"s:{name}:{place}", f"v-{name}-{place}", name, seconds)
        twin.wait(1)
    twin.wait(80)
    twin.report_all()
    twin.lock("r")
    qualities = {name: quality for name, _, quality in entries}
    assert ranking_of_rounds(twin.world.round("r"), qualities) == list(twin.slow.ranking(uid("r")))
    twin.distribute("r")
    twin.compare()


def test_all_equal_but_the_id() -> None:
    """Nobody is before another: the lower id is, whatever the order of the entries."""
    twin = Twin(silence_s=3_600, each_step=False)
    memes = ["m3", "m1", "m2"]
    twin.open_round("r", [(meme, f"c-{meme}", 900_000) for meme in memes], rates=PRIMES)
    for meme in memes:
        twin.deposit(meme, f"v-{meme}", 200)
        twin.open_session(meme, f"v-{meme}", meme, 200)
    twin.wait(200)
    twin.report_all()
    twin.lock("r")
    assert twin.slow.ranking(uid("r")) == ("m1", "m2", "m3")
    twin.distribute("r")
    twin.compare()
    assert [payout.rank for payout in twin.world.round("r").payouts if payout.meme_id == "m1"] == [1]


def test_carried_pools_add_up_until_they_can_be_paid() -> None:
    """Rounds too small to pay anyone, one after the other."""
    twin = Twin(silence_s=3_600, each_step=False)
    twin.deposit("d", "v", 1_000)
    paid = []
    for number in range(5):
        twin.open_round(f"r{number}", [("m", "a", 900_001)], rates=PRIMES)
        twin.open_session(f"s{number}", "v", "m", 100)
        twin.wait(43)
        twin.report_all([f"s{number}"])
        twin.lock(f"r{number}")
        twin.distribute(f"r{number}")
        twin.compare()
        paid.append(len(twin.world.round(f"r{number}").payouts))
    # Each leaves 25 sat, and the floor is 97.
    assert paid == [0, 0, 0, 1, 0]
