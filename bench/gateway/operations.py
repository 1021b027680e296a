"""What is asked of every gateway: the same documents, whose answers are compared first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bench.gateway.services import NAME, TOKEN


@dataclass(frozen=True, slots=True)
class Operation:
    """One request, repeated."""

    name: str
    document: str
    signed_in: bool = False

    @property
    def sha256(self) -> str:
        """By which trusted documents are named."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @property
    def token(self) -> str:
        """The user's who asks; none for what is public."""
        return TOKEN if self.signed_in else ""


ROUND = Operation(
    "round, leaderboard of 20",
    """{ currentRound { id number state takingsSats leaderboard(limit: 20) { final standings {
  rank score paidSeconds viewers takingsSats meme { id name posterUrl } creator { id displayName }
} } } }""",
)
MEMES = Operation(
    "50 memes, creators, prices",
    """{ memes(first: 50) { nodes { id name posterUrl creator { id displayName }
  quote { floorPriceSats sales openListing { id priceSats } } } pageInfo { hasNextPage } } }""",
)
ACCOUNT = Operation(
    "account with history of 20",
    """{ me { user { id displayName address } balance { balance held available }
  statement(first: 20) { nodes { sequence amount memo debitAccount creditAccount postedAt }
  pageInfo { hasNextPage } } } }""",
    signed_in=True,
)
RENAME = Operation(
    "mutation: a name",
    f'mutation {{ setDisplayName(displayName: "{NAME}") {{ id displayName }} }}',
    signed_in=True,
)
ALL = (ROUND, MEMES, ACCOUNT, RENAME)
LEADERBOARD = (
    "subscription { leaderboardUpdated { standings { rank score viewers takingsSats meme { name } } } }"
)
