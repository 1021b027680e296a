"""Pages, quotes, figures and series over real channels."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.market.v1 import market_pb2
from satreel.market.v1 import market_service_pb2 as pb

from mesh.errors import Code
from mesh.ids import uuid7
from tests.market.rpc.channels import Market, a_meme, a_person, refused


async def test_reading(market: Market) -> None:
    seller, buyer = a_person(market), a_person(market)
    listings = [await market.list_title(seller, a_meme(market, seller)) for _ in range(3)]
    with refused("LISTING_NOT_FOUND", Code.NOT_FOUND):
        await market.get(uuid7())
    with refused("SALE_NOT_FOUND", Code.NOT_FOUND):
        await market.stub.GetSale(pb.GetSaleRequest(sale_id=uuid7()))
    asked = [listings[2].id, uuid7(), listings[0].id]
    found = await market.stub.BatchGetListings(pb.BatchGetListingsRequest(listing_ids=asked))
    assert [listing.id for listing in found.listings] == [asked[0], asked[2]]
    first = await market.stub.ListListings(pb.ListListingsRequest(page_size=2))
    following = pb.ListListingsRequest(page_size=2, page_token=first.next_page_token)
    rest = await market.stub.ListListings(following)
    assert [*first.listings, *rest.listings] == listings[::-1]
    assert rest.next_page_token == ""
    for request in (
        pb.ListListingsRequest(page_token="nonsense"),
        pb.ListListingsRequest(page_token=first.next_page_token, seller_id=seller),
    ):
        with refused("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT):
            await market.stub.ListListings(request)
    with refused("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT):
        await market.stub.ListSales(pb.ListSalesRequest(page_token=first.next_page_token))
    sales = [await market.buy(buyer, listing) for listing in listings]
    for which in (pb.ListSalesRequest(user_id=buyer), pb.ListSalesRequest(user_id=seller)):
        assert list((await market.stub.ListSales(which)).sales) == sales[::-1]
    one = pb.ListSalesRequest(meme_id=listings[1].meme_id)
    assert list((await market.stub.ListSales(one)).sales) == [sales[1]]
    open_ones = pb.ListListingsRequest(state=market_pb2.LISTING_STATE_OPEN)
    assert not (await market.stub.ListListings(open_ones)).listings


async def test_figures_and_series(market: Market) -> None:
    people = [a_person(market, 100_000) for _ in range(4)]
    meme = a_meme(market, people[0])
    start = market.after(0)
    for number, price in enumerate((3_000, 5_000, 2_000)):
        listing = await market.list_title(people[number], meme, price)
        await market.buy(people[number + 1], listing, price=price)
    listing = await market.list_title(people[3], meme, 9_000)
    await market.list_title(people[0], a_meme(market, people[0]), 7_000, expires_at=market.after(10))
    overview = (await market.stub.GetOverview(pb.GetOverviewRequest())).overview
    assert (overview.open_listings, overview.floor_price_sats) == (2, 7_000)
    assert (overview.sales, overview.volume_sats) == (3, 10_000)
    await market.world.clock.advance(11)
    overview = (await market.stub.GetOverview(pb.GetOverviewRequest())).overview
    assert (overview.open_listings, overview.floor_price_sats) == (1, 9_000)
    [quote] = (await market.stub.BatchGetQuotes(pb.BatchGetQuotesRequest(meme_ids=[meme]))).quotes
    assert (quote.floor_price_sats, quote.last_price_sats, quote.volume_sats, quote.sales) == (
        (9_000, 2_000, 10_000, 3)
    )
    assert quote.open_listing == listing

    def series(start: Timestamp, end: Timestamp, step: int = 1) -> Any:
        return market.stub.GetSeries(pb.GetSeriesRequest(meme_id=meme, step=step, start=start, end=end))  # type: ignore[arg-type] # the contract's numbers

    for step in (market_pb2.STEP_HOUR, market_pb2.STEP_DAY):
        candles = (await series(start, market.after(1), step)).candles
        assert sum(candle.sales for candle in candles) == 3
        assert (candles[0].open_sats, candles[-1].close_sats) == (3_000, 2_000)
        assert (max(c.high_sats for c in candles), min(c.low_sats for c in candles)) == (5_000, 2_000)
        assert sum(candle.volume_sats for candle in candles) == 10_000
    assert not (await series(market.after(3_600), market.after(7_200))).candles
    with refused("SERIES_RANGE_INVALID", Code.INVALID_ARGUMENT, maximum="1000"):
        await series(start, market.after(1_001 * 3_600))
    with refused("SERIES_RANGE_INVALID"):
        await series(start, start)
    with refused("INVALID_ARGUMENT"):
        await series(start, market.after(1), 0)
