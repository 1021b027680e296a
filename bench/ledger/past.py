"""A ledger with a past, made in this process through the application's own calls: accounts used long ago."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from bench.ledger.plan import BATCH
from bench.ledger.transfers import FUNDS_SATS, fresh_ids, gifts
from mesh.clock import NS_PER_S, Clock, SystemClock
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.ledger.__main__ import SETS
from services.ledger.adapters.archive import ObjectArchive, open_objects
from services.ledger.adapters.history import StoreHistory
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.journal import Author, Head
from services.ledger.app.ledger import Ledger
from services.ledger.app.orders import Order
from services.ledger.app.snapshotting import Stored, take
from services.ledger.domain.answers import APPLIED
from services.ledger.domain.views import Changes
from services.ledger.rpc.read import order, read_command, transfers_order

# Well behind the horizon of thirty days.
DAYS_AGO = 40
SILENCE_S = 10


class PastClock(SystemClock):
    """The time of this machine, less some days."""

    def __init__(self) -> None:
        self.days_ago = DAYS_AGO

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return super().now_ns() - self.days_ago * 86_400 * NS_PER_S


class _NoNews:
    def committed(self, head: Head, changes: Changes) -> None:
        """Nobody watches."""


async def write_idle_accounts(folder: Path, giver: str, takers: Sequence[str]) -> None:
    """Writes, into the records of this data folder, a gift to everyone forty days ago, one today to the first
    of them, by which the ledger forgets the others, and a snapshot of that."""
    clock = PastClock()
    async with open_sqlite(folder / "records" / "ledger.sqlite", SETS) as store:
        stored = _stored(store, folder, clock)
        ledger = Ledger(stored.journal, _NoNews(), clock, queue_max=BATCH, session_silence_s=SILENCE_S)
        serves = asyncio.Event()

        async def serving(yes: bool) -> None:
            if yes:
                serves.set()

        reign = asyncio.create_task(ledger.reign(Author("bench", 1), serving, lambda: True))
        await serves.wait()
        await ledger.submit(_funds(giver, clock.now_ns()))
        for at in range(0, len(takers), BATCH):
            await _give(ledger, clock, giver, takers[at : at + BATCH])
        clock.days_ago = 0
        await _give(ledger, clock, giver, takers[:1])
        reign.cancel()
        await asyncio.wait([reign])
        await take(stored, clock)


async def write_snapshot(folder: Path) -> None:
    """Takes a snapshot of the ledger in this data folder, as `satreel-ledger snapshot` does."""
    clock = SystemClock()
    async with open_sqlite(folder / "records" / "ledger.sqlite", SETS) as store:
        await take(_stored(store, folder, clock), clock)


def _stored(store: Store, folder: Path, clock: Clock) -> Stored:
    return Stored(
        StoreJournal(store, clock, read_command),
        StoreHistory(store, clock),
        StoreSnapshots(store, clock),
        ObjectArchive(store, open_objects("", folder / "archive"), clock, read_command),
    )


def _funds(user: str, at_ns: int) -> Order:
    deposit = ledger_pb2.Deposit(
        id=fresh_ids(1, at_ns)[0],
        user_id=user,
        amount_sats=FUNDS_SATS,
        txid=os.urandom(32).hex(),
        block_hash="b" * 64,
    )
    return order(credit_deposits=pb.CreditDepositsRequest(deposits=[deposit]))


async def _give(ledger: Ledger, clock: PastClock, giver: str, takers: Sequence[str]) -> None:
    request = pb.CreateTransfersRequest.FromString(gifts(giver, takers, clock.now_ns()))
    answers = await ledger.submit(transfers_order("market", request))
    if answers != [APPLIED] * len(takers):
        raise AssertionError(f"a gift was refused: {answers}")
