"""Which memes wait for a round. The store keeps them; the oldest are held in memory, ready for a block."""

from __future__ import annotations

from collections.abc import Sequence

from mesh import logs
from services.rounds.app.ports import Candidates, Content, MemeNews
from services.rounds.domain.assignment import Candidate, assign
from services.rounds.domain.values import Entry, InstantNs, MemeId, Round

log = logs.logger(__name__)

# Candidates held in memory. More wait in the store and come in when a round has taken its entries.
HELD_MAX = 10_000
BATCH_MAX = 500

PLAYED = "played"
GONE = "gone"


class Assignment:
    """The candidates for the next round."""

    def __init__(self, *, candidates: Candidates, content: Content) -> None:
        self._candidates = candidates
        self._content = content
        self._held: dict[MemeId, Candidate] = {}

    async def load(self) -> None:
        """Reads the waiting candidates from the store."""
        self._held = {found.meme_id: found for found in await self._candidates.waiting(HELD_MAX)}

    def entries(self, round_: Round, now_ns: InstantNs) -> tuple[Entry, ...]:
        """The entries the pending round should have, from what is in memory."""
        return assign(self._held.values(), round_.entries, now_ns)

    async def take(self, news: Sequence[MemeNews]) -> None:
        """Takes in how memes are now. Idempotent: a meme that has left never waits again."""
        fresh = [found.candidate for found in news if found.candidate is not None]
        gone = [found.meme_id for found in news if found.gone]
        if fresh:
            for candidate in await self._candidates.add(fresh):
                if len(self._held) < HELD_MAX:
                    self._held[candidate.meme_id] = candidate
        if gone:
            await self._candidates.leave(gone, GONE)
            for meme_id in gone:
                self._held.pop(meme_id, None)

    async def read_anew(self) -> None:
        """Asks content about everything: what is published, and what became of those that wait."""
        page_token = ""
        while True:
            published, page_token = await self._content.published(page_token)
            await self.take([MemeNews(found.meme_id, found, gone=False) for found in published])
            if not page_token:
                break
        waiting = list(self._held)
        for start in range(0, len(waiting), BATCH_MAX):
            await self.take(await self._content.read(waiting[start : start + BATCH_MAX]))

    async def retire(self, round_: Round) -> None:
        """The round's entries can be in no other round."""
        await self._candidates.leave([entry.meme_id for entry in round_.entries], PLAYED)
        for entry in round_.entries:
            self._held.pop(entry.meme_id, None)
        if len(self._held) < HELD_MAX // 2:
            await self.load()
