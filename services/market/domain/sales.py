"""Sales: what moves in the ledger, and what the market remembers of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from mesh.ids import derived_id, made_ns
from services.market.domain.failures import ImpossibleMove
from services.market.domain.listings import Attempt, Listing, ListingId, MemeId, SaleId, Sats, UserId

NOTHING = Sats(0)
# DOMAIN.md, "Money", Market: 2 % from the seller's proceeds, rounded down.
FEE_BP = 200
_BP = 10_000
SAT = "sat"
FEE_ACCOUNT = "platform:fee"


class Leg(StrEnum):
    """The parts of a settlement, in the order in which they are made."""

    PROCEEDS = "proceeds"
    FEE = "fee"
    TITLE = "title"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One part of a settlement, as the ledger is asked to make it."""

    leg: Leg
    id: str
    debit_account: str
    credit_account: str
    asset: str
    amount: int
    memo: str


@dataclass(frozen=True, slots=True)
class Sale:
    """A title sold. `number` counts the sales of its meme, from 1.

    `announced` and `title_moved` say what of the sale's consequences is done: news of it, and the transfer on
    chain.
    """

    id: SaleId
    listing_id: ListingId
    meme_id: MemeId
    seller_id: UserId
    buyer_id: UserId
    price_sats: Sats
    fee_sats: Sats
    sold_ns: int
    number: int
    announced: bool = False
    title_moved: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """The market's view of one meme: the listing that holds its place, and the sum of its sales.

    One listing at a time holds the place, and a sale is counted by the same change that frees it: so no sale
    is counted twice, and none is left out.
    """

    meme_id: MemeId
    place: Listing | None = None
    last_price_sats: Sats = NOTHING
    sales: int = 0
    volume_sats: Sats = NOTHING

    def taken_by(self, listing: Listing) -> Quote:
        """With the place held by the listing, unless another one holds it."""
        return self if self.place is not None else replace(self, place=listing)

    def freed_by(self, listing_id: ListingId) -> Quote:
        """With the place free, if this listing held it."""
        return replace(self, place=None) if self._held_by(listing_id) else self

    def counting(self, sale: Sale) -> Quote:
        """With the sale counted and its listing's place free; the same when it was counted before."""
        if not self._held_by(sale.listing_id):
            return self
        return Quote(
            meme_id=self.meme_id,
            last_price_sats=sale.price_sats,
            sales=self.sales + 1,
            volume_sats=Sats(self.volume_sats + sale.price_sats),
        )

    def _held_by(self, listing_id: ListingId) -> bool:
        return self.place is not None and self.place.id == listing_id


def fee_of(price_sats: Sats) -> Sats:
    """The platform's part of a price, rounded down."""
    return Sats(price_sats * FEE_BP // _BP)


def settlement(listing: Listing, attempt: Attempt) -> tuple[Transfer, ...]:
    """Everything that changes hands, to be made together or not at all."""
    fee_sats = fee_of(listing.price_sats)
    buyer, seller = f"user:{attempt.buyer_id}", f"user:{listing.seller_id}"
    parts = (
        (Leg.PROCEEDS, buyer, seller, SAT, listing.price_sats - fee_sats),
        (Leg.FEE, buyer, FEE_ACCOUNT, SAT, fee_sats),
        (Leg.TITLE, seller, buyer, f"title:{listing.meme_id}", 1),
    )
    return tuple(
        Transfer(
            leg=leg,
            # Whoever repeats a settlement, after any crash, repeats the same transfers.
            id=derived_id(made_ns(attempt.sale_id), f"satreel.market:{attempt.sale_id}:{leg}"),
            debit_account=debit,
            credit_account=credit,
            asset=asset,
            amount=amount,
            memo=f"sale:{attempt.sale_id}",
        )
        for leg, debit, credit, asset, amount in parts
    )


def sale_of(listing: Listing, attempt: Attempt, *, number: int, now_ns: int) -> Sale:
    """The sale that a settled attempt is. Raises ImpossibleMove when buyer and seller are one."""
    if attempt.buyer_id == listing.seller_id:
        raise ImpossibleMove("nobody sells to themselves")
    return Sale(
        id=attempt.sale_id,
        listing_id=listing.id,
        meme_id=listing.meme_id,
        seller_id=listing.seller_id,
        buyer_id=attempt.buyer_id,
        price_sats=listing.price_sats,
        fee_sats=fee_of(listing.price_sats),
        sold_ns=now_ns,
        number=number,
    )
