"""Snapshots by real processes over SQLite: the leader's own, and the command beside it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.channel import connect
from mesh.errors import RemoteFailure
from mesh.records import open_store
from sandbox.process import free_port
from services.ledger.__main__ import SETS
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.snapshots import Snapshot
from services.ledger.config import LedgerSettings
from tests.ledger.site import HastyClock
from tests.ledger.test_process import NOW_NS, environment
from tests.ledger.world import uid

BATCH = 500
PATIENCE_S = 120.0


async def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ledger", *arguments,
        env=environment(folder, 0), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def start(folder: Path, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ledger",
        env={**environment(folder, port), "SATREEL_LEDGER_SNAPSHOT_EVERY": "1000"},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


def request(number: int) -> pb.CreditDepositsRequest:
    names = [f"{number}-{place}" for place in range(BATCH)]
    return pb.CreditDepositsRequest(
        deposits=[
            ledger_pb2.Deposit(
                id=uid(name, NOW_NS), user_id=f"u{place % 3}", amount_sats=1,
                txid=f"{number * BATCH + place:064x}", block_hash="b" * 64,
            )
            for place, name in enumerate(names)
        ]
    )  # fmt: skip


async def deposit(stub: LedgerServiceStub, number: int) -> None:
    while True:
        try:
            await stub.CreditDeposits(request(number), timeout=5)
        except RemoteFailure as failure:
            if not (failure.outcome_unknown or failure.unsent):
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def statement(stub: LedgerServiceStub, account: str) -> list[int]:
    numbers: list[int] = []
    token = ""
    while True:
        asked = pb.ListPostingsRequest(account_id=account, page_size=100, page_token=token)
        page = await stub.ListPostings(asked, timeout=60)
        numbers += [posting.sequence for posting in page.postings]
        token = page.next_page_token
        if not token:
            return numbers


async def newest(folder: Path) -> Snapshot | None:
    async with open_store(LedgerSettings(data_dir=folder), SETS) as store:
        return await StoreSnapshots(store, HastyClock()).newest()


async def test_the_leader_has_them_taken(tmp_path: Path) -> None:
    port = free_port()
    channel = connect(me="chain", peer="ledger", addresses=f"127.0.0.1:{port}", tls_dir=None)
    stub = LedgerServiceStub(channel)
    process = await start(tmp_path, port)
    try:
        for number in range(6):
            await deposit(stub, number)
        async with asyncio.timeout(PATIENCE_S):
            while await newest(tmp_path) is None:
                await asyncio.sleep(0.2)
        # One more beside the service, which then dies without a word.
        await deposit(stub, 6)
        code, told = await run(tmp_path, "snapshot")
        assert code == 0, told
        process.kill()
        await process.wait()
        process = await start(tmp_path, port)
        await deposit(stub, 6)
        await deposit(stub, 7)
        totals = await stub.GetTotals(pb.GetTotalsRequest(), timeout=60)
        assert (totals.sum_sats, totals.users_sats, totals.postings) == (0, 8 * BATCH, 8 * BATCH)
        gateway = connect(me="gateway", peer="ledger", addresses=f"127.0.0.1:{port}", tls_dir=None)
        numbers = await statement(LedgerServiceStub(gateway), "chain:coins")
        await gateway.close()
        assert numbers == list(range(8 * BATCH, 0, -1))
    finally:
        process.terminate()
        assert await process.wait() == 0
        await channel.close()
    code, told = await run(tmp_path, "verify")
    assert code == 0, told
    assert "postings  4000" in told
    assert "snapshots 2 are" in told


async def test_the_command_may_be_killed_and_repeated(tmp_path: Path) -> None:
    port = free_port()
    channel = connect(me="chain", peer="ledger", addresses=f"127.0.0.1:{port}", tls_dir=None)
    process = await start(tmp_path, port)
    try:
        await deposit(LedgerServiceStub(channel), 0)
    finally:
        process.terminate()
        assert await process.wait() == 0
        await channel.close()
    for wait_s in (0.3, 0.6, 0.9):
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ledger", "snapshot",
            env=environment(tmp_path, 0), stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await asyncio.sleep(wait_s)
        if command.returncode is None:
            command.kill()
        await command.wait()
    both = await asyncio.gather(run(tmp_path, "snapshot"), run(tmp_path, "snapshot"))
    assert [code for code, _ in both] == [0, 0], both
    code, told = await run(tmp_path, "snapshot")
    assert "nothing was written since the last" in told
    code, told = await run(tmp_path, "verify")
    assert (code, told.splitlines()[-1]) == (0, "all is well"), told
    assert list((tmp_path / "archive").iterdir()) == []
