"""What the use cases need of the world. Calls of other services raise RemoteFailure; all of them may be repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.rounds.domain.assignment import Candidate
from services.rounds.domain.earnings import Earning
from services.rounds.domain.ranking import Standing
from services.rounds.domain.values import (
    Block,
    Distribution,
    InstantNs,
    MemeId,
    MemeTally,
    Round,
    RoundId,
    Sats,
    Totals,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A round as it was read or written, with the generation that the next write must name."""

    round: Round
    generation: int


class Rounds(Protocol):
    """Rounds by number. Writes raise the store's errors; `begin` raises Exists, `save` raises Stale."""

    async def newest(self) -> Stored | None: ...
    async def begin(self, round_: Round) -> Stored: ...
    async def save(self, stored: Stored, round_: Round) -> Stored: ...
    async def by_number(self, number: int) -> Stored | None: ...
    async def by_ids(self, round_ids: Sequence[RoundId]) -> list[Stored]: ...
    async def before(self, number: int, limit: int) -> list[Stored]:
        """Rounds with a lower number, newest first."""
        ...

    async def with_anchor(self, block_hash: str) -> list[Stored]: ...
    async def without_txid(self) -> list[Stored]:
        """Recorded rounds whose transaction is not known yet."""
        ...


class Candidates(Protocol):
    """Memes that wait for a round. One that has left never waits again."""

    async def add(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Keeps them; returns those that wait (and did not leave before)."""
        ...

    async def waiting(self, limit: int) -> list[Candidate]: ...
    async def leave(self, meme_ids: Sequence[MemeId], why: str) -> None: ...


class Cursors(Protocol):
    """Where streams of other services are resumed."""

    async def read(self, name: str) -> dict[str, str | int]: ...
    async def write(self, name: str, values: dict[str, str | int]) -> None: ...


@dataclass(frozen=True, slots=True)
class LedgerNews:
    """Changed tallies of a round; all of them when `whole`."""

    cursor: str
    round_id: RoundId
    tally: tuple[MemeTally, ...]
    whole: bool


class Ledger(Protocol):
    """Money and metering of a round."""

    async def open_round(self, round_: Round) -> Sats:
        """Returns what was carried in."""
        ...

    async def lock_round(self, round_id: RoundId) -> tuple[MemeTally, ...]: ...
    async def distribute(self, round_id: RoundId, ranking: tuple[MemeId, ...]) -> Distribution: ...
    async def void_round(self, round_id: RoundId, reason: str) -> bool:
        """False when the pool was paid before."""
        ...

    async def tally(self, round_id: RoundId) -> tuple[MemeTally, ...] | None: ...
    def watch(self, cursor: str) -> AsyncIterator[LedgerNews]: ...


@dataclass(frozen=True, slots=True)
class MemeNews:
    """A meme as it is now. `candidate` is None when it can be in no round."""

    meme_id: MemeId
    candidate: Candidate | None
    # It was published and is no more, or will never be.
    gone: bool


@dataclass(frozen=True, slots=True)
class ContentNews:
    """News of one meme; None: read anew what you follow."""

    cursor: str
    meme: MemeNews | None


class Content(Protocol):
    """Published memes."""

    async def published(self, page_token: str) -> tuple[list[Candidate], str]:
        """A page of those published, oldest first, and the token of the next one ("" at the end)."""
        ...

    async def read(self, meme_ids: Sequence[MemeId]) -> list[MemeNews]: ...
    def watch(self, cursor: str) -> AsyncIterator[ContentNews]: ...


@dataclass(frozen=True, slots=True)
class BlockNews:
    """The winning chain moved; for a snapshot `connected` is the tip alone."""

    cursor: str
    orphaned: tuple[Block, ...]
    connected: tuple[Block, ...]
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class RecordNews:
    """A round's record on chain; None: read anew what you follow."""

    cursor: str
    record: tuple[RoundId, str] | None


class Chain(Protocol):
    """Blocks, and what is written and paid on chain."""

    async def record_result(self, round_id: RoundId, record_json: str) -> str:
        """Returns when the record is kept durably; the transaction's id, "" while it is not known."""
        ...

    async def queue_payouts(self, earned: Sequence[Earning]) -> None: ...
    async def txids(self, round_ids: Sequence[RoundId]) -> dict[RoundId, str]: ...
    async def block_at(self, height: int) -> Block | None: ...
    def watch_blocks(self, cursor: str) -> AsyncIterator[BlockNews]: ...
    def watch_records(self, cursor: str) -> AsyncIterator[RecordNews]: ...


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round with its sums as of now."""

    round: Round
    totals: Totals


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Standings at one time."""

    round_id: RoundId
    at_ns: InstantNs
    standings: tuple[Standing, ...]
    final: bool


class News(Protocol):
    """Where watchers hear what changed. Never raises and never waits: watchers that lost something start anew."""

    def round_changed(self, view: RoundView) -> None: ...
    def standings_moved(self, board: Leaderboard) -> None: ...
