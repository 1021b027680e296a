"""What a round is made of. Instants are nanoseconds since 1970 UTC; money is whole satoshis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

RoundId = NewType("RoundId", str)
MemeId = NewType("MemeId", str)
UserId = NewType("UserId", str)
Sats = NewType("Sats", int)
InstantNs = NewType("InstantNs", int)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class State(StrEnum):
    """Where a round stands."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    CALCULATING = "CALCULATING"
    COMPLETED = "COMPLETED"
    VOIDED = "VOIDED"


ENDED = frozenset({State.COMPLETED, State.VOIDED})


@dataclass(frozen=True, slots=True)
class Rules:
    """Rates, shares and the curve a round is played by, as one versioned set; shares in basis points."""

    version: int
    platform_fee_bp: int
    instant_bp: int
    creator_bp: int
    winner_bp: int
    ranks_paid: int
    payout_min_sats: int
    second_price_sats: int
    free_below_s: int
    session_max_s: int
    scored_seconds_max: int


# A changed rule is a new version: a round keeps the set it was opened with.
RULES = Rules(
    version=1,
    platform_fee_bp=200,
    instant_bp=4_500,
    creator_bp=1_000,
    winner_bp=2_000,
    ranks_paid=100,
    payout_min_sats=100,
    second_price_sats=1,
    free_below_s=3,
    session_max_s=3_600,
    scored_seconds_max=600,
)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a round lasts, how long late reports are awaited, and the pause before the next may open."""

    length_ns: int = 600 * NS_PER_S
    grace_ns: int = 30 * NS_PER_S
    gap_ns: int = 5 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the winning chain, or one put aside."""

    height: int
    hash: str
    seen_at_ns: InstantNs


@dataclass(frozen=True, slots=True)
class Anchor:
    """The block a round stands on. `orphaned` are the other blocks it stood on before, oldest first."""

    height: int
    hash: str
    orphaned: tuple[str, ...] = ()
    # False between the orphaning of the block and the arrival of the winning one of the same height.
    on_chain: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """A meme in a round."""

    meme_id: MemeId
    creator_id: UserId
    quality_ppm: int
    assigned_at_ns: InstantNs


@dataclass(frozen=True, slots=True)
class MemeTally:
    """What one meme took and earned so far, as the ledger counts it."""

    meme_id: MemeId
    paid_seconds: int = 0
    takings_sats: Sats = Sats(0)
    fee_sats: Sats = Sats(0)
    creator_sats: Sats = Sats(0)
    owner_sats: Sats = Sats(0)
    pool_sats: Sats = Sats(0)
    scored_seconds: int = 0
    viewers: int = 0
    first_view_ns: InstantNs | None = None
    running_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Payout:
    """What the pool paid for one rank."""

    rank: int
    meme_id: MemeId
    user_id: UserId
    amount_sats: Sats


@dataclass(frozen=True, slots=True)
class Distribution:
    """What became of the pool. `record_sha256`: hash of the ledger's public record of the round, hex."""

    carried_in_sats: Sats
    pool_sats: Sats
    payouts: tuple[Payout, ...]
    carried_out_sats: Sats
    record_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """A round and how far its end has come; everything a restart needs to go on."""

    id: RoundId
    number: int
    state: State
    rules: Rules
    timing: Timing
    # A block opens the round when it was seen at this instant or later.
    opens_after_ns: InstantNs
    entries: tuple[Entry, ...] = ()
    anchor: Anchor | None = None
    starts_at_ns: InstantNs | None = None
    locks_at_ns: InstantNs | None = None
    ended_at_ns: InstantNs | None = None
    carried_in_sats: Sats = Sats(0)
    # Steps of its life that are done. Each effect is repeated until its step is persisted.
    ledger_open: bool = False
    entries_retired: bool = False
    tally: tuple[MemeTally, ...] | None = None
    distribution: Distribution | None = None
    record_json: str = ""
    recorded: bool = False
    txid: str = ""
    # Why it is to be voided; kept when it was.
    void_reason: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the entries of a round."""

    paid_seconds: int = 0
    takings_sats: int = 0
    fee_sats: int = 0
    creator_sats: int = 0
    owner_sats: int = 0
    pool_sats: int = 0


def totals(tally: tuple[MemeTally, ...]) -> Totals:
    """The sums of a tally."""
    return Totals(
        paid_seconds=sum(row.paid_seconds for row in tally),
        takings_sats=sum(row.takings_sats for row in tally),
        fee_sats=sum(row.fee_sats for row in tally),
        creator_sats=sum(row.creator_sats for row in tally),
        owner_sats=sum(row.owner_sats for row in tally),
        pool_sats=sum(row.pool_sats for row in tally),
    )
