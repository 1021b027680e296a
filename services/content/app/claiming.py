"""One picture, one meme: claims on how a picture looks, decided by compare-and-set alone.

Each upload first writes its claim (CLAIMED), then looks for others that resemble it. Whoever sees another
claim that is still open beats it if its own meme id is lower, and loses otherwise; a claim that was beaten
cannot settle, and one that settled cannot be beaten. So of two simultaneous uploads exactly one settles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mesh.clock import Clock
from mesh.records import Exists, Stale
from services.content.app.ports import Claim, Claims, ClaimState, Memes
from services.content.domain.failures import Duplicate, UploadOvertaken
from services.content.domain.looks import Look
from services.content.domain.values import InstantNs, MemeId, Sha256, later

# Longer than an upload may take: a claim this old without a meme belongs to a process that died.
ABANDONED_AFTER_S = 180.0
ATTEMPTS_MAX = 16

_OPEN = frozenset({ClaimState.CLAIMED, ClaimState.SETTLED})
_GONE = frozenset({ClaimState.FREE, ClaimState.RELEASED})


@dataclass(frozen=True, slots=True)
class Hold:
    """A settled claim: `ours` unless another attempt of the same upload holds it."""

    claim: Claim
    generation: int
    ours: bool


class Claiming:
    """Claims looks for uploads."""

    def __init__(self, *, claims: Claims, memes: Memes, clock: Clock, new_token: Callable[[], str]) -> None:
        self._claims = claims
        self._memes = memes
        self._clock = clock
        self._new_token = new_token

    async def settle(self, meme_id: MemeId, look: Look, sha256: Sha256) -> Hold:
        """The claim, when no other resembles it. Raises Duplicate, UploadOvertaken: nothing is held then."""
        claim, generation = await self._claim(meme_id, look, sha256)
        if claim.state is not ClaimState.CLAIMED:
            return Hold(claim, generation, ours=False)
        try:
            await self._win(claim)
            settled = replace(claim, state=ClaimState.SETTLED)
            return Hold(settled, await self._claims.put(settled, generation), ours=True)
        except Stale:
            now = await self._claims.get(meme_id)
            if now is not None and now[0].token == claim.token and now[0].beaten_by:
                raise Duplicate(meme_id=now[0].beaten_by) from None
            raise UploadOvertaken from None
        except BaseException:
            await self.free(Hold(claim, generation, ours=True))
            raise

    async def bind(self, hold: Hold) -> None:
        """The meme stands. Left undone by a crash, the sweep does it."""
        if hold.ours:
            await self._try_put(replace(hold.claim, state=ClaimState.BOUND), hold.generation)

    async def free(self, hold: Hold) -> None:
        """The upload came to nothing."""
        if hold.ours:
            await self._try_put(replace(hold.claim, state=ClaimState.FREE), hold.generation)

    async def release(self, meme_id: MemeId) -> None:
        """The meme was rejected for its film's sake: the picture may come again. May be repeated."""
        found = await self._claims.get(meme_id)
        if found is not None and found[0].state not in _GONE:
            await self._try_put(replace(found[0], state=ClaimState.RELEASED), found[1])

    async def sweep(self) -> list[Claim]:
        """Decides what crashed uploads left open; returns the claims that were freed."""
        freed = []
        async for claim, generation in self._claims.pending():
            if not self._abandoned(claim):
                continue
            meme = await self._memes.get(claim.meme_id)
            state = ClaimState.FREE if meme is None else ClaimState.BOUND
            if await self._try_put(replace(claim, state=state), generation) and meme is None:
                freed.append(claim)
        return freed

    async def shared(self, claim: Claim) -> bool:
        """Whether a meme other than the claim's keeps the same file."""
        near = await self._claims.near(claim.look, claim.sha256)
        return any(
            other.sha256 == claim.sha256 and other.state is not ClaimState.FREE and meme_id != claim.meme_id
            for meme_id, (other, _) in near.items()
        )

    async def _claim(self, meme_id: MemeId, look: Look, sha256: Sha256) -> tuple[Claim, int]:
        claim = Claim(
            meme_id, look, sha256, ClaimState.CLAIMED, self._new_token(), InstantNs(self._clock.now_ns())
        )
        for _ in range(ATTEMPTS_MAX):
            found = await self._claims.get(meme_id)
            try:
                if found is None:
                    return claim, await self._claims.create(claim)
                before, generation = found
                held = before.state in (ClaimState.SETTLED, ClaimState.BOUND) and not self._abandoned(before)
                if held and before.sha256 == sha256:
                    return before, generation
                if held:
                    break
                return claim, await self._claims.put(claim, generation)
            except (Exists, Stale):
                continue
        raise UploadOvertaken

    async def _win(self, claim: Claim) -> None:
        """Returns when no other claim stands in the way. Raises Duplicate."""
        for meme_id, found in (await self._claims.near(claim.look, claim.sha256)).items():
            if meme_id == claim.meme_id:
                continue
            other: tuple[Claim, int] | None = found
            while other is not None and not await self._out_of_the_way(claim, *other):
                other = await self._claims.get(meme_id)

    async def _out_of_the_way(self, claim: Claim, other: Claim, generation: int) -> bool:
        """False when the other changed meanwhile and must be looked at anew. Raises Duplicate."""
        if other.state in _GONE or not (other.sha256 == claim.sha256 or other.look.resembles(claim.look)):
            return True
        if other.state in _OPEN and self._abandoned(other) and await self._memes.get(other.meme_id) is None:
            return await self._try_put(replace(other, state=ClaimState.FREE), generation)
        if other.state is not ClaimState.CLAIMED or other.meme_id < claim.meme_id:
            raise Duplicate(meme_id=other.meme_id)
        beaten = replace(other, state=ClaimState.FREE, beaten_by=claim.meme_id)
        return await self._try_put(beaten, generation)

    def _abandoned(self, claim: Claim) -> bool:
        return claim.state in _OPEN and later(claim.at_ns, ABANDONED_AFTER_S) < self._clock.now_ns()

    async def _try_put(self, claim: Claim, generation: int) -> bool:
        try:
            await self._claims.put(claim, generation)
        except Stale:
            return False
        return True
