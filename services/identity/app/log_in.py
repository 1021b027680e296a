"""Log-in: a challenge, its signature, a session."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import Unauthenticated
from services.identity.app.ports import Attempt, Attempts, Challenges, News, Sessions, Users, Wallets
from services.identity.domain.challenges import Challenge, ChallengeId, Purpose, new_challenge
from services.identity.domain.failures import ChallengeNotFound
from services.identity.domain.sessions import Randomness, Session, SessionId, Tokens, open_session
from services.identity.domain.users import Address, AddressClaim, User, UserId, first_user


class Proofs:
    """Makes challenges and checks what wallets answer."""

    def __init__(
        self,
        *,
        challenges: Challenges,
        wallets: Wallets,
        attempts: Attempts,
        clock: Clock,
        new_id: Callable[[], str],
        randomness: Randomness,
        site: str,
    ) -> None:
        self._challenges = challenges
        self._wallets = wallets
        self._attempts = attempts
        self._clock = clock
        self._new_id = new_id
        self._randomness = randomness
        self._site = site

    async def challenge(
        self, *, address: str, purpose: Purpose, user_id: UserId | None, client_address: str
    ) -> Challenge:
        """A text to sign.

        Raises AddressInvalid, TooManyAttempts; Unauthenticated for a payout address of nobody.
        """
        if purpose is Purpose.LOG_IN:
            user_id = None
        elif user_id is None:
            raise Unauthenticated("log in before proving a payout address")
        proven = self._wallets.checked_address(address, purpose)
        await self._attempts.count(Attempt.CHALLENGE, address=proven, client_address=client_address)
        challenge = new_challenge(
            challenge_id=ChallengeId(self._new_id()),
            site=self._site,
            address=proven,
            purpose=purpose,
            user_id=user_id,
            nonce=self._randomness(),
            now_ns=self._clock.now_ns(),
        )
        await self._challenges.save(challenge)
        return challenge

    async def verified(
        self,
        *,
        challenge_id: ChallengeId,
        address: str,
        signature: str,
        purpose: Purpose,
        user_id: UserId | None,
        client_address: str,
    ) -> Challenge:
        """The challenge if the address's owner signed it. Uses nothing up: that comes with the effect.

        Raises AddressInvalid, ChallengeNotFound, ChallengeUsed, ChallengeMismatch, SignatureInvalid,
        TooManyAttempts.
        """
        proven = self._wallets.checked_address(address, purpose)
        await self._attempts.count(Attempt.LOG_IN, address=proven, client_address=client_address)
        challenge = await self._challenges.find(challenge_id)
        if challenge is None:
            raise ChallengeNotFound
        challenge.check(address=proven, purpose=purpose, user_id=user_id, now_ns=self._clock.now_ns())
        await self._wallets.verify(address=challenge.address, message=challenge.message, signature=signature)
        return challenge


class LogIn:
    """Opens sessions."""

    def __init__(
        self,
        *,
        proofs: Proofs,
        users: Users,
        sessions: Sessions,
        news: News,
        clock: Clock,
        new_id: Callable[[], str],
        randomness: Randomness,
    ) -> None:
        self._proofs = proofs
        self._users = users
        self._sessions = sessions
        self._news = news
        self._clock = clock
        self._new_id = new_id
        self._randomness = randomness

    async def __call__(
        self, *, challenge_id: ChallengeId, address: str, signature: str, client_address: str, client: str
    ) -> tuple[User, Session, Tokens]:
        """A session for the owner of the address; the first one makes the user.

        Everything that can fail comes before the one step that uses up the challenge and opens the session.
        """
        challenge = await self._proofs.verified(
            challenge_id=challenge_id,
            address=address,
            signature=signature,
            purpose=Purpose.LOG_IN,
            user_id=None,
            client_address=client_address,
        )
        user = await self._user_of(challenge.address)
        session, tokens = open_session(
            session_id=SessionId(self._new_id()),
            user_id=user.id,
            client=client,
            randomness=self._randomness,
            now_ns=self._clock.now_ns(),
        )
        ended = await self._sessions.open(session, challenge=challenge)
        for session_id in ended:
            self._news.session_revoked(user.id, session_id)
        self._news.logged_in(session)
        return user, session, tokens

    async def _user_of(self, address: Address) -> User:
        # The claim decides between simultaneous first log-ins; a user lost between the two records by a crash
        # is made here at the next one, from the same claim.
        claim = await self._users.claim(
            AddressClaim(address=address, user_id=UserId(self._new_id()), created_ns=self._clock.now_ns())
        )
        user, made_now = await self._users.create(first_user(claim))
        if made_now:
            self._news.user_created(user)
        return user
