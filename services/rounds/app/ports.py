"""What the use cases need of the world. Calls of other services raise RemoteFailure and may be repeated."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
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

    async def newest(self) -> Stored | None:
        """The round with the highest number."""
        ...

    async def begin(self, round_: Round) -> Stored:
        """Writes a round that does not exist yet."""
        ...

    async def save(self, stored: Stored, round_: Round) -> Stored:
        """Replaces what was read."""
        ...

    async def by_number(self, number: int) -> Stored | None:
        """The round with this number."""
        ...

    async def by_ids(self, round_ids: Sequence[RoundId]) -> list[Stored]:
        """Those that exist, in the order asked."""
        ...

    async def before(self, number: int, limit: int) -> list[Stored]:
        """Rounds with a lower number, newest first."""
        ...

    async def with_anchor(self, block_hash: str) -> list[Stored]:
        """The rounds that stand on this block."""
        ...

    async def without_txid(self) -> list[Stored]:
        """Recorded rounds whose transaction is not known yet."""
        ...


class Candidates(Protocol):
    """Memes that wait for a round. One that has left never waits again."""

    async def add(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Keeps them; returns those that wait (and did not leave before)."""
        ...

    async def waiting(self, limit: int) -> list[Candidate]:
        """Those that wait, earlier uploads first."""
        ...

    async def leave(self, meme_ids: Sequence[MemeId], why: str) -> None:
        """They wait no more, known or not."""
        ...


class Cursors(Protocol):
    """Where streams of other services are resumed."""

    async def read(self, name: str) -> dict[str, str | int]:
        """What was written; empty at first."""
        ...

    async def write(self, name: str, values: dict[str, str | int]) -> None:
        """Replaces it."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerNews:
    """Changed tallies of a round; all of them when `whole`."""

    cursor: str
    round_id: RoundId
    tally: tuple[MemeTally, ...]
    whole: bool


class RoundRefused(Exception):  # noqa: N818 - an answer
    """The ledger will never open this round."""


class Ledger(Protocol):
    """Money and metering of a round."""

    async def open_round(self, round_: Round) -> Sats:
        """Returns what was carried in. Raises RoundRefused."""
        ...

    async def lock_round(self, round_id: RoundId) -> tuple[MemeTally, ...]:
        """Ends metering; returns the final tally."""
        ...

    async def distribute(self, round_id: RoundId, ranking: tuple[MemeId, ...]) -> Distribution:
        """Pays the pool."""
        ...

    async def void_round(self, round_id: RoundId, reason: str) -> bool:
        """False when the pool was paid before."""
        ...

    async def tally(self, round_id: RoundId) -> tuple[MemeTally, ...] | None:
        """What was taken so far; None for a round it does not know."""
        ...

    def watch(self, cursor: str) -> AsyncGenerator[LedgerNews, None]:
        """Tallies from the cursor on."""
        ...


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

    async def read(self, meme_ids: Sequence[MemeId]) -> list[MemeNews]:
        """How memes are now; those unknown are left out."""
        ...

    def watch(self, cursor: str) -> AsyncGenerator[ContentNews, None]:
        """Memes from the cursor on."""
        ...


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

    async def queue_payouts(self, earned: Sequence[Earning]) -> None:
        """Returns when they are kept durably."""
        ...

    async def txids(self, round_ids: Sequence[RoundId]) -> dict[RoundId, str]:
        """Transactions of records, where known."""
        ...

    async def block_at(self, height: int) -> Block | None:
        """The block of the winning chain."""
        ...

    def watch_blocks(self, cursor: str) -> AsyncGenerator[BlockNews, None]:
        """Blocks from the cursor on."""
        ...

    def watch_records(self, cursor: str) -> AsyncGenerator[RecordNews, None]:
        """Records from the cursor on."""
        ...


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
    """Where watchers hear what changed. Never raises, never waits: who missed something starts anew."""

    def round_changed(self, view: RoundView) -> None:
        """A round changed its state, anchor, entries or sums."""
        ...

    def standings_moved(self, board: Leaderboard) -> None:
        """The leaderboard moved."""
        ...
