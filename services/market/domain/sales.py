"""Sales, and what the market remembers of all sales of a meme."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.market.domain.deals import Deal, Holder, fee_of
from services.market.domain.failures import ImpossibleMove
from services.market.domain.values import ListingId, MemeId, OfferId, SaleId, Sats, UserId

NOTHING = Sats(0)


@dataclass(frozen=True, slots=True)
class Sale:
    """A title sold. `number` counts the sales of its meme, from 1, in the order of `sold_ns`.

    `announced`, `offers_closed` and `title_moved` say what of the sale's consequences is done: news of it,
    the end of offers to the former owner, and the transfer on chain.
    """

    id: SaleId
    meme_id: MemeId
    seller_id: UserId
    buyer_id: UserId
    price_sats: Sats
    fee_sats: Sats
    sold_ns: int
    number: int
    listing_id: ListingId | None = None
    offer_id: OfferId | None = None
    announced: bool = False
    offers_closed: bool = False
    title_moved: bool = False

    @property
    def is_due(self) -> bool:
        """Whether something is left to be done about it."""
        return not (self.announced and self.offers_closed and self.title_moved)


@dataclass(frozen=True, slots=True)
class Quote:
    """The market's view of one meme: who holds its place, and the sum of its sales.

    Only the holder of the place may sell, one at a time; a sale gets its number while its holder has the
    place, and is counted by the change that frees it. So numbers have no gaps and no doubles, and no sale is
    counted twice or left out.
    """

    meme_id: MemeId
    place: Holder | None = None
    last_price_sats: Sats = NOTHING
    last_sold_ns: int = 0
    sales: int = 0
    volume_sats: Sats = NOTHING

    def taken_by(self, holder: Holder) -> Quote:
        """With the place held by it, unless another one holds it."""
        return self if self.place is not None else replace(self, place=holder)

    def freed_by(self, holder: Holder) -> Quote:
        """With the place free, if it was the holder's."""
        return replace(self, place=None) if self.held_by(holder) else self

    def held_by(self, holder: Holder) -> bool:
        """Whether the place is its."""
        return self.place is not None and self.place.key == holder.key

    def counting(self, sale: Sale, holder: Holder) -> Quote:
        """With the sale counted, unless it was before, and the place free of its holder."""
        free = self.freed_by(holder)
        if sale.number != self.sales + 1:
            return free
        return replace(
            free,
            last_price_sats=sale.price_sats,
            last_sold_ns=sale.sold_ns,
            sales=sale.number,
            volume_sats=Sats(self.volume_sats + sale.price_sats),
        )

    def next_sale(self, deal: Deal, now_ns: int) -> Sale:
        """The sale that a settled deal is. Raises ImpossibleMove when buyer and seller are one."""
        if deal.buyer_id == deal.seller_id:
            raise ImpossibleMove("nobody sells to themselves")
        return Sale(
            id=deal.sale_id,
            meme_id=deal.meme_id,
            seller_id=deal.seller_id,
            buyer_id=deal.buyer_id,
            price_sats=deal.price_sats,
            fee_sats=fee_of(deal.price_sats),
            # Clocks of instances differ a little; the order of sales does not.
            sold_ns=max(now_ns, self.last_sold_ns),
            number=self.sales + 1,
            listing_id=deal.listing_id,
            offer_id=deal.offer_id,
        )
