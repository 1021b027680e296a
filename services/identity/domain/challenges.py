"""Challenges: texts that a wallet signs once to prove that its owner is here now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NewType

from mesh.clock import NS_PER_S
from services.identity.domain.failures import ChallengeMismatch, ChallengeNotFound
from services.identity.domain.users import Address, UserId

ChallengeId = NewType("ChallengeId", str)

CHALLENGE_LIFETIME_S = 300


class Purpose(StrEnum):
    """What a challenge proves."""

    LOG_IN = "log_in"
    PAYOUT_ADDRESS = "payout_address"


_ASKS = {
    Purpose.LOG_IN: "asks you to log in with the address",
    Purpose.PAYOUT_ADDRESS: "asks you to receive your payouts in BSV at the address",
}


@dataclass(frozen=True, slots=True)
class Challenge:
    """A text to sign. `user_id` is set when it is for a user who is signed in already."""

    id: ChallengeId
    site: str
    address: Address
    purpose: Purpose
    user_id: UserId | None
    nonce: str
    issued_ns: int
    expires_ns: int

    @property
    def message(self) -> str:
        """Exactly what is signed. It names everything that the proof is bound to."""
        lines = [
            f"{self.site} {_ASKS[self.purpose]}",
            self.address,
            "",
            f"Purpose: {self.purpose}",
            *([f"User: {self.user_id}"] if self.user_id else []),
            f"Nonce: {self.nonce}",
            f"Issued: {_utc(self.issued_ns)}",
            f"Expires: {_utc(self.expires_ns)}",
        ]
        return "\n".join(lines)

    def check(self, *, address: str, purpose: Purpose, user_id: UserId | None, now_ns: int) -> None:
        """Raises ChallengeNotFound when it has expired, ChallengeMismatch when it is for something else."""
        if now_ns >= self.expires_ns:
            raise ChallengeNotFound
        if (self.address, self.purpose, self.user_id) != (address, purpose, user_id):
            raise ChallengeMismatch


def new_challenge(
    *,
    challenge_id: ChallengeId,
    site: str,
    address: Address,
    purpose: Purpose,
    user_id: UserId | None,
    nonce: str,
    now_ns: int,
) -> Challenge:
    """A challenge that is worth something for CHALLENGE_LIFETIME_S."""
    expires_ns = now_ns + CHALLENGE_LIFETIME_S * NS_PER_S
    return Challenge(challenge_id, site, address, purpose, user_id, nonce, now_ns, expires_ns)


def _utc(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
