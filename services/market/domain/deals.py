"""Deals: who sells what to whom for how much, and what the ledger is asked to do for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.clock import NS_PER_S
from mesh.ids import derived_id, made_ns
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.values import Attempt, ListingId, MemeId, OfferId, SaleId, Sats, UserId

# DOMAIN.md, "Money", Market: 2 % from the seller's proceeds, rounded down.
FEE_BP = 200
_BP = 10_000
SAT = "sat"
FEE_ACCOUNT = "platform:fee"
# The ledger frees an offer's money by itself this long after the offer has expired, if nobody else has: long
# enough for any acceptance in time to be settled, also after an outage.
HOLD_OUTLASTS_S = 3_600


class Leg(StrEnum):
    """The parts of a sale, in the order in which they are made."""

    PROCEEDS = "proceeds"
    FEE = "fee"
    TITLE = "title"


class Act(StrEnum):
    """What a transfer does: the ledger's TransferKind."""

    POST = "post"
    HOLD = "hold"
    POST_HOLD = "post_hold"
    VOID_HOLD = "void_hold"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One part of what the ledger is asked to do together or not at all; see satreel.ledger.v1.Transfer."""

    leg: Leg
    act: Act
    id: str
    debit_account: str = ""
    credit_account: str = ""
    asset: str = ""
    amount: int = 0
    hold_id: str = ""
    hold_expires_s: int = 0
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Deal:
    """A sale that is to be settled: of a listing that was bought, or of an offer that was accepted."""

    sale_id: SaleId
    meme_id: MemeId
    seller_id: UserId
    buyer_id: UserId
    price_sats: Sats
    listing_id: ListingId | None = None
    offer_id: OfferId | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An offer that is being accepted, as the holder of its meme's place."""

    offer_id: OfferId
    attempt: Attempt

    @property
    def key(self) -> str:
        """What names it: no two acceptances have the same."""
        return f"{self.offer_id} {self.attempt.sale_id} {self.attempt.claimed_ns}"


# Who has the right to a meme's next sale: its open listing, or an offer that is being accepted.
Holder = Listing | Acceptance


def purchase(listing: Listing, attempt: Attempt) -> Deal:
    """The deal of a purchase that has claimed the listing."""
    return Deal(
        sale_id=attempt.sale_id,
        meme_id=listing.meme_id,
        seller_id=listing.seller_id,
        buyer_id=attempt.buyer_id,
        price_sats=listing.price_sats,
        listing_id=listing.id,
    )


def acceptance(offer: Offer, attempt: Attempt) -> Deal:
    """The deal of an acceptance that has claimed the offer."""
    return Deal(
        sale_id=attempt.sale_id,
        meme_id=offer.meme_id,
        seller_id=offer.seller_id,
        buyer_id=offer.buyer_id,
        price_sats=offer.price_sats,
        offer_id=offer.id,
    )


def fee_of(price_sats: Sats) -> Sats:
    """The platform's part of a price, rounded down."""
    return Sats(price_sats * FEE_BP // _BP)


def settlement(deal: Deal) -> tuple[Transfer, ...]:
    """Everything that changes hands. Whoever repeats it, after any crash, repeats the same transfers."""
    seller, buyer = _user(deal.seller_id), _user(deal.buyer_id)
    memo = f"sale:{deal.sale_id}"
    if deal.offer_id is not None:
        money = [
            Transfer(leg, Act.POST_HOLD, _id(deal.sale_id, leg), hold_id=_hold(deal.offer_id, leg), memo=memo)
            for leg in (Leg.PROCEEDS, Leg.FEE)
        ]
    else:
        money = [
            Transfer(leg, Act.POST, _id(deal.sale_id, leg), buyer, account, SAT, amount, memo=memo)
            for leg, account, amount in _money(deal.seller_id, deal.price_sats)
        ]
    title = Transfer(
        leg=Leg.TITLE,
        act=Act.POST,
        id=_id(deal.sale_id, Leg.TITLE),
        debit_account=seller,
        credit_account=buyer,
        asset=f"title:{deal.meme_id}",
        amount=1,
        memo=memo,
    )
    return (*money, title)


def veto(deal: Deal) -> tuple[Transfer, ...]:
    """What makes the ledger refuse the settlement for ever, unless it has answered it already.

    It uses up one of the settlement's ids, for something that cannot be done: there is no such hold.
    """
    return (Transfer(Leg.TITLE, Act.VOID_HOLD, _id(deal.sale_id, Leg.TITLE), hold_id=deal.sale_id),)


def holds(offer: Offer) -> tuple[Transfer, ...]:
    """What keeps the offer's money: what the seller would get, and the fee."""
    lasts_s = -(-(offer.terms.expires_ns - offer.created_ns) // NS_PER_S) + HOLD_OUTLASTS_S
    return tuple(
        Transfer(
            leg=leg,
            act=Act.HOLD,
            id=_hold(offer.id, leg),
            debit_account=_user(offer.buyer_id),
            credit_account=account,
            asset=SAT,
            amount=amount,
            hold_expires_s=lasts_s,
            memo=f"offer:{offer.id}",
        )
        for leg, account, amount in _money(offer.seller_id, offer.price_sats)
    )


def releases(offer: Offer) -> tuple[Transfer, ...]:
    """What frees the offer's money."""
    return tuple(
        Transfer(leg, Act.VOID_HOLD, _id(offer.id, f"free:{leg}"), hold_id=_hold(offer.id, leg))
        for leg in (Leg.PROCEEDS, Leg.FEE)
    )


def _money(seller_id: UserId, price_sats: Sats) -> tuple[tuple[Leg, str, int], ...]:
    fee_sats = fee_of(price_sats)
    return (Leg.PROCEEDS, _user(seller_id), price_sats - fee_sats), (Leg.FEE, FEE_ACCOUNT, fee_sats)


def _user(user_id: UserId) -> str:
    return f"user:{user_id}"


def _hold(offer_id: OfferId, leg: Leg) -> str:
    return _id(offer_id, f"hold:{leg}")


def _id(of: str, part: str) -> str:
    return derived_id(made_ns(of), f"satreel.market:{of}:{part}")
