"""Life of everything that has one: a table of transitions each, and nothing moves outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from services.chain.domain.failures import ImpossibleTransition

State = TypeVar("State", bound=StrEnum)
Table = Mapping[State, frozenset[State]]


class TxState(StrEnum):
    """A transaction of ours, from its signature on.

    SIGNED: durable, and certainly at no node. SENT: it may have arrived. CONTESTED: another spend of one of
    its coins was seen; one of the two will be mined. REORGANISED: its block left the chain, and it is not
    known yet whether it waits again. REPLACED: rejected, and a later transaction does what it was for.
    ABANDONED: planned, and given up before it was signed.
    """

    SIGNED = "signed"
    SENT = "sent"
    SEEN = "seen"
    CONTESTED = "contested"
    MINED = "mined"
    REORGANISED = "reorganised"
    FINAL = "final"
    REJECTED = "rejected"
    REPLACED = "replaced"
    ABANDONED = "abandoned"


_ANYWHERE = frozenset({TxState.SEEN, TxState.CONTESTED, TxState.MINED, TxState.REJECTED})

TX: Table[TxState] = {
    TxState.SIGNED: _ANYWHERE | {TxState.SENT},
    TxState.SENT: _ANYWHERE,
    TxState.SEEN: _ANYWHERE - {TxState.SEEN},
    TxState.CONTESTED: _ANYWHERE - {TxState.CONTESTED},
    TxState.MINED: frozenset({TxState.REORGANISED, TxState.FINAL}),
    TxState.REORGANISED: _ANYWHERE,
    TxState.FINAL: frozenset({TxState.REORGANISED}),  # deeper than it was taken to be possible
    TxState.REJECTED: frozenset({TxState.REPLACED}),
    TxState.REPLACED: frozenset(),
    TxState.ABANDONED: frozenset(),
}

UNMINED = frozenset({TxState.SIGNED, TxState.SENT, TxState.SEEN, TxState.CONTESTED, TxState.REORGANISED})
"""Under way: still to be brought into a block."""
GIVEN_UP = frozenset({TxState.REJECTED, TxState.REPLACED, TxState.ABANDONED})
"""Never to be mined: its coins and jobs are free for others."""


class DepositState(StrEnum):
    """Coins that somebody sent to a deposit address."""

    SEEN = "seen"
    CREDITED = "credited"
    REVERSED = "reversed"


DEPOSIT: Table[DepositState] = {
    DepositState.SEEN: frozenset({DepositState.CREDITED, DepositState.REVERSED}),
    DepositState.CREDITED: frozenset({DepositState.REVERSED}),
    DepositState.REVERSED: frozenset({DepositState.SEEN}),  # seen again, on the winning chain or waiting
}


class WithdrawalState(StrEnum):
    """Coins that leave. NEW and REFUSED are ours alone: not yet held, or not covered."""

    NEW = "new"
    REFUSED = "refused"
    QUEUED = "queued"
    ASSIGNED = "assigned"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"


WITHDRAWAL: Table[WithdrawalState] = {
    WithdrawalState.NEW: frozenset({WithdrawalState.QUEUED, WithdrawalState.REFUSED}),
    WithdrawalState.REFUSED: frozenset({WithdrawalState.NEW}),  # asked for again
    # FAILED: its money was a deposit that was undone
    WithdrawalState.QUEUED: frozenset({WithdrawalState.ASSIGNED, WithdrawalState.FAILED}),
    WithdrawalState.ASSIGNED: frozenset({WithdrawalState.SENT, WithdrawalState.QUEUED}),
    # QUEUED: its transaction can never be mined, another one pays it; FAILED: none does
    WithdrawalState.SENT: frozenset(
        {WithdrawalState.CONFIRMED, WithdrawalState.QUEUED, WithdrawalState.FAILED}
    ),
    WithdrawalState.CONFIRMED: frozenset({WithdrawalState.SENT}),  # its block was orphaned
    WithdrawalState.FAILED: frozenset(),
}


class JobState(StrEnum):
    """Something to be written on chain: an inscription, a title's move, a result."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    SENT = "sent"


JOB: Table[JobState] = {
    JobState.QUEUED: frozenset({JobState.ASSIGNED}),
    JobState.ASSIGNED: frozenset({JobState.SENT, JobState.QUEUED}),
    JobState.SENT: frozenset({JobState.QUEUED}),
}


class CoinState(StrEnum):
    """An output we can spend. RESERVED: by a plan, signed or about to be; GONE: no longer on the chain."""

    PENDING = "pending"
    FREE = "free"
    RESERVED = "reserved"
    SPENT = "spent"
    GONE = "gone"


COIN: Table[CoinState] = {
    CoinState.PENDING: frozenset({CoinState.FREE, CoinState.GONE}),
    CoinState.FREE: frozenset({CoinState.RESERVED, CoinState.PENDING, CoinState.GONE}),
    CoinState.RESERVED: frozenset({CoinState.FREE, CoinState.SPENT, CoinState.GONE}),
    CoinState.SPENT: frozenset({CoinState.RESERVED}),  # what spent it was final, and lost its block
    CoinState.GONE: frozenset({CoinState.PENDING}),
}


def check(table: Table[State], before: State, after: State) -> State:
    """The state after. Raises ImpossibleTransition unless the table knows the way, or it is no change."""
    if after is not before and after not in table[before]:
        raise ImpossibleTransition(f"{type(before).__name__}: {before} → {after}")
    return after


def mermaid(table: Table[State]) -> str:
    """The table as a state diagram, for the README."""
    ways = [f"    {before} --> {after}" for before, afters in table.items() for after in sorted(afters)]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {next(iter(table))}", *ways])
