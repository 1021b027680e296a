"""The market's parts, and how they hang together: each is made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mesh.clock import Clock
from services.market.app.accepting import Accepting
from services.market.app.bidding import Bidding
from services.market.app.buying import Buying
from services.market.app.expiry import Expiry
from services.market.app.outbox import Outbox
from services.market.app.places import Places
from services.market.app.ports import Candles, Chain, Ledger, Listings, News, Offers, Quotes, Sales
from services.market.app.reading import Reading
from services.market.app.recovery import Recovery
from services.market.app.selling import Selling
from services.market.app.settlement import Settlement


@dataclass(frozen=True, slots=True)
class World:
    """What the market stands on."""

    listings: Listings
    offers: Offers
    sales: Sales
    quotes: Quotes
    candles: Candles
    ledger: Ledger
    chain: Chain
    news: News
    clock: Clock


class Parts:
    """Everything that works in the market, wired."""

    def __init__(self, world: World) -> None:
        self.world = world

    # what is asked for

    @cached_property
    def selling(self) -> Selling:
        """Listings."""
        return Selling(
            listings=self.world.listings,
            places=self.places,
            ledger=self.world.ledger,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def buying(self) -> Buying:
        """Purchases of listings."""
        return Buying(
            listings=self.world.listings,
            sales=self.world.sales,
            ledger=self.world.ledger,
            places=self.places,
            settlement=self.settlement,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def bidding(self) -> Bidding:
        """Offers, and their money."""
        return Bidding(
            offers=self.world.offers, ledger=self.world.ledger, news=self.world.news, clock=self.world.clock
        )

    @cached_property
    def accepting(self) -> Accepting:
        """Sales by offers."""
        return Accepting(
            offers=self.world.offers,
            sales=self.world.sales,
            ledger=self.world.ledger,
            bidding=self.bidding,
            places=self.places,
            settlement=self.settlement,
            clock=self.world.clock,
        )

    @cached_property
    def reading(self) -> Reading:
        """What others may see."""
        return Reading(
            listings=self.world.listings,
            offers=self.world.offers,
            sales=self.world.sales,
            quotes=self.world.quotes,
            candles=self.world.candles,
            clock=self.world.clock,
        )

    # what goes on by itself

    @cached_property
    def outbox(self) -> Outbox:
        """The consequences of sales."""
        return Outbox(
            listings=self.world.listings,
            offers=self.world.offers,
            sales=self.world.sales,
            bidding=self.bidding,
            chain=self.world.chain,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def recovery(self) -> Recovery:
        """Whatever a crash left unfinished."""
        return Recovery(
            listings=self.world.listings,
            offers=self.world.offers,
            buying=self.buying,
            accepting=self.accepting,
            bidding=self.bidding,
            clock=self.world.clock,
        )

    @cached_property
    def expiry(self) -> Expiry:
        """Whatever is over."""
        return Expiry(
            listings=self.world.listings,
            offers=self.world.offers,
            selling=self.selling,
            bidding=self.bidding,
            clock=self.world.clock,
        )

    # what these share

    @cached_property
    def places(self) -> Places:
        """Who may sell which title next."""
        return Places(
            listings=self.world.listings,
            offers=self.world.offers,
            quotes=self.world.quotes,
            ledger=self.world.ledger,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def settlement(self) -> Settlement:
        """From a claim to a sale."""
        return Settlement(
            sales=self.world.sales,
            quotes=self.world.quotes,
            candles=self.world.candles,
            ledger=self.world.ledger,
            clock=self.world.clock,
            wake_outbox=self.outbox.wake,
        )
