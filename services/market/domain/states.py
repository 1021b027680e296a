"""Where listings and offers stand, and every way from one state to another. README.md draws these tables."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias, TypeVar

from services.market.domain.failures import ImpossibleMove

State = TypeVar("State", bound=StrEnum)
Table: TypeAlias = Mapping[State, Mapping[State, str]]


class ListingState(StrEnum):
    """Where a listing stands."""

    OPEN = "open"
    SETTLING = "settling"
    SOLD = "sold"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class OfferState(StrEnum):
    """Where an offer stands."""

    PENDING = "pending"
    OPEN = "open"
    SETTLING = "settling"
    ACCEPTED = "accepted"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


LISTING: Table[ListingState] = {
    ListingState.OPEN: {
        ListingState.SETTLING: "a purchase claims it",
        ListingState.CANCELLED: "taken back, or an offer was accepted",
        ListingState.EXPIRED: "its time is over",
    },
    ListingState.SETTLING: {
        ListingState.SOLD: "the ledger moved all",
        ListingState.OPEN: "the ledger moved nothing",
        ListingState.CANCELLED: "the seller has lost the title",
    },
    ListingState.SOLD: {},
    ListingState.CANCELLED: {},
    ListingState.EXPIRED: {},
}

OFFER: Table[OfferState] = {
    OfferState.PENDING: {
        OfferState.OPEN: "the ledger holds the money",
        OfferState.REFUSED: "the ledger does not",
        OfferState.SUPERSEDED: "the title was sold meanwhile",
    },
    OfferState.OPEN: {
        OfferState.SETTLING: "the owner accepts it",
        OfferState.CANCELLED: "taken back",
        OfferState.EXPIRED: "its time is over",
        OfferState.SUPERSEDED: "the title was sold",
    },
    OfferState.SETTLING: {
        OfferState.ACCEPTED: "the ledger moved all",
        OfferState.OPEN: "nothing moved",
        OfferState.EXPIRED: "the ledger holds the money no longer",
        OfferState.SUPERSEDED: "the seller has lost the title",
    },
    OfferState.ACCEPTED: {},
    OfferState.CANCELLED: {},
    OfferState.EXPIRED: {},
    OfferState.SUPERSEDED: {},
    OfferState.REFUSED: {},
}


def check(table: Table[State], before: State, after: State) -> None:
    """Raises ImpossibleMove unless the table knows the way."""
    if after not in table[before]:
        raise ImpossibleMove(f"{type(before).__name__}: {before} cannot become {after}")


def mermaid(table: Table[State]) -> str:
    """The table as a state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).upper()}"]
    for before, ways in table.items():
        lines += [f"    {before.upper()} --> {after.upper()}: {why}" for after, why in ways.items()]
    lines += [f"    {state.upper()} --> [*]" for state, ways in table.items() if not ways]
    return "\n".join(lines)
