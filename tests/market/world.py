"""The market's use cases over a real store and the fakes; can be started again as after a crash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.clock import NS_PER_S, Clock, ManualClock
from mesh.ids import uuid7
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.market.adapters.peers import GrpcLedger
from services.market.adapters.records import (
    SETS,
    StoredCandles,
    StoredListings,
    StoredOffers,
    StoredQuotes,
    StoredSales,
)
from services.market.app import parts
from services.market.app.parts import Parts
from services.market.app.ports import Chain, Ledger, ListingFilter, News, OfferFilter, SaleFilter
from services.market.app.recovery import RECOVER_AFTER_S
from services.market.domain.candles import Candle, Step
from services.market.domain.deals import FEE_ACCOUNT
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Quote, Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import NEVER, ListingId, MemeId, OfferId, SaleId, Sats, Terms, UserId
from tests.market.fakes import BookLedger, FakeChain, FakeNews, FaultyStore, FaultyStub, Steps, as_store

PRICE = 5_000
FUNDS = 20_000
HOUR_S = 3_600.0


def instance_over(store: Store, ledger: Ledger, chain: Chain, news: News, clock: Clock) -> Parts:
    """One process of the market: all its parts, over this store."""
    return Parts(
        parts.World(
            listings=StoredListings(store),
            offers=StoredOffers(store),
            sales=StoredSales(store),
            quotes=StoredQuotes(store),
            candles=StoredCandles(store),
            ledger=ledger,
            chain=chain,
            news=news,
            clock=clock,
        )
    )


class World:
    """A market, and everyone in it."""

    def __init__(self, store: Store, clock: ManualClock | None = None) -> None:
        self.steps = Steps()
        self.clock = clock or ManualClock()
        self.store = store
        self.ledger = BookLedger(self.clock.now_ns)
        stub: Any = FaultyStub(self.ledger, self.steps)
        self.ledger_port: Ledger = GrpcLedger(stub)
        self.chain = FakeChain(self.steps)
        self.chain_port: Chain = self.chain
        self.news = FakeNews()
        self.news_port: News = self.news
        self._hit = False
        self.start()

    def instance(self, store: Store | None = None) -> Parts:
        """Another process of the same market."""
        faulty = as_store(FaultyStore(store or self.store, self.steps))
        return instance_over(faulty, self.ledger_port, self.chain_port, self.news_port, self.clock)

    def start(self) -> None:
        """A new process: nothing is left but what is in the store."""
        one = self.one = self.instance()
        stored = one.world
        self.listings, self.offers, self.sales = stored.listings, stored.offers, stored.sales
        self.quotes = stored.quotes
        self.selling, self.buying, self.reading = one.selling, one.buying, one.reading
        self.bidding, self.accepting = one.bidding, one.accepting
        self.outbox, self.recovery, self.expiry = one.outbox, one.recovery, one.expiry

    @property
    def hit(self) -> bool:
        """Whether the fault of this run was reached."""
        return self._hit or self.steps.hit

    def remember_hit(self) -> None:
        """To be asked after the part that is to go wrong."""
        self._hit = self.steps.hit

    def new_id(self) -> str:
        return uuid7(self.clock.now_ns())

    def person(self, sats: int = FUNDS) -> UserId:
        user_id = UserId(self.new_id())
        self.ledger.fund(user_id, sats)
        return user_id

    def meme(self, owner: UserId) -> MemeId:
        meme_id = MemeId(self.new_id())
        self.ledger.issue(meme_id, owner)
        return meme_id

    def after(self, seconds: float) -> int:
        """An instant so long after now."""
        return self.clock.now_ns() + round(seconds * NS_PER_S)

    async def list_title(
        self,
        seller: UserId,
        meme: MemeId,
        price: int = PRICE,
        *,
        listing_id: str = "",
        expires_ns: int = NEVER,
        at: Parts | None = None,
    ) -> Listing:
        return await (at or self.one).selling.create(
            listing_id=ListingId(listing_id or self.new_id()),
            meme_id=meme,
            seller_id=seller,
            terms=Terms(Sats(price), expires_ns),
        )

    async def buy(
        self,
        buyer: UserId,
        listing: Listing,
        sale_id: str = "",
        expected: int | None = None,
        at: Parts | None = None,
    ) -> Sale:
        return await (at or self.one).buying.purchase(
            sale_id=SaleId(sale_id or self.new_id()),
            listing_id=listing.id,
            buyer_id=buyer,
            expected_price_sats=listing.price_sats if expected is None else expected,
        )

    async def offer(
        self,
        buyer: UserId,
        meme: MemeId,
        price: int = PRICE,
        *,
        offer_id: str = "",
        expires_ns: int | None = None,
        at: Parts | None = None,
    ) -> Offer:
        return await (at or self.one).bidding.make(
            offer_id=OfferId(offer_id or self.new_id()),
            meme_id=meme,
            buyer_id=buyer,
            terms=Terms(Sats(price), self.after(HOUR_S) if expires_ns is None else expires_ns),
        )

    async def accept(self, seller: UserId, offer: Offer, sale_id: str = "", at: Parts | None = None) -> Sale:
        return await (at or self.one).accepting.accept(
            sale_id=SaleId(sale_id or self.new_id()), offer_id=offer.id, user_id=seller
        )

    async def settle_down(self) -> None:
        """Starts anew and lets background work end everything, with nothing going wrong any more."""
        self.steps.go_right()
        self.ledger.arrive()
        self.start()
        await self.clock.advance(RECOVER_AFTER_S)
        await self.recovery.recover(age_s=RECOVER_AFTER_S)
        await self.expiry.sweep()
        assert await self.outbox.deliver()
        await self.recovery.recover(age_s=0)

    async def state(self) -> object:
        """Everything that can be seen, to be compared."""
        listings, offers, sales = await self.everything()
        return listings, offers, sales, self.ledger.digest(), dict(self.chain.accepted)

    async def sales_made(self) -> list[Sale]:
        return (await self.everything())[2]

    async def everything(self) -> tuple[list[Listing], list[Offer], list[Sale]]:
        now_ns = self.clock.now_ns()
        listings, _ = await self.listings.page(ListingFilter(), now_ns, after="", limit=1_000)
        offers, _ = await self.offers.page(OfferFilter(), now_ns, after="", limit=1_000)
        sales, _ = await self.sales.page(SaleFilter(), after="", limit=1_000)
        return listings, offers, sales

    async def check(self) -> None:
        """What must hold whenever everything has come to rest."""
        self.ledger.check()
        listings, offers, sales = await self.everything()
        assert {listing.state for listing in listings} <= set(ListingState) - {ListingState.SETTLING}
        assert {offer.state for offer in offers} <= set(OfferState) - {
            OfferState.SETTLING,
            OfferState.PENDING,
        }
        by_id = {sale.id: sale for sale in sales}
        self._check_ends(listings, offers, by_id)
        assert self.ledger.sold() == dict.fromkeys(by_id, 3)
        assert self.ledger.sats(FEE_ACCOUNT) == sum(sale.fee_sats for sale in sales)
        assert set(self.chain.accepted) == set(by_id)
        self._check_holds(offers)
        for meme_id in {listing.meme_id for listing in listings} | {offer.meme_id for offer in offers}:
            await self._check_meme(meme_id, listings, [sale for sale in sales if sale.meme_id == meme_id])

    def _check_ends(self, listings: list[Listing], offers: list[Offer], sales: dict[SaleId, Sale]) -> None:
        """Each sale ended exactly one listing or offer, with its price, before its time was over."""
        ends: list[str] = []
        items: list[Listing | Offer] = [*listings, *offers]
        for item in items:
            if item.sale_id is None:
                assert item.state not in (ListingState.SOLD, OfferState.ACCEPTED)
                continue
            sale = sales[item.sale_id]
            ends.append(sale.id)
            assert item.id in (sale.listing_id, sale.offer_id)
            assert (item.price_sats, item.seller_id) == (sale.price_sats, sale.seller_id)
        assert sorted(ends) == sorted(sales)

    def _check_holds(self, offers: list[Offer]) -> None:
        """What is held is what open offers offer, and nothing else."""
        held: dict[UserId, int] = defaultdict(int)
        for offer in offers:
            held[offer.buyer_id] += offer.price_sats if offer.state is OfferState.OPEN else 0
            assert offer.held == (offer.state is OfferState.OPEN), offer
            if offer.state is OfferState.OPEN:
                assert self.ledger.owner_of(offer.meme_id) == offer.seller_id, offer
        for buyer_id, sats in held.items():
            assert self.ledger.held(buyer_id) == sats

    async def _check_meme(self, meme_id: MemeId, listings: list[Listing], sales: list[Sale]) -> None:
        mine = [listing for listing in listings if listing.meme_id == meme_id]
        open_ones = [listing.id for listing in mine if listing.state is ListingState.OPEN]
        quote = await self.quotes.get(meme_id)
        assert len(open_ones) <= 1
        if open_ones:
            assert quote.place is not None
            assert quote.place.key == open_ones[0]
        in_order = sorted(sales, key=lambda sale: sale.number)
        assert [sale.number for sale in in_order] == list(range(1, len(sales) + 1))
        assert quote == recomputed_quote(meme_id, in_order, quote)
        for step in Step:
            assert await self.candles(meme_id, step, in_order) == recomputed_candles(step, in_order)
        if in_order:
            assert self.ledger.owner_of(meme_id) == in_order[-1].buyer_id, in_order
            assert self.chain.owners[meme_id] == in_order[-1].buyer_id, in_order

    async def candles(self, meme_id: MemeId, step: Step, sales: list[Sale]) -> dict[int, Candle]:
        """The candles that are kept of the time in which these sales lie."""
        if not sales:
            return {}
        first, last = sales[0].sold_ns, sales[-1].sold_ns
        series = await self.reading.series(meme_id, step, first, last + 1)
        return {place.starts_ns: candle for place, candle in series}


def recomputed_quote(meme_id: MemeId, sales: list[Sale], quote: Quote) -> Quote:
    """The slow way: from the sales, in their order, and nothing else."""
    return Quote(
        meme_id=meme_id,
        place=quote.place,
        last_price_sats=sales[-1].price_sats if sales else Sats(0),
        last_sold_ns=sales[-1].sold_ns if sales else 0,
        sales=len(sales),
        volume_sats=Sats(sum(sale.price_sats for sale in sales)),
    )


def recomputed_candles(step: Step, sales: list[Sale]) -> dict[int, Candle]:
    """The slow way: from the sales, in their order, and nothing else."""
    found: dict[int, list[Sale]] = defaultdict(list)
    for sale in sales:
        found[sale.sold_ns - sale.sold_ns % step.ns].append(sale)
    return {
        starts_ns: Candle(
            open_sats=inside[0].price_sats,
            high_sats=max(sale.price_sats for sale in inside),
            low_sats=min(sale.price_sats for sale in inside),
            close_sats=inside[-1].price_sats,
            volume_sats=Sats(sum(sale.price_sats for sale in inside)),
            sales=len(inside),
            last_number=inside[-1].number,
        )
        for starts_ns, inside in found.items()
    }


@asynccontextmanager
async def open_world(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[World]:
    async with open_sqlite(folder / f"market-{uuid7()}.sqlite", SETS) as store:
        yield World(store, clock)
