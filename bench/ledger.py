"""How fast the ledger is on this machine: `python -m bench.ledger` prints a table within some ten seconds.

Everything is durable before it counts: SQLite with synchronous=FULL in a temporary folder. CPU is that of the
whole process; through gRPC the client runs in it as well.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.ledger.v1 import journal_pb2, ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import (
    LedgerServiceStub,
    add_LedgerServiceServicer_to_server,
)

from mesh import logs
from mesh.clock import SystemClock
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.records.sqlite import open_sqlite
from mesh.testing import serving
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.adapters.news import FeedNews
from services.ledger.app.journal import Author
from services.ledger.app.ledger import Ledger
from services.ledger.app.replay import recover
from services.ledger.rpc import show
from services.ledger.rpc.read import order, read_command
from services.ledger.rpc.servicer import LedgerServicer

BATCH = 1_000
USERS = 1_000
SESSIONS = 20_000
# Nobody listens there: what is measured is the ledger, and a Redis that is away costs it nothing.
NO_REDIS = "redis://127.0.0.1:1/0"
PARAMETERS = ledger_pb2.Parameters(
    version=1, platform_fee_bp=200, instant_bp=4500, creator_bp=1000, winner_bp=2000, ranks_paid=100,
    payout_min_sats=100, second_price_sats=1, free_below_s=3, session_max_s=3600, scored_seconds_max=600,
)  # fmt: skip


class PushedClock(SystemClock):
    """Real time, and more when it is pushed."""

    more_ns = 0

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return super().now_ns() + self.more_ns


def batches(count: int) -> Iterator[list[ledger_pb2.Transfer]]:
    """Transfers of one satoshi around the circle of users."""
    for _ in range(count):
        yield [
            ledger_pb2.Transfer(
                id=uuid7(),
                kind=ledger_pb2.TRANSFER_KIND_POST,
                debit_account=f"user:{number}",
                credit_account=f"user:{(number + 1) % USERS}",
                asset="sat",
                amount=1,
            )
            for number in range(BATCH)
        ]


def row(what: str, count: int, seconds: float, cpu_s: float) -> None:
    """A line of the table."""
    sys.stdout.write(f"{what:<44}{count:>9,}{count / seconds:>14,.0f}/s{cpu_s / count * 1e6:>10.2f} µs\n")


async def measured(what: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
    """Runs it and prints its line."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await work()
    row(what, count, time.perf_counter() - began_s, time.process_time() - cpu_s)


@asynccontextmanager
async def ledger_in(
    folder: Path, clock: PushedClock
) -> AsyncIterator[tuple[Ledger, LedgerServicer, StoreJournal]]:
    """A ledger that leads, on a store of its own."""
    async with open_sqlite(folder / "ledger.sqlite", SETS) as store, open_feed(NO_REDIS, "ledger") as feed:
        journal = StoreJournal(store, clock, read_command)
        ledger = Ledger(journal, FeedNews(feed, show.event), clock, queue_max=100_000, session_silence_s=600)
        leads = asyncio.Event()

        async def tell(yes: bool) -> None:
            leads.set() if yes else leads.clear()

        reign = asyncio.create_task(ledger.reign(Author("bench", 1), tell, lambda: True))
        await leads.wait()
        yield ledger, LedgerServicer(ledger, feed), journal
        reign.cancel()
        await asyncio.wait([reign])


async def fund(ledger: Ledger) -> None:
    """Gives every user something."""
    deposits = [
        ledger_pb2.Deposit(
            id=uuid7(), user_id=str(number), amount_sats=1_000_000, txid=f"{number:064x}", block_hash="b" * 64
        )
        for number in range(USERS)
    ]
    await ledger.submit(order(credit_deposits=pb.CreditDepositsRequest(deposits=deposits)))


