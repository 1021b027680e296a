"""Administrators' decisions."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.records import Stale
from services.content.app.pipeline import Pipeline
from services.content.app.ports import Memes
from services.content.domain.failures import MemeNotFound
from services.content.domain.memes import BY_ADMINISTRATOR, Meme, MemeState
from services.content.domain.values import InstantNs, MemeId

ATTEMPTS_MAX = 16


class Moderating:
    """Rejects and takes down."""

    def __init__(self, *, memes: Memes, pipeline: Pipeline, clock: Clock) -> None:
        self._memes = memes
        self._pipeline = pipeline
        self._clock = clock

    async def reject(self, meme_id: MemeId, why: str) -> Meme:
        """Stops a meme that is not published; a rejected one stays as it is. Raises StateConflict."""
        return await self._decide(
            meme_id,
            MemeState.REJECTED,
            lambda meme, now: meme.rejected(BY_ADMINISTRATOR, now, why),
        )

    async def take_down(self, meme_id: MemeId, why: str) -> Meme:
        """Removes a published meme; one that was removed before stays as it is. Raises StateConflict."""
        return await self._decide(meme_id, MemeState.TAKEN_DOWN, lambda meme, now: meme.taken_down(now, why))

    async def _decide(
        self, meme_id: MemeId, target: MemeState, decide: Callable[[Meme, InstantNs], Meme]
    ) -> Meme:
        for _ in range(ATTEMPTS_MAX):
            kept = await self._memes.get(meme_id)
            if kept is None:
                raise MemeNotFound(meme_id=meme_id)
            if kept.meme.state is target:
                return kept.meme
            meme = decide(kept.meme, InstantNs(self._clock.now_ns()))
            try:
                generation = await self._memes.put(meme, kept.generation)
            except Stale:
                continue
            await self._pipeline.follow_up(meme, generation, told=True)
            return meme
        raise Stale(f"meme {meme_id} changes too fast")
