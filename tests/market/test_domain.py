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
from services.market.domain.failures import ImpossibleMove, PageTokenInvalid, PriceTooLow
from services.market.domain.listings import (
    MOVES,
    PRICE_MAX_SATS,
    PRICE_MIN_SATS,
    Attempt,
    Listing,
    ListingId,
    ListingState,
    MemeId,
    SaleId,
    Sats,
    UserId,
    check_id_fresh,
    new_listing,
)
from services.market.domain.pages import page_token, read_page_token
from services.market.domain.sales import FEE_ACCOUNT, Leg, Quote, fee_of, sale_of, settlement

NOW_NS = 1_800_000_000 * NS_PER_S
prices = st.integers(PRICE_MIN_SATS, PRICE_MAX_SATS).map(Sats)

SALE = uuid7(NOW_NS, 1)


def listing(price: int = 5_000) -> Listing:
    return new_listing(
        listing_id=ListingId(uuid7(NOW_NS)),
        meme_id=MemeId("meme"),
        seller_id=UserId("seller"),
        price_sats=price,
        now_ns=NOW_NS,
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
    legs = settlement(listing(price), attempt())
    sats = [leg for leg in legs if leg.asset == "sat"]
    assert sum(leg.amount for leg in sats) == price
    assert all(leg.amount >= 1 for leg in legs)
    assert {leg.debit_account for leg in sats} == {"user:buyer"}
    assert [leg.credit_account for leg in sats] == ["user:seller", FEE_ACCOUNT]
    title = legs[-1]
    assert (title.leg, title.asset, title.amount) == (Leg.TITLE, "title:meme", 1)
    assert (title.debit_account, title.credit_account) == ("user:seller", "user:buyer")


def test_transfer_ids_follow_from_the_sale_alone() -> None:
    first, again, other = (settlement(listing(), attempt(sale)) for sale in (SALE, SALE, uuid7(NOW_NS, 2)))
    assert [leg.id for leg in first] == [leg.id for leg in again]
    assert len({leg.id for leg in (*first, *other)}) == 6
    # Settlements begun by an older version must be finished with the same ids.
    assert first[0].id == "01a3185c-5000-8e08-976b-7fe5aa0e2949"
    # The ledger takes only ids that were made lately: they carry the time of the sale's.
    assert all(leg.id.startswith(SALE[:13]) for leg in first)


@pytest.mark.parametrize("price", [1, 999])
def test_price_too_low(price: int) -> None:
    with pytest.raises(PriceTooLow) as caught:
        listing(price)
    assert caught.value.metadata == {"minimum": "1000"}


def test_price_bounds() -> None:
    assert listing(PRICE_MIN_SATS).price_sats == 1_000
    with pytest.raises(InvalidArgument):
        listing(PRICE_MAX_SATS + 1)


def test_an_id_from_the_future_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        new_listing(
            listing_id=ListingId(uuid7(NOW_NS + 25 * 3600 * NS_PER_S)),
            meme_id=MemeId("meme"),
            seller_id=UserId("seller"),
            price_sats=1_000,
            now_ns=NOW_NS,
        )


@pytest.mark.parametrize("before", ListingState)
@pytest.mark.parametrize("after", ListingState)
def test_only_the_moves_of_the_table(before: ListingState, after: ListingState) -> None:
    subject = replace(listing(), state=before)
    moves: dict[ListingState, Callable[[], Listing]] = {
        ListingState.OPEN: subject.reopened,
        ListingState.SETTLING: lambda: subject.claimed(attempt()),
        ListingState.SOLD: lambda: subject.sold(SaleId("sale"), NOW_NS),
        ListingState.CANCELLED: lambda: subject.cancelled(NOW_NS),
    }
    if after in MOVES[before]:
        moved = moves[after]()
        assert moved.state is after
        assert moved.same_offer(subject)
        assert (moved.attempt is not None) == (after is ListingState.SETTLING)
        assert bool(moved.closed_ns) == moved.is_closed
    else:
        with pytest.raises(ImpossibleMove):
            moves[after]()


@given(st.lists(prices, max_size=20))
def test_a_quote_is_the_sum_of_its_sales(paid: list[Sats]) -> None:
    quote = Quote(MemeId("meme"))
    for number, price in enumerate(paid, start=1):
        offered = listing(price)
        quote = quote.taken_by(offered).taken_by(listing())
        assert quote.place == offered
        sale = sale_of(offered, attempt(f"s{number}"), number=quote.sales + 1, now_ns=NOW_NS)
        assert sale.number == number
        quote = quote.counting(sale).counting(sale).freed_by(offered.id)
    assert (quote.sales, quote.volume_sats) == (len(paid), sum(paid))
    assert quote.last_price_sats == (paid[-1] if paid else 0)
    assert quote.place is None


@given(st.text(max_size=20), st.text("0123456789abcdef-", min_size=1, max_size=36))
def test_page_tokens_lead_back(scope: str, after: str) -> None:
    assert read_page_token(scope, page_token(scope, after)) == after
    with pytest.raises(PageTokenInvalid):
        read_page_token(scope + "x", page_token(scope, after))


@given(st.text(min_size=1, max_size=60))
def test_other_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        read_page_token("scope", token)


def test_an_old_id_of_a_sale_is_refused() -> None:
    check_id_fresh(uuid7(NOW_NS - 23 * 3600 * NS_PER_S), NOW_NS)
    with pytest.raises(InvalidArgument):
        check_id_fresh(uuid7(NOW_NS - 25 * 3600 * NS_PER_S), NOW_NS)