async def transfers(ledger: Ledger, servicer: LedgerServicer) -> None:
    """Batches of transfers, first within the process, then through gRPC."""

    async def submit(batch: list[ledger_pb2.Transfer]) -> None:
        asked = journal_pb2.JournalTransfers(caller="market", transfers=batch)
        await ledger.submit(order(create_transfers=asked))

    made = list(batches(100))

    async def all_within() -> None:
        await asyncio.gather(*map(submit, made))

    await measured("transfers, batches of 1,000, in the process", 100 * BATCH, all_within)
    single = [transfer for batch in batches(5) for transfer in batch]

    async def all_single() -> None:
        await asyncio.gather(*(submit([transfer]) for transfer in single))

    await measured("transfers, one by one, 5,000 waiting", len(single), all_single)
    async with serving("ledger", add_LedgerServiceServicer_to_server, servicer) as server:
        stub = LedgerServiceStub(server.channel("market"))
        requests = [pb.CreateTransfersRequest(transfers=batch) for batch in batches(60)]
        for start in range(10):
            await stub.CreateTransfers(requests[start])

        async def all_called() -> None:
            await asyncio.gather(*(stub.CreateTransfers(request) for request in requests[10:]))

        await measured("transfers, batches of 1,000, through gRPC", 50 * BATCH, all_called)


async def seconds(ledger: Ledger, servicer: LedgerServicer, clock: PushedClock) -> None:
    """One report a second of many sessions, through the metering stream."""
    memes = [uuid7() for _ in range(100)]
    for meme in memes:
        await ledger.submit(order(issue_title=pb.IssueTitleRequest(meme_id=meme, creator_id=meme)))
    now_s = clock.now_ns() // 1_000_000_000
    opened = pb.OpenRoundRequest(
        round_id=uuid7(),
        parameters=PARAMETERS,
        starts_at=Timestamp(seconds=now_s - 1),
        locks_at=Timestamp(seconds=now_s + 600),
        entries=[ledger_pb2.RoundEntry(meme_id=meme, creator_id=meme, quality_ppm=900_000) for meme in memes],
    )
    await ledger.submit(order(open_round=opened))
    ids = [uuid7() for _ in range(SESSIONS)]

    async def open_one(number: int) -> None:
        asked = pb.OpenSessionRequest(
            session_id=ids[number], meme_id=memes[number // USERS % 100], budget_sats=600
        )
        viewing = journal_pb2.JournalOpenSession(viewer_id=str(number % USERS), request=asked)
        await ledger.submit(order(open_session=viewing))

    async def open_all() -> None:
        await asyncio.gather(*map(open_one, range(SESSIONS)))

    await measured("sessions opened", SESSIONS, open_all)

    async def reports() -> AsyncIterator[pb.MeterRequest]:
        for second in range(5, 15):
            clock.more_ns += 1_000_000_000 * (5 if second == 5 else 1)
            lines = [pb.SessionSeconds(session_id=session_id, seconds=second) for session_id in ids]
            yield pb.MeterRequest(gateway_id=ids[0], sequence=second, sessions=lines)

    async with serving("ledger", add_LedgerServiceServicer_to_server, servicer) as server:
        stub = LedgerServiceStub(server.channel("gateway"))

        async def report_all() -> None:
            async for reply in stub.Meter(reports()):
                if any(receipt.reason for receipt in reply.receipts):
                    raise RuntimeError("a report was refused")

        await measured("session-seconds, reports of 20,000, by gRPC", 10 * SESSIONS, report_all)


async def main() -> None:
    """Prints the table."""
    sys.stdout.write(f"{'':<44}{'count':>9}{'rate':>16}{'CPU each':>13}\n")
    clock = PushedClock()
    with tempfile.TemporaryDirectory() as folder:
        async with ledger_in(Path(folder), clock) as (ledger, servicer, journal):
            await fund(ledger)
            await transfers(ledger, servicer)

            async def recover_all() -> None:
                await recover(journal)

            await measured("recovery of these transfers", 165 * BATCH, recover_all)
            await seconds(ledger, servicer, clock)


if __name__ == "__main__":
    logs.configure(service="bench", level="error", as_json=False)
    uvloop.run(main())
