"""The market's use cases over a real store and the fakes; can be started again as after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.clock import ManualClock
from mesh.ids import uuid7
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.market.adapters.records import SETS, StoredListings, StoredQuotes, StoredSales
from services.market.app.afterwards import RECOVER_AFTER_S, Outbox, Recovery
from services.market.app.buying import Buying
from services.market.app.ports import ListingFilter, SaleFilter
from services.market.app.reading import Reading
from services.market.app.selling import Selling
from services.market.app.settlement import Settlement
from services.market.domain.listings import Listing, ListingId, ListingState, MemeId, SaleId, Sats, UserId
from services.market.domain.sales import FEE_ACCOUNT, Quote, Sale
from tests.market.fakes import FakeChain, FakeLedger, FakeNews, FaultyStore, Steps, as_store

PRICE = 5_000
FUNDS = 20_000


class World:
    """A market, and everyone in it."""

    def __init__(self, store: Store) -> None:
        self.steps = Steps()
        self.clock = ManualClock()
        self.store = store
        self.ledger = FakeLedger(self.steps)
        self.chain = FakeChain(self.steps)
        self.news = FakeNews()
        self._hit = False
        self.start()

    def start(self) -> None:
        """A new process: nothing is left but what is in the store."""
        store = as_store(FaultyStore(self.store, self.steps))
        self.listings, self.sales, self.quotes = (
            StoredListings(store),
            StoredSales(store),
            StoredQuotes(store),
        )
        clock, ledger, news = self.clock, self.ledger, self.news
        self.outbox = Outbox(
            listings=self.listings, sales=self.sales, chain=self.chain, news=news, clock=clock
        )
        self.settlement = Settlement(
            listings=self.listings,
            sales=self.sales,
            quotes=self.quotes,
            ledger=ledger,
            news=news,
            clock=clock,
            wake_outbox=self.outbox.wake,
        )
        self.recovery = Recovery(listings=self.listings, settlement=self.settlement, clock=clock)
        self.selling = Selling(
            listings=self.listings, quotes=self.quotes, ledger=ledger, news=news, clock=clock
        )
        self.buying = Buying(
            listings=self.listings, sales=self.sales, ledger=ledger, settlement=self.settlement, clock=clock
        )
        self.reading = Reading(listings=self.listings, sales=self.sales, quotes=self.quotes)

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

    async def offer(self, seller: UserId, meme: MemeId, price: int = PRICE, listing_id: str = "") -> Listing:
        return await self.selling.create(
            listing_id=ListingId(listing_id or self.new_id()),
            meme_id=meme,
            seller_id=seller,
            price_sats=price,
        )

    async def buy(
        self, buyer: UserId, listing: Listing, sale_id: str = "", expected: int | None = None
    ) -> Sale:
        return await self.buying.purchase(
            sale_id=SaleId(sale_id or self.new_id()),
            listing_id=listing.id,
            buyer_id=buyer,
            expected_price_sats=listing.price_sats if expected is None else expected,
        )

    async def settle_down(self) -> None:
        """Starts anew and lets recovery and outbox end everything, with nothing going wrong any more."""
        self.steps.go_right()
        self.ledger.arrive()
        self.start()
        await self.clock.advance(RECOVER_AFTER_S)
        await self.recovery.recover(age_s=RECOVER_AFTER_S)
        assert await self.outbox.deliver()

    async def state(self) -> object:
        """Everything that can be seen, to be compared."""
        listings, _ = await self.listings.page(ListingFilter(), after="", limit=1_000)
        return listings, await self.all_sales(), dict(+self.ledger.balances), dict(self.chain.accepted)

    async def all_sales(self) -> list[Sale]:
        sales, _ = await self.sales.page(SaleFilter(), after="", limit=1_000)
        return sales

    async def check(self) -> None:
        """What must hold whenever everything has come to rest."""
        self.ledger.check_conservation()
        listings, _ = await self.listings.page(ListingFilter(), after="", limit=1_000)
        sales = await self.all_sales()
        assert all(listing.state is not ListingState.SETTLING for listing in listings)
        sold = {listing.sale_id for listing in listings if listing.state is ListingState.SOLD}
        assert sold == {sale.id for sale in sales}
        assert len(self.ledger.made) == 3 * len(sales)
        assert self.ledger.sats(FEE_ACCOUNT) == sum(sale.fee_sats for sale in sales)
        assert set(self.chain.accepted) == sold
        for meme_id in {listing.meme_id for listing in listings}:
            await self._check_meme(meme_id, listings, [sale for sale in sales if sale.meme_id == meme_id])

    async def _check_meme(self, meme_id: MemeId, listings: list[Listing], sales: list[Sale]) -> None:
        mine = [listing for listing in listings if listing.meme_id == meme_id]
        open_ones = [listing.id for listing in mine if listing.state is ListingState.OPEN]
        quote = await self.quotes.get(meme_id)
        assert len(open_ones) <= 1
        if open_ones:
            assert quote.place is not None
            assert quote.place.id == open_ones[0]
        in_order = sorted(sales, key=lambda sale: sale.number)
        assert [sale.number for sale in in_order] == list(range(1, len(sales) + 1))
        assert quote == Quote(
            meme_id=meme_id,
            place=quote.place,
            last_price_sats=in_order[-1].price_sats if in_order else quote.last_price_sats,
            sales=len(sales),
            volume_sats=Sats(sum(sale.price_sats for sale in sales)),
        )
        if in_order:
            assert self.chain.owners[meme_id] == in_order[-1].buyer_id == self.ledger.owner_of(meme_id)


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    async with open_sqlite(folder / f"market-{uuid7()}.sqlite", SETS) as store:
        yield World(store)
