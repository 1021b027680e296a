"""The ledger as a process: killed in the middle of work, started again, verified from the command line."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.channel import connect
from mesh.errors import RemoteFailure
from sandbox.process import free_port
from tests.ledger.world import uid

NOW_NS = time.time_ns()


def environment(folder: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "SATREEL_DATA_DIR": str(folder),
        "SATREEL_REDIS_URL": "redis://127.0.0.1:1/0",
        "SATREEL_LEDGER_LISTEN": f"127.0.0.1:{port}",
        "SATREEL_LEDGER_LEASE_TTL_S": "1",
        "SATREEL_DRAIN_S": "0",
    }


async def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ledger", *arguments,
        env=environment(folder, 0), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def start(folder: Path, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ledger",
        env=environment(folder, port),
        stdout=asyncio.subprocess.DEVNULL,
    )


async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    port = free_port()
    channel = connect(me="chain", peer="ledger", addresses=f"127.0.0.1:{port}", tls_dir=None)
    stub = LedgerServiceStub(channel)
    acknowledged: set[int] = set()
    process = await start(tmp_path, port)

    async def deposit(number: int) -> None:
        one = ledger_pb2.Deposit(
            id=uid(f"d{number}", NOW_NS),
            user_id="a",
            amount_sats=1,
            txid=f"{number:064x}",
            block_hash="b" * 64,
        )
        request = pb.CreditDepositsRequest(deposits=[one])
        while number not in acknowledged:
            try:
                await stub.CreditDeposits(request, timeout=1)
                acknowledged.add(number)
            except RemoteFailure as failure:
                if not (failure.outcome_unknown or failure.unsent):
                    raise
                await asyncio.sleep(0.05)

    async def kill_and_start_again() -> None:
        nonlocal process
        while len(acknowledged) < 60:
            await asyncio.sleep(0.001)
        process.kill()
        await process.wait()
        before = len(acknowledged)
        assert before < 600
        process = await start(tmp_path, port)

    async def deposits(first: int) -> None:
        for number in range(first, 600, 6):
            await deposit(number)

    try:
        await asyncio.gather(kill_and_start_again(), *map(deposits, range(6)))
        totals = await stub.GetTotals(pb.GetTotalsRequest(), timeout=60)
        assert (totals.sum_sats, totals.users_sats, totals.postings) == (0, 600, 600)
    finally:
        process.terminate()
        assert await process.wait() == 0
        await channel.close()
    code, shown = await run(tmp_path, "verify")
    assert code == 0, shown
    assert "users     600 sat" in shown


async def test_the_command_line_explains_itself(tmp_path: Path) -> None:
    code, shown = await run(tmp_path, "verify", "--help")
    assert code == 0
    assert "chain of hashes" in shown
    assert "SATREEL_DATA_DIR" in shown
    code, shown = await run(tmp_path, "verify")
    assert (code, shown) == (2, "")
