"""What happens to a round, in the past tense. Facts of other services arrive as these; see machine.py."""

from __future__ import annotations

from dataclasses import dataclass

from services.rounds.domain.values import Block, Distribution, Entry, MemeTally, Sats


@dataclass(frozen=True, slots=True)
class EntriesAssigned:
    """The entries of a pending round are these now."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ChainMoved:
    """Blocks left the winning chain (highest first) or are new on it (lowest first)."""

    orphaned: tuple[Block, ...]
    connected: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class AnchorChecked:
    """The winning chain has this block at the anchor's height."""

    block: Block


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class LedgerOpened:
    """The ledger meters the round."""

    carried_in_sats: Sats


@dataclass(frozen=True, slots=True)
class LedgerRefused:
    """The ledger will never open the round, and says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class EntriesRetired:
    """The entries can be in no other round."""


@dataclass(frozen=True, slots=True)
class LedgerLocked:
    """The ledger's tally is final."""

    tally: tuple[MemeTally, ...]


@dataclass(frozen=True, slots=True)
class PoolPaid:
    """The ledger paid the pool."""

    distribution: Distribution


@dataclass(frozen=True, slots=True)
class ResultAccepted:
    """The chain service keeps the record and will write it; the transaction may not be known yet."""

    txid: str


@dataclass(frozen=True, slots=True)
class PayoutsQueued:
    """The chain service keeps the payouts and will send them."""


@dataclass(frozen=True, slots=True)
class TransactionKnown:
    """The record's transaction has this id."""

    txid: str


@dataclass(frozen=True, slots=True)
class VoidAsked:
    """An administrator wants the round undone."""

    reason: str


@dataclass(frozen=True, slots=True)
class TakingsReturned:
    """The ledger paid the viewers back."""


@dataclass(frozen=True, slots=True)
class VoidRefused:
    """The ledger had paid the pool before; the round goes on to its end."""


Event = (
    EntriesAssigned
    | ChainMoved
    | AnchorChecked
    | Tick
    | LedgerOpened
    | LedgerRefused
    | EntriesRetired
    | LedgerLocked
    | PoolPaid
    | ResultAccepted
    | PayoutsQueued
    | TransactionKnown
    | VoidAsked
    | TakingsReturned
    | VoidRefused
)
