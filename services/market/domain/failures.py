"""Why the market refuses: one class per reason of its contract (ID_REUSED is mesh.errors.IdReused)."""

from __future__ import annotations

from mesh.errors import Code as StatusCode
from mesh.errors import (
    FailedPrecondition,
    Failure,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)


class ListingNotFound(NotFound):
    """No listing has this id."""

    reason = "LISTING_NOT_FOUND"


class ListingClosed(FailedPrecondition):
    """The listing cannot be bought or changed any more, or somebody is buying it."""

    reason = "LISTING_CLOSED"


class NotOwner(PermissionDenied):
    """Only the title's owner may sell it."""

    reason = "NOT_OWNER"


class AlreadyListed(Failure):
    """The title is listed already."""

    code = StatusCode.ALREADY_EXISTS
    reason = "ALREADY_LISTED"


class PriceTooLow(InvalidArgument):
    """The price is below the smallest."""

    reason = "PRICE_TOO_LOW"


class PriceChanged(FailedPrecondition):
    """The price is not the one expected."""

    reason = "PRICE_CHANGED"


class SelfPurchase(FailedPrecondition):
    """The buyer is the seller."""

    reason = "SELF_PURCHASE"


class InsufficientFunds(FailedPrecondition):
    """The buyer's balance does not cover the price."""

    reason = "INSUFFICIENT_FUNDS"


class NotSeller(PermissionDenied):
    """Only the seller or an administrator may cancel."""

    reason = "NOT_SELLER"


class TitleNotFound(NotFound):
    """No title exists for this meme."""

    reason = "TITLE_NOT_FOUND"


class SaleNotFound(NotFound):
    """No sale has this id."""

    reason = "SALE_NOT_FOUND"


class PageTokenInvalid(InvalidArgument):
    """The page token was not made by this list."""

    reason = "PAGE_TOKEN_INVALID"


class Unsettled(Unavailable):
    """The purchase is being settled and its outcome is not known yet; repeat it with the same sale id."""


class SettlementFault(Failure):
    """The ledger refused a settlement for a reason that no purchase should meet; nothing moved."""

    reason = "SETTLEMENT_FAULT"


class ImpossibleMove(Failure):
    """A listing was to change in a way that listings never change: a mistake in this service."""
