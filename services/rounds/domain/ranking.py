"""Who is ahead: score and ties by the rules of money. Scores are exact whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.rounds.domain.values import Distribution, Entry, MemeId, MemeTally, UserId

_NEVER = 1 << 63


@dataclass(frozen=True, slots=True)
class Standing:
    """A line of the leaderboard."""

    rank: int
    creator_id: UserId
    score: int
    tally: MemeTally
    payout_sats: int = 0


def standings(
    entries: Iterable[Entry], tally: Iterable[MemeTally], distribution: Distribution | None = None
) -> tuple[Standing, ...]:
    """All entries, the best first: by score, then viewers, then the earlier first view, then the lower id."""
    rows = {row.meme_id: row for row in tally}
    paid = _paid(distribution)
    scored = [(entry, rows.get(entry.meme_id) or MemeTally(entry.meme_id)) for entry in entries]
    scored.sort(key=lambda line: _order(*line))
    return tuple(
        Standing(rank, entry.creator_id, _score(entry, row), row, paid.get(entry.meme_id, 0))
        for rank, (entry, row) in enumerate(scored, 1)
    )


def payable(lines: Iterable[Standing]) -> tuple[MemeId, ...]:
    """The memes that the pool is paid to, by rank: those with a score above zero."""
    return tuple(line.tally.meme_id for line in lines if line.score > 0)


def _score(entry: Entry, row: MemeTally) -> int:
    return row.scored_seconds * entry.quality_ppm


def _order(entry: Entry, row: MemeTally) -> tuple[int, int, int, str]:
    first_view = _NEVER if row.first_view_ns is None else row.first_view_ns
    return -_score(entry, row), -row.viewers, first_view, entry.meme_id


def _paid(distribution: Distribution | None) -> Mapping[MemeId, int]:
    return {payout.meme_id: payout.amount_sats for payout in distribution.payouts} if distribution else {}
