"""What happens after the call: purchases that a crash left unfinished, and the consequences of sales."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mesh import logs
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Failure
from services.market.app.ports import Chain, Listings, News, Sales
from services.market.app.settlement import Settlement
from services.market.domain.listings import Listing, MemeId
from services.market.domain.sales import Sale

log = logs.logger(__name__)

RECOVERY_INTERVAL_S = 2.0
# A younger purchase may still be in its caller's hands. Settling it twice would be safe, and a waste.
RECOVER_AFTER_S = 6.0
OUTBOX_INTERVAL_S = 2.0
OUTBOX_INTERVAL_MAX_S = 60.0
MEMES_AT_ONCE = 8


class Recovery:
    """Ends purchases whose caller is gone. Any number of instances may run it."""

    def __init__(self, *, listings: Listings, settlement: Settlement, clock: Clock) -> None:
        self._listings = listings
        self._settlement = settlement
        self._clock = clock

    async def run(self) -> None:
        """Settles at once what the last process left behind, then whatever stays unsettled for too long."""
        await self._guarded(age_s=0)
        while True:
            await self._clock.sleep(RECOVERY_INTERVAL_S)
            await self._guarded(age_s=RECOVER_AFTER_S)

    async def recover(self, *, age_s: float) -> None:
        """Tries to settle each purchase that is at least this old."""
        now_ns = self._clock.now_ns()
        for listing in await self._listings.settling():
            attempt = listing.attempt
            if attempt is not None and now_ns - attempt.claimed_ns >= age_s * NS_PER_S:
                await self._settle(listing)

    async def _settle(self, listing: Listing) -> None:
        if listing.attempt is None:
            return
        try:
            sale = await self._settlement.settle(listing, listing.attempt)
            log.info("purchase recovered", listing_id=listing.id, sale_id=sale.id)
        except Failure as failure:
            log.info("purchase not settled", listing_id=listing.id, reason=failure.reason)

    async def _guarded(self, *, age_s: float) -> None:
        try:
            await self.recover(age_s=age_s)
        except Failure as failure:
            log.warning("recovery is waiting", reason=failure.reason, why=failure.message)


class Outbox:
    """Sees to the consequences of sales until all are done: news, and the title's transfer on chain.

    Transfers of one meme are asked for in the order of its sales, each after the one before was accepted, so
    that the title ends on chain where it ended in the ledger.
    """

    def __init__(self, *, listings: Listings, sales: Sales, chain: Chain, news: News, clock: Clock) -> None:
        self._listings = listings
        self._sales = sales
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
            listing = await self._listings.get(sale.listing_id)
            if listing is not None:
                self._news.listing(listing)
            self._news.sale(sale)
            await self._sales.change(sale.id, lambda found: replace(found, announced=True))
        if not sale.title_moved:
            await self._chain.transfer_title(sale)
            await self._sales.change(sale.id, lambda found: replace(found, title_moved=True))

    async def _wait(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            waits = (group.create_task(self._woken.wait()), group.create_task(self._clock.sleep(seconds)))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
