"""What the use cases need from outside. Every method raises mesh.errors.Unavailable when its part is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.identity.domain.challenges import Challenge, ChallengeId, Purpose
from services.identity.domain.sessions import Session, SessionId
from services.identity.domain.users import Address, AddressClaim, User, UserId


@dataclass(frozen=True, slots=True)
class NameHold:
    """Who reserved a display name, and when."""

    user_id: UserId
    reserved_ns: int


class Users(Protocol):
    """The users' records; what returned is durable."""

    async def claim(self, claim: AddressClaim) -> AddressClaim:
        """Binds an address to a user, once: returns the claim that stands, which may be an earlier one."""
        ...

    async def create(self, user: User) -> tuple[User, bool]:
        """Makes the user unless there is one with this id: who stands, and whether it was made now."""
        ...

    async def get(self, user_id: UserId) -> User | None:
        """A user."""
        ...

    async def get_many(self, user_ids: Sequence[UserId]) -> list[User]:
        """Those that exist, in the order asked. At most 1,000."""
        ...

    async def change(self, user_id: UserId, decide: Callable[[User], User]) -> User | None:
        """Replaces the user by what `decide` makes of it; its failures are passed on with nothing changed."""
        ...

    async def reserve_name(self, key: str, hold: NameHold) -> NameHold:
        """Reserves a name unless it is reserved: returns the hold that stands."""
        ...

    async def take_name_over(self, key: str, *, expected: NameHold, hold: NameHold) -> bool:
        """Replaces a hold that stands for nothing; False when somebody was faster."""
        ...


class Challenges(Protocol):
    """Challenges until they expire."""

    async def save(self, challenge: Challenge) -> None:
        """Keeps it until it expires."""
        ...

    async def find(self, challenge_id: ChallengeId) -> Challenge | None:
        """The challenge. Raises ChallengeUsed when a log-in used it up."""
        ...


class Sessions(Protocol):
    """Open sessions."""

    async def open(self, session: Session, *, challenge: Challenge) -> list[SessionId]:
        """Uses the challenge up and opens the session in one step, or does neither.

        Returns the user's oldest sessions that had to end to keep the bound. Raises ChallengeUsed.
        """
        ...

    async def find(self, session_id: SessionId) -> Session | None:
        """A session."""
        ...

    async def rotate(self, session: Session, *, refresh_digest: str) -> bool:
        """Replaces the session if its refresh token is still the one expected, in one step."""
        ...

    async def revoke(self, session: Session) -> bool:
        """Ends it, and tells all services in the same step; False when it had ended already."""
        ...

    async def of_user(self, user_id: UserId) -> list[Session]:
        """The user's open sessions, newest first, at most SESSIONS_PER_USER_MAX."""
        ...


class Attempt(StrEnum):
    """What is limited."""

    CHALLENGE = "challenge"
    LOG_IN = "log_in"


class Attempts(Protocol):
    """Counts attempts."""

    async def count(self, attempt: Attempt, *, address: str, client_address: str) -> None:
        """Counts one. Raises TooManyAttempts when there were too many within the last minute."""
        ...


class Wallets(Protocol):
    """What is known of addresses and signatures of the network in use."""

    def checked_address(self, text: str, purpose: Purpose) -> Address:
        """The address, in its one spelling, if it can prove itself for this here. Raises AddressInvalid."""
        ...

    async def verify(self, *, address: Address, message: str, signature: str) -> None:
        """Raises SignatureInvalid unless the signature is the address owner's over exactly this message."""
        ...


class UserTokens(Protocol):
    """Makes the signed tokens that say to other services who is signed in (mesh.tokens.UserTokenSigner)."""

    def sign(
        self, *, user_id: str, roles: frozenset[str], session_id: str, as_of_ns: int
    ) -> tuple[str, datetime]:
        """A token that says how things stood at this time, and when it expires."""
        ...


class News(Protocol):
    """Tells those who watch, soon. It never waits nor fails; news may be lost when its carrier is away."""

    def user_created(self, user: User) -> None:
        """A first log-in."""
        ...

    def logged_in(self, session: Session) -> None:
        """A log-in."""
        ...

    def session_revoked(self, user_id: UserId, session_id: SessionId) -> None:
        """A session ended before its time."""
        ...

    def user_changed(self, user: User) -> None:
        """A profile changed."""
        ...
