"""Which memes play next: quality at least 0.8, one per creator, oldest first, at most 100."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.rounds.domain.values import Entry, InstantNs, MemeId, UserId

ENTRIES_MAX = 100
QUALITY_PPM_MIN = 800_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A published meme that was in no round yet."""

    meme_id: MemeId
    creator_id: UserId
    quality_ppm: int
    published_at_ns: InstantNs


def assign(
    candidates: Iterable[Candidate], entries: tuple[Entry, ...], now_ns: InstantNs
) -> tuple[Entry, ...]:
    """The entries of a pending round. Those that stay keep the time they were assigned at."""
    assigned = {entry.meme_id: entry for entry in entries}
    chosen: dict[UserId, Entry] = {}
    for candidate in sorted(candidates, key=lambda found: (found.published_at_ns, found.meme_id)):
        if len(chosen) == ENTRIES_MAX:
            break
        if candidate.quality_ppm >= QUALITY_PPM_MIN and candidate.creator_id not in chosen:
            chosen[candidate.creator_id] = assigned.get(candidate.meme_id) or Entry(
                candidate.meme_id, candidate.creator_id, candidate.quality_ppm, now_ns
            )
    return tuple(chosen.values())
