"""Outbox: the consequences of sales, seen to until all are done."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Failure
from services.market.app.bidding import Bidding
from services.market.app.ports import Chain, Listings, News, Offers, Sales
from services.market.domain.sales import Sale
from services.market.domain.states import ListingState, OfferState
from services.market.domain.values import MemeId

log = logs.logger(__name__)

OUTBOX_INTERVAL_S = 2.0
OUTBOX_INTERVAL_MAX_S = 60.0
MEMES_AT_ONCE = 8


class Outbox:
    """Tells sales, closes offers to former owners, and has titles moved on chain.

    Transfers of one meme are asked for in the order of its sales, each after the one before was accepted, so
    that the title ends on chain where it ended in the ledger.
    """

    def __init__(
        self,
        *,
        listings: Listings,
        offers: Offers,
        sales: Sales,
        bidding: Bidding,
        chain: Chain,
        news: News,
        clock: Clock,
    ) -> None:
        self._listings = listings
        self._offers = offers
        self._sales = sales
        self._bidding = bidding
        self._chain = chain
        self._news = news
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Delivers when woken, and again, less and less often, while something is not accepted."""
        interval_s = OUTBOX_INTERVAL_S
        while True:
            self._woken.clear()
            delivered = await self.deliver()
            interval_s = OUTBOX_INTERVAL_S if delivered else min(2 * interval_s, OUTBOX_INTERVAL_MAX_S)
            await self._wait(interval_s)

    async def deliver(self) -> bool:
        """Sees to all that is due, once; whether nothing is left."""
        try:
            memes = await self._sales.due_memes()
        except Failure as failure:
            log.warning("outbox is waiting", reason=failure.reason, why=failure.message)
            return False
        free = asyncio.Semaphore(MEMES_AT_ONCE)

        async def deliver(meme_id: MemeId) -> bool:
            async with free:
                return await self._deliver_meme(meme_id)

        async with asyncio.TaskGroup() as group:
            deliveries = [group.create_task(deliver(meme_id)) for meme_id in memes]
        return all(delivery.result() for delivery in deliveries)

    async def _deliver_meme(self, meme_id: MemeId) -> bool:
        try:
            for sale in await self._sales.due(meme_id):
                await self._deliver_sale(sale)
        except Failure as failure:
            log.warning("sale not delivered", meme_id=meme_id, reason=failure.reason, why=failure.message)
            return False
        return True

    async def _deliver_sale(self, sale: Sale) -> None:
        if not sale.announced:
            await self._announce(sale)
            await self._sales.change(sale.id, lambda found: replace(found, announced=True))
        if not sale.offers_closed:
            await self._bidding.supersede(sale.meme_id, sold_by=sale.offer_id)
            await self._sales.change(sale.id, lambda found: replace(found, offers_closed=True))
        if not sale.title_moved:
            await self._chain.transfer_title(sale)
            await self._sales.change(sale.id, lambda found: replace(found, title_moved=True))

    async def _announce(self, sale: Sale) -> None:
        """Tells the sale, and what it closed: as it will be in a moment, if that is not written yet."""
        listing = None if sale.listing_id is None else await self._listings.get(sale.listing_id)
        if listing is not None:
            settling = listing.state is ListingState.SETTLING
            self._news.listing(listing.sold(sale.id, sale.sold_ns) if settling else listing)
        offer = None if sale.offer_id is None else await self._offers.get(sale.offer_id)
        if offer is not None:
            settling = offer.state is OfferState.SETTLING
            self._news.offer(offer.accepted(sale.id, sale.sold_ns) if settling else offer)
        self._news.sale(sale)

    async def _wait(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            waits = (group.create_task(self._woken.wait()), group.create_task(self._clock.sleep(seconds)))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
