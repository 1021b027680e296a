"""Orders to the wallet, and what it is told to heed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from services.chain.domain.entities import Tx
from services.chain.domain.failures import WalletEmpty
from services.chain.domain.keys import KeyPath
from services.chain.domain.spending import Spendable
from services.chain.domain.values import PlanId, Purpose, Sats
from services.chain.domain.wire import Output


class WalletFrozen(WalletEmpty):
    """A coin of ours was spent by a transaction not ours; nothing is signed until an operator acts."""


class HalfDone(Exception):  # noqa: N818 - told to the term, which ends
    """A plan was begun and not finished: the next recovery finishes it or gives it up."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How change is cut, how deep unmined transactions may be stacked.

    Change is cut while there are fewer than `coins_wanted`; the smallest are joined above `coins_max`.
    """

    change_parts: int = 4
    change_sats_min: int = 10_000
    coins_wanted: int = 16
    coins_max: int = 500
    dust_sats: int = 20
    depth_max: int = 20


@dataclass(frozen=True, slots=True)
class Shares:
    """Each job's part of the fee, and all that the ledger posts for the jobs once it is mined."""

    shares: tuple[Sats, ...] = ()
    due_sats: int = 0


def _none(_: Sats) -> Shares:
    return Shares()


@dataclass(frozen=True, slots=True)
class Order:
    """What a transaction shall do. `share` cuts the fee among the jobs; the float pays the rest.

    `extra_sats` is paid to the miner on top of the fee. Without outputs its coins become change.
    """

    purpose: Purpose
    jobs: tuple[str, ...]
    outputs: tuple[Output, ...]
    assign: Callable[[PlanId], Awaitable[None]]
    share: Callable[[Sats], Shares] = _none
    fixed: tuple[Spendable, ...] = ()
    title: KeyPath | None = None
    extra_sats: int = 0


class Work(Protocol):
    """What a purpose does as its transactions move on; every step may be repeated."""

    async def signed(self, tx: Tx) -> None:
        """It is durable, and will be sent."""
        ...

    async def mined(self, tx: Tx) -> None:
        """It is in a block of the winning chain."""
        ...

    async def unmined(self, tx: Tx) -> None:
        """Its block was orphaned."""
        ...

    async def rejected(self, tx: Tx) -> None:
        """It can never be mined: its jobs need another one."""
        ...


class CoinsOnly:
    """The `Work` of transactions whose coins are all there is to them."""

    async def signed(self, tx: Tx) -> None:
        """Nothing else is to be done."""

    async def mined(self, tx: Tx) -> None:
        """Nothing else is to be done."""

    async def unmined(self, tx: Tx) -> None:
        """Nothing else is to be done."""

    async def rejected(self, tx: Tx) -> None:
        """The coins are free again; made anew when needed."""


async def nothing(_: PlanId) -> None:
    """The `assign` of an order without jobs of its own."""
