"""What users say about themselves, and who they are to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mesh.clock import NS_PER_S, Clock
from services.identity.app.log_in import Proofs
from services.identity.app.ports import NameHold, News, Users
from services.identity.domain.challenges import Challenge, ChallengeId, Purpose
from services.identity.domain.failures import ChallengeUsed, NameInvalid, UserNotFound
from services.identity.domain.users import User, UserId, checked_name, name_key

# A name reserved by someone who does not bear it is free after this: its holder had died in between.
NAME_RESERVED_S = 60


class Profiles:
    """Reads and changes users."""

    def __init__(self, *, users: Users, proofs: Proofs, news: News, clock: Clock) -> None:
        self._users = users
        self._proofs = proofs
        self._news = news
        self._clock = clock

    async def get(self, user_id: UserId) -> User:
        """A user. Raises UserNotFound."""
        user = await self._users.get(user_id)
        if user is None:
            raise UserNotFound
        return user

    async def get_many(self, user_ids: Sequence[UserId]) -> list[User]:
        """Those that exist, in the order asked."""
        return await self._users.get_many(user_ids)

    async def set_display_name(self, user_id: UserId, name: str) -> User:
        """Names the user; no two users bear the same name. Raises NameInvalid, UserNotFound."""
        user = await self.get(user_id)
        if name == user.display_name:
            return user
        await self._take_name(user_id, name_key(checked_name(name)))
        return await self._changed(user_id, lambda user: replace(user, display_name=name))

    async def set_payout_address(
        self, user_id: UserId, *, challenge_id: ChallengeId, address: str, signature: str, auto_payout: bool
    ) -> User:
        """Sets where payouts go, proved by a signature. Raises as `Proofs.verified`, and UserNotFound.

        The proof is used up by the same write that has its effect: only challenges issued after the last one
        that counted are good, so a failure of ours burns nothing and none counts twice.
        """
        challenge = await self._proofs.verified(
            challenge_id=challenge_id,
            address=address,
            signature=signature,
            purpose=Purpose.PAYOUT_ADDRESS,
            user_id=user_id,
            # Tries count by the user who makes them: those of one must not lock another out.
            client_address=user_id,
        )

        def proved(user: User, challenge: Challenge = challenge) -> User:
            if challenge.issued_ns <= user.payout_proved_ns:
                raise ChallengeUsed
            return replace(
                user,
                payout_address=challenge.address,
                auto_payout=auto_payout,
                payout_proved_ns=challenge.issued_ns,
            )

        return await self._changed(user_id, proved)

    async def _take_name(self, user_id: UserId, key: str) -> None:
        mine = NameHold(user_id, self._clock.now_ns())
        hold = await self._users.reserve_name(key, mine)
        holder = await self._users.get(hold.user_id)
        borne = holder is not None and name_key(holder.display_name) == key
        fresh = mine.reserved_ns - hold.reserved_ns < NAME_RESERVED_S * NS_PER_S
        # An old hold keeps nobody out, the user's own neither: others may be taking it over.
        stands = borne or fresh
        if stands and hold.user_id == user_id:
            return
        if stands or not await self._users.take_name_over(key, expected=hold, hold=mine):
            raise NameInvalid("the name is taken")

    async def _changed(self, user_id: UserId, decide: Callable[[User], User]) -> User:
        user = await self._users.change(user_id, decide)
        if user is None:
            raise UserNotFound
        self._news.user_changed(user)
        return user
