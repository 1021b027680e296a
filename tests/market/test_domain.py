"""Rules: prices, fees, states, page tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import NS_PER_S
from mesh.errors import InvalidArgument
from mesh.ids import uuid7
from services.market.domain import states
from services.market.domain.candles import STEPS_MAX, Candle, Place, Step, adding, places_between, places_of
from services.market.domain.deals import (
    FEE_ACCOUNT,
    HOLD_OUTLASTS_S,
    Acceptance,
    Act,
    Leg,
    acceptance,
    fee_of,
    holds,
    purchase,
    releases,
    settlement,
)
from services.market.domain.failures import (
    ExpiryInvalid,
    ImpossibleMove,
    PriceTooLow,
    SeriesRangeInvalid,
)
from services.market.domain.listings import Listing, check_terms, new_listing
from services.market.domain.offers import Offer, check_new
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import (
    LISTING_LASTS_MAX_S,
    NEVER,
    OFFER_LASTS_MAX_S,
    PRICE_MAX_SATS,
    PRICE_MIN_SATS,
    Attempt,
    ListingId,
    MemeId,
    OfferId,
    SaleId,
    Sats,
    Terms,
    UserId,
    check_id_fresh,
)

NOW_NS = 1_800_000_000 * NS_PER_S
prices = st.integers(PRICE_MIN_SATS, PRICE_MAX_SATS).map(Sats)

SALE = uuid7(NOW_NS, 1)


def listing(price: int = 5_000, expires_ns: int = NEVER) -> Listing:
    return new_listing(
        listing_id=ListingId(uuid7(NOW_NS)),
        meme_id=MemeId("meme"),
        seller_id=UserId("seller"),
        terms=Terms(Sats(price), expires_ns),
        now_ns=NOW_NS,
    )


def offer(price: int = 5_000, lasts_s: float = 60) -> Offer:
    return Offer(
        id=OfferId(uuid7(NOW_NS)),
        meme_id=MemeId("meme"),
        seller_id=UserId("seller"),
        buyer_id=UserId("buyer"),
        terms=Terms(Sats(price), NOW_NS + round(lasts_s * NS_PER_S)),
        created_ns=NOW_NS,
    )


def attempt(sale_id: str = SALE) -> Attempt:
    return Attempt(SaleId(sale_id), UserId("buyer"), NOW_NS)


@given(prices)
def test_fee_is_two_percent_rounded_down(price: Sats) -> None:
    fee = fee_of(price)
    assert fee * 50 <= price < (fee + 1) * 50


@pytest.mark.parametrize(("price", "fee"), [(1_000, 20), (1_049, 20), (1_050, 21), (99_999, 1_999)])
def test_fee_examples(price: int, fee: int) -> None:
    assert fee_of(Sats(price)) == fee


@given(prices)
def test_a_settlement_moves_exactly_the_price_and_the_title(price: Sats) -> None:
    legs = settlement(purchase(listing(price), attempt()))
    sats = [leg for leg in legs if leg.asset == "sat"]
    assert sum(leg.amount for leg in sats) == price
    assert all(leg.amount >= 1 for leg in legs)
    assert {leg.debit_account for leg in sats} == {"user:buyer"}
    assert [leg.credit_account for leg in sats] == ["user:seller", FEE_ACCOUNT]
    title = legs[-1]
    assert (title.leg, title.asset, title.amount) == (Leg.TITLE, "title:meme", 1)
    assert (title.debit_account, title.credit_account) == ("user:seller", "user:buyer")


def test_transfer_ids_follow_from_the_sale_alone() -> None:
    deals = (purchase(listing(), attempt(sale)) for sale in (SALE, SALE, uuid7(NOW_NS, 2)))
    first, again, other = (settlement(deal) for deal in deals)
    assert [leg.id for leg in first] == [leg.id for leg in again]
    assert len({leg.id for leg in (*first, *other)}) == 6
    # Settlements begun by an older version must be finished with the same ids.
    assert first[0].id == "01a3185c-5000-8e08-976b-7fe5aa0e2949"
    # The ledger takes only ids that were made lately: they carry the time of the sale's.
    assert all(leg.id.startswith(SALE[:13]) for leg in first)


def test_an_acceptance_posts_what_the_offer_holds() -> None:
    made = offer(1_049)
    kept = holds(made)
    assert [(hold.act, hold.credit_account, hold.amount) for hold in kept] == [
        (Act.HOLD, "user:seller", 1_029),
        (Act.HOLD, FEE_ACCOUNT, 20),
    ]
    assert {hold.debit_account for hold in kept} == {"user:buyer"}
    legs = settlement(acceptance(made, attempt()))
    assert [leg.hold_id for leg in legs] == [kept[0].id, kept[1].id, ""]
    assert [leg.hold_id for leg in releases(made)] == [kept[0].id, kept[1].id]
    ids = [transfer.id for transfer in (*kept, *legs, *releases(made))]
    assert len(set(ids)) == 7
    assert legs[2] == settlement(purchase(listing(), attempt()))[2]


@given(st.floats(0.001, OFFER_LASTS_MAX_S))
def test_money_is_held_longer_than_the_offer_lasts(lasts_s: float) -> None:
    made = offer(lasts_s=lasts_s)
    ends_ns = made.created_ns + holds(made)[0].hold_expires_s * NS_PER_S
    assert 0 <= ends_ns - made.terms.expires_ns - HOLD_OUTLASTS_S * NS_PER_S < NS_PER_S


@pytest.mark.parametrize("price", [1, 999])
def test_price_too_low(price: int) -> None:
    with pytest.raises(PriceTooLow) as caught:
        check_terms(Terms(Sats(price)), NOW_NS)
    assert caught.value.metadata == {"minimum": "1000"}


def test_price_bounds() -> None:
    check_terms(Terms(PRICE_MIN_SATS), NOW_NS)
    check_terms(Terms(PRICE_MAX_SATS), NOW_NS)
    with pytest.raises(InvalidArgument):
        check_terms(Terms(Sats(PRICE_MAX_SATS + 1)), NOW_NS)


@pytest.mark.parametrize("lasts_s", [1, LISTING_LASTS_MAX_S])
def test_an_expiry_ahead(lasts_s: int) -> None:
    check_terms(Terms(PRICE_MIN_SATS, NOW_NS + lasts_s * NS_PER_S), NOW_NS)


@pytest.mark.parametrize("expires_ns", [1, NOW_NS, NOW_NS + LISTING_LASTS_MAX_S * NS_PER_S + 1])
def test_an_expiry_that_is_past_or_too_far_ahead(expires_ns: int) -> None:
    with pytest.raises(ExpiryInvalid) as caught:
        check_terms(Terms(PRICE_MIN_SATS, expires_ns), NOW_NS)
    assert caught.value.metadata == {"longest_s": str(LISTING_LASTS_MAX_S)}


def test_offers_last_thirty_days() -> None:
    longest_ns = NOW_NS + OFFER_LASTS_MAX_S * NS_PER_S
    check_new(OfferId(uuid7(NOW_NS)), Terms(PRICE_MIN_SATS, longest_ns), NOW_NS)
    with pytest.raises(ExpiryInvalid):
        check_new(OfferId(uuid7(NOW_NS)), Terms(PRICE_MIN_SATS, longest_ns + 1), NOW_NS)


def test_an_id_from_the_future_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        new_listing(
            listing_id=ListingId(uuid7(NOW_NS + 25 * 3600 * NS_PER_S)),
            meme_id=MemeId("meme"),
            seller_id=UserId("seller"),
            terms=Terms(PRICE_MIN_SATS),
            now_ns=NOW_NS,
        )


@pytest.mark.parametrize("before", ListingState)
@pytest.mark.parametrize("after", ListingState)
def test_only_the_moves_of_the_listings_table(before: ListingState, after: ListingState) -> None:
    subject = replace(listing(expires_ns=NOW_NS + 5), state=before)
    moves: dict[ListingState, Callable[[], Listing]] = {
        ListingState.OPEN: lambda: subject.reopened(NOW_NS),
        ListingState.SETTLING: lambda: subject.claimed(attempt()),
        ListingState.SOLD: lambda: subject.sold(SaleId("sale"), NOW_NS),
        ListingState.CANCELLED: lambda: subject.cancelled(NOW_NS),
        ListingState.EXPIRED: lambda: subject.as_of(NOW_NS + 5),
    }
    if after in states.LISTING[before]:
        moved = moves[after]()
        assert moved.state is after
        assert moved.same_words(subject)
        assert (moved.attempt is not None) == (after is ListingState.SETTLING)
        assert bool(moved.closed_ns) == moved.is_closed
    elif after is ListingState.EXPIRED:
        assert moves[after]() == subject
    else:
        with pytest.raises(ImpossibleMove):
            moves[after]()


@pytest.mark.parametrize("before", OfferState)
@pytest.mark.parametrize("after", sorted(set(OfferState) - {OfferState.PENDING, OfferState.EXPIRED}))
def test_only_the_moves_of_the_offers_table(before: OfferState, after: OfferState) -> None:
    subject = replace(offer(), state=before)
    moves: dict[OfferState, Callable[[], Offer]] = {
        OfferState.OPEN: lambda: subject.opened(NOW_NS),
        OfferState.SETTLING: lambda: subject.claimed(attempt()),
        OfferState.ACCEPTED: lambda: subject.accepted(SaleId("sale"), NOW_NS),
        OfferState.CANCELLED: lambda: subject.closed(OfferState.CANCELLED, NOW_NS),
        OfferState.SUPERSEDED: lambda: subject.closed(OfferState.SUPERSEDED, NOW_NS),
        OfferState.REFUSED: lambda: subject.refused(NOW_NS),
    }
    if after in states.OFFER[before]:
        moved = moves[after]()
        assert moved.state is after
        assert bool(moved.closed_ns) == moved.is_closed
        assert moved.held == (after not in (OfferState.ACCEPTED, OfferState.REFUSED))
    else:
        with pytest.raises(ImpossibleMove):
            moves[after]()


def test_what_is_over_has_expired_whether_or_not_that_is_written_down() -> None:
    made = replace(offer(), state=OfferState.OPEN)
    expires_ns = made.terms.expires_ns
    assert made.as_of(expires_ns - 1) == made
    expired = made.as_of(expires_ns)
    assert (expired.state, expired.closed_ns) == (OfferState.EXPIRED, expires_ns)
    assert made.as_of(expires_ns + 10**12) == expired
    claimed = made.claimed(attempt())
    assert claimed.as_of(expires_ns) == claimed, "claimed in time"
    assert claimed.opened(expires_ns) == expired


def sold(quote: Quote, price: int, sale_id: str = "sale", now_ns: int = NOW_NS) -> Sale:
    return quote.next_sale(purchase(listing(price), attempt(sale_id)), now_ns)


@given(st.lists(prices, max_size=20))
def test_a_quote_is_the_sum_of_its_sales(paid: list[Sats]) -> None:
    quote = Quote(MemeId("meme"))
    for number, price in enumerate(paid, start=1):
        offered = listing(price)
        quote = quote.taken_by(offered).taken_by(listing())
        assert quote.place == offered
        sale = sold(quote, price, f"s{number}")
        assert sale.number == number
        quote = quote.counting(sale, offered).counting(sale, offered).freed_by(offered)
        again = quote.taken_by(offered).counting(sale, offered)
        assert again == quote, "whoever comes late takes the place and counts nothing"
    assert (quote.sales, quote.volume_sats) == (len(paid), sum(paid))
    assert quote.last_price_sats == (paid[-1] if paid else 0)
    assert quote.place is None


def test_an_acceptance_frees_no_place_but_its_own() -> None:
    made = replace(offer(), state=OfferState.OPEN)
    first, second = (Acceptance(made.id, Attempt(SaleId(SALE), UserId("buyer"), at)) for at in (1, 2))
    quote = Quote(MemeId("meme")).taken_by(second)
    assert quote.freed_by(first) == quote
    assert quote.freed_by(second).place is None


def test_the_order_of_sales_is_that_of_their_times_whatever_clocks_say() -> None:
    quote = replace(Quote(MemeId("meme")), last_sold_ns=NOW_NS + 5)
    assert sold(quote, 1_000).sold_ns == NOW_NS + 5
    with pytest.raises(ImpossibleMove):
        quote.next_sale(purchase(replace(listing(), seller_id=UserId("buyer")), attempt()), NOW_NS)


@given(st.lists(st.tuples(prices, st.integers(0, 3_000)), max_size=20))
def test_candles_are_what_the_sales_make(paid: list[tuple[Sats, int]]) -> None:
    quote, kept, sales, now_ns = Quote(MemeId("meme")), dict[Place, Candle](), list[Sale](), NOW_NS
    for price, later_s in paid:
        now_ns += later_s * NS_PER_S
        holder = listing(price)
        sale = sold(quote.taken_by(holder), price, f"s{len(sales)}", now_ns)
        quote = quote.taken_by(holder).counting(sale, holder)
        sales.append(sale)
        for again in (sale, *sales):
            for place in places_of(again):
                kept[place] = adding(kept.get(place), again)
    for place, candle in kept.items():
        inside = [sale.price_sats for sale in sales if place in places_of(sale)]
        assert (candle.open_sats, candle.close_sats) == (inside[0], inside[-1])
        assert (candle.high_sats, candle.low_sats) == (max(inside), min(inside))
        assert (candle.volume_sats, candle.sales) == (sum(inside), len(inside))
    assert {place for sale in sales for place in places_of(sale)} == set(kept)


def test_steps_begin_at_whole_hours_and_days() -> None:
    places = places_between(MemeId("meme"), Step.HOUR, NOW_NS, NOW_NS + 1)
    assert [place.starts_ns for place in places] == [NOW_NS // (3600 * NS_PER_S) * 3600 * NS_PER_S]
    day = Step.DAY.ns
    assert len(places_between(MemeId("meme"), Step.DAY, 0, STEPS_MAX * day)) == STEPS_MAX
    for start, end in ((5, 5), (6, 5), (0, STEPS_MAX * day + 1)):
        with pytest.raises(SeriesRangeInvalid) as caught:
            places_between(MemeId("meme"), Step.DAY, start, end)
        assert caught.value.metadata == {"maximum": "1000"}


def test_an_old_id_of_a_sale_is_refused() -> None:
    check_id_fresh(uuid7(NOW_NS - 23 * 3600 * NS_PER_S), NOW_NS)
    with pytest.raises(InvalidArgument):
        check_id_fresh(uuid7(NOW_NS - 25 * 3600 * NS_PER_S), NOW_NS)
