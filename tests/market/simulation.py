"""Any number of people at two instances of the market, in any order, with any trouble; then the slow check.

Everything the market asks of store, ledger and chain is a step. At each step a seeded random source says how
long others run first, and whether the step fails before or after it was done, dies with its caller, or (for
the ledger) arrives later than its caller waits. Background work runs all the time, without any patience. At
the end, with nothing going wrong any more, money, titles, holds, quotes and candles must be what the sales
alone make of them, and every answer that anybody got must have been true.

    python -m tests.market.simulation --seed 17          one run again
    python -m tests.market.simulation --seeds 2000       many
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mesh.clock import NS_PER_S, Clock, ManualClock
from mesh.errors import Failure
from mesh.records import Store
from mesh.records.memory import MemoryStore
from services.market.adapters.records import SETS
from services.market.domain.deals import FEE_ACCOUNT, fee_of
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Sale
from services.market.domain.values import NEVER, MemeId, SaleId, Terms, UserId
from tests.market.fakes import Crash, Fault, FaultyStore, Steps, as_store
from tests.market.world import FUNDS, World, instance_over

PEOPLE, MEMES, DEEDS, AT_ONCE = 4, 2, 70, 6
PRICES = (1_000, 1_049, 3_000, 7_777)
FAULTS = (Fault.FAIL_BEFORE, Fault.FAIL_AFTER, Fault.DIE_BEFORE, Fault.DIE_AFTER)


class RandomSteps(Steps):
    """Steps that take their time, and go wrong now and then until `calm`."""

    def __init__(self, source: random.Random, fault_rate: float) -> None:
        super().__init__()
        self.random = source
        self.fault_rate = fault_rate

    async def pause(self) -> None:
        for _ in range(self.random.choice((0, 0, 1, 2, 5))):
            await asyncio.sleep(0)
        if self.random.random() < self.fault_rate:
            self.go_wrong(self.random.choice(FAULTS), 1)
        else:
            self.go_right()

    def calm(self) -> None:
        self.fault_rate = 0.0


@dataclass(frozen=True)
class LateClock:
    """A clock that lags behind the others."""

    clock: Clock
    behind_ns: int

    def now_ns(self) -> int:
        return self.clock.now_ns() - self.behind_ns

    def monotonic_s(self) -> float:
        return self.clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


class Simulation:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.waiting = asyncio.Lock()
        store: Store = MemoryStore(SETS)
        self.world = World(store, self.clock)
        self.steps = RandomSteps(self.random, self.random.choice((0.0, 0.01, 0.04)))
        self.late_rate = self.random.choice((0.0, 0.1))
        self.world.steps = self.steps
        self.world.ledger_port._stub._steps = self.steps  # type: ignore[attr-defined] # the stub of this world
        self.world.chain._steps = self.steps
        faulty = as_store(FaultyStore(store, self.steps))
        self.clocks: list[Clock] = [self.clock, LateClock(self.clock, self.random.randrange(NS_PER_S))]
        self.instances = [
            instance_over(faulty, self.world.ledger_port, self.world.chain, self.world.news, clock)
            for clock in self.clocks
        ]
        self.people = [self.world.person() for _ in range(PEOPLE)]
        self.memes = [self.world.meme(self.random.choice(self.people)) for _ in range(MEMES)]
        self.makers = {meme: UserId(self.world.ledger.owner_of(meme)) for meme in self.memes}
        self.listings: dict[str, Listing] = {}
        self.offers: dict[str, Offer] = {}
        self.began: dict[SaleId, int] = {}
        self.answers: dict[SaleId, Sale] = {}
        self.versions: dict[tuple[str, int], Terms] = {}
        self.calls: list[Callable[[], Awaitable[Any]]] = []
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with free:
                await self._survive(self.random.choice(self.deeds)())

        # A crash is a BaseException: a group would end the others, who know nothing of it.
        await asyncio.gather(*(one() for _ in range(DEEDS)))
        await self._come_to_rest()
        await self._check()

    @property
    def deeds(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self._list, self._list, self._edit, self._cancel, self._buy, self._buy, self._buy,
            self._offer, self._offer, self._cancel_offer, self._accept, self._accept, self._repeat,
            self._sweep, self._recover, self._deliver, self._wait, self._late,
        ]  # fmt: skip

    async def _survive(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Failure as failure:
            self.outcomes[failure.reason] += 1
        except Crash:
            self.outcomes["crash"] += 1
        except BaseExceptionGroup as group:
            if group.split((Failure, Crash))[1] is not None:
                raise

    def _anywhere(self) -> int:
        return self.random.randrange(len(self.instances))

    def _expiry(self, where: int) -> int:
        return self.clocks[where].now_ns() + round(self.random.uniform(0.2, 6) * NS_PER_S)

    async def _list(self) -> None:
        where, who, meme = self._anywhere(), self.random.choice(self.people), self.random.choice(self.memes)
        owner = UserId(self.world.ledger.owner_of(meme))
        seller = owner if self.random.random() < 0.8 else who
        listing_id = self.world.new_id()
        expires_ns = self.random.choice((NEVER, self._expiry(where)))
        price = self.random.choice(PRICES)

        async def call() -> None:
            listing = await self.world.list_title(
                seller, meme, price, listing_id=listing_id, expires_ns=expires_ns, at=self.instances[where]
            )
            self._saw(listing)

        self.calls.append(call)
        await call()

    async def _edit(self) -> None:
        if not self.listings:
            return
        where, listing = self._anywhere(), self.random.choice(list(self.listings.values()))
        price = self.random.choice((None, *PRICES))
        expires_ns = self.random.choice((None, NEVER, self._expiry(where)))

        async def call() -> None:
            changed = await self.instances[where].selling.change(
                listing.id,
                user_id=listing.seller_id,
                expected_version=listing.version,
                price_sats=price,
                expires_ns=expires_ns,
            )
            self._saw(changed)

        self.calls.append(call)
        await call()

    async def _cancel(self) -> None:
        if self.listings:
            listing = self.random.choice(list(self.listings.values()))
            selling = self.instances[self._anywhere()].selling
            await selling.cancel(listing.id, user_id=listing.seller_id, is_admin=False)

    async def _buy(self) -> None:
        if not self.listings:
            return
        where, listing = self._anywhere(), self.random.choice(list(self.listings.values())[-4:])
        buyer, sale_id = self.random.choice(self.people), SaleId(self.world.new_id())
        self.began[sale_id] = self.clocks[where].now_ns()

        async def call() -> None:
            sale = await self.world.buy(buyer, listing, sale_id, at=self.instances[where])
            self._sold(sale, listing.price_sats, buyer, listing.seller_id)

        self.calls.append(call)
        await call()

    async def _offer(self) -> None:
        where, buyer, meme = self._anywhere(), self.random.choice(self.people), self.random.choice(self.memes)
        offer_id, expires_ns = self.world.new_id(), self._expiry(where)
        price = self.random.choice(PRICES)

        async def call() -> None:
            offer = await self.world.offer(
                buyer, meme, price, offer_id=offer_id, expires_ns=expires_ns, at=self.instances[where]
            )
            self.offers[offer.id] = offer

        self.calls.append(call)
        await call()

    async def _cancel_offer(self) -> None:
        if self.offers:
            offer = self.random.choice(list(self.offers.values()))
            bidding = self.instances[self._anywhere()].bidding
            await bidding.cancel(offer.id, user_id=offer.buyer_id, is_admin=False)

    async def _accept(self) -> None:
        if not self.offers:
            return
        where, offer = self._anywhere(), self.random.choice(list(self.offers.values())[-4:])
        sale_id = SaleId(self.world.new_id())
        self.began[sale_id] = self.clocks[where].now_ns()

        async def call() -> None:
            sale = await self.world.accept(offer.seller_id, offer, sale_id, at=self.instances[where])
            self._sold(sale, offer.price_sats, offer.buyer_id, offer.seller_id)

        self.calls.append(call)
        await call()

    async def _repeat(self) -> None:
        """Somebody did not hear the answer, or the wire doubled the call."""
        if self.calls:
            again = self.random.choice(self.calls[-6:])
            await asyncio.gather(*(self._survive(again()) for _ in range(self.random.randint(1, 2))))

    async def _sweep(self) -> None:
        await self.instances[self._anywhere()].expiry.sweep()

    async def _recover(self) -> None:
        await self.instances[self._anywhere()].recovery.recover(age_s=0)

    async def _deliver(self) -> None:
        await self.instances[self._anywhere()].outbox.deliver()

    async def _wait(self) -> None:
        # One at a time: two at once would turn time back.
        async with self.waiting:
            await self.clock.advance(self.random.uniform(0, 2))

    async def _late(self) -> None:
        """For a while nothing gets through to the ledger in time; then all of it arrives."""
        if self.late_rate:
            self.world.ledger.delays = True
            for _ in range(self.random.randrange(40)):
                await asyncio.sleep(0)
            self.world.ledger.arrive()

    def _saw(self, listing: Listing) -> None:
        known = self.versions.setdefault((listing.id, listing.version), listing.terms)
        assert known == listing.terms, "two edits made the same version"
        self.listings[listing.id] = listing

    def _sold(self, sale: Sale, price: int, buyer: UserId, seller: UserId) -> None:
        assert (sale.price_sats, sale.buyer_id, sale.seller_id) == (price, buyer, seller)
        assert self.answers.setdefault(sale.id, sale).number == sale.number
        self.outcomes["sale"] += 1

    async def _come_to_rest(self) -> None:
        self.steps.calm()
        self.world.ledger.arrive()
        rested = False
        for _ in range(3):
            await self.clock.advance(1)
            for instance in reversed(self.instances):
                await instance.recovery.recover(age_s=0)
                await instance.expiry.sweep()
                rested = await instance.outbox.deliver()
        assert rested
        self.world.start()

    async def _check(self) -> None:
        await self.world.check()
        listings, offers, sales = await self.world.everything()
        made = {sale.id: sale for sale in sales}
        assert set(self.answers) <= set(made), "somebody was told of a sale that is not there"
        for sale_id, answer in self.answers.items():
            assert (made[sale_id].number, made[sale_id].sold_ns) == (answer.number, answer.sold_ns)
        self._check_times(listings, offers)
        self._check_money(sales)
        told = Counter(sale.id for sale in self.world.news.sales)
        assert set(told) == set(made)

    def _check_times(self, listings: list[Listing], offers: list[Offer]) -> None:
        """Nothing was sold to anybody who came after its time was over."""
        closed: list[Listing | Offer] = [*listings, *offers]
        for item in closed:
            if item.sale_id is not None and item.terms.expires_ns != NEVER:
                assert self.began[item.sale_id] < item.terms.expires_ns, (item, self.began[item.sale_id])

    def _check_money(self, sales: list[Sale]) -> None:
        """Everybody has what their sales and purchases leave, titles are where the last sale took them."""
        money: Counter[str] = Counter(dict.fromkeys(self.people, FUNDS))
        owners: dict[MemeId, UserId] = dict(self.makers)
        for sale in sorted(sales, key=lambda sale: (sale.meme_id, sale.number)):
            assert sale.fee_sats == fee_of(sale.price_sats)
            assert owners[sale.meme_id] == sale.seller_id, "sold by somebody who did not own it"
            owners[sale.meme_id] = sale.buyer_id
            money[sale.buyer_id] -= sale.price_sats
            money[sale.seller_id] += sale.price_sats - sale.fee_sats
            money[FEE_ACCOUNT] += sale.fee_sats
        for account, sats in money.items():
            assert self.world.ledger.sats(account) == sats
        for meme, owner in owners.items():
            assert self.world.ledger.owner_of(meme) == owner
        assert sum(money.values()) == PEOPLE * FUNDS


def simulate(seed: int) -> Counter[str]:
    """What came of the deeds of one seed. Raises what went wrong, and says how to see it again."""
    simulation = Simulation(seed)
    try:
        asyncio.run(simulation.run())
    except BaseException:
        print(f"to see it again: python -m tests.market.simulation --seed {seed}")
        raise
    return simulation.outcomes


def main() -> None:
    """Many seeds, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, default=200)
    asked = parser.parse_args()
    outcomes: Counter[str] = Counter()
    for seed in range(asked.seeds) if asked.seed is None else [asked.seed]:
        outcomes += simulate(seed)
    print(", ".join(f"{reason} {times}" for reason, times in outcomes.most_common()))


if __name__ == "__main__":
    main()
