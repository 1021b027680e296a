"""The restore of docs/runbooks/restore.md, walked: running services are copied, lost, and brought back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh.channel import connect
from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.ledger.adapters.journal import BLOCK
from tests.k8s.conftest import ROOT, render

SERVICES = ("ledger", "market")
SATS = 7
# Each a record of the journal; a block of it can leave the store for the archive.
DEPOSITS = BLOCK + 20


@pytest.fixture
def environment(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> dict[str, str]:
    listens = {
        f"SATREEL_{name.upper()}_LISTEN": f"127.0.0.1:{unused_tcp_port_factory()}" for name in SERVICES
    }
    return {
        **os.environ,
        **listens,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        "SATREEL_DATA_DIR": str(tmp_path / "data"),
        "SATREEL_BACKUP_URL": (tmp_path / "kept").as_uri(),
        "SATREEL_REDIS_URL": "redis://127.0.0.1:1/0",
        # Nobody of whom answers: market keeps its records all the same.
        "SATREEL_PEERS": json.dumps(dict.fromkeys(("identity", "content", "ledger", "chain"), "127.0.0.1:1")),
        "SATREEL_LEDGER_LEASE_TTL_S": "1",
        "SATREEL_DRAIN_S": "0",
    }


def runbook() -> list[str]:
    page = (ROOT / "docs/runbooks/restore.md").read_text()
    (block,) = re.findall(r"^```sh rehearsed\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(block).splitlines()


def as_the_cron_job(service: str) -> list[str]:
    """What the container of the service's backup runs."""
    job = render("sqlite").named("CronJob", f"{service}-backup")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [str(word) for word in (*container["command"], *container["args"])]


async def credit(stub: LedgerServiceStub, number: int) -> None:
    deposit = ledger_pb2.Deposit(
        id=uuid7(), user_id="a", amount_sats=SATS, txid=f"{number:064x}", block_hash="b" * 64
    )
    while True:
        try:
            await stub.CreditDeposits(pb.CreditDepositsRequest(deposits=[deposit]), timeout=10)
        except RemoteFailure as failure:
            if not (failure.outcome_unknown or failure.unsent):
                raise
            await asyncio.sleep(0.05)
        else:
            return


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_what_was_kept_comes_back_by_the_runbook(environment: dict[str, str]) -> None:
    data = Path(environment["SATREEL_DATA_DIR"])
    archive = data / "archive"

    def sh(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{name}", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        for name in SERVICES
    ]
    channel = connect(me="chain", peer="ledger", addresses=environment["SATREEL_LEDGER_LISTEN"], tls_dir=None)
    try:
        async with channel:
            stub = LedgerServiceStub(channel)
            for number in range(DEPOSITS):
                await credit(stub, number)
            # With two snapshots behind it a block is needed by none.
            for number in range(DEPOSITS, DEPOSITS + 2):
                await credit(stub, number)
                taken = await asyncio.to_thread(sh, [sys.executable, "-m", "services.ledger", "snapshot"])
                assert taken.returncode == 0, taken.stderr
            assert f"archive   {BLOCK} records copied" in taken.stdout
            # Beside writers: what is acknowledged before is in, what comes meanwhile may be.
            busy = asyncio.create_task(credit(stub, DEPOSITS + 2))
            saved = [await asyncio.to_thread(sh, as_the_cron_job(name)) for name in SERVICES]
            await busy
        assert [done.returncode for done in saved] == [0, 0], saved
    finally:
        for process in started:
            process.kill()
            await process.wait()
    (data / "records" / "ledger.sqlite").write_bytes(b"destroyed")
    kept = sums(archive)
    shutil.rmtree(archive)

    walked = [await asyncio.to_thread(sh, ["sh", "-euc", line]) for line in runbook()]

    assert [done.returncode for done in walked] == [0] * len(walked), walked
    verified = walked[-1].stdout
    assert "all is well" in verified
    (sats,) = re.findall(r"^users +(\d+) sat$", verified, re.MULTILINE)
    assert int(sats) in {SATS * (DEPOSITS + 2), SATS * (DEPOSITS + 3)}
    # Nothing of the journal is whole without the archive: `verify` has read it from there.
    assert kept.items() >= sums(archive).items()
    assert any(name.startswith("journal/") for name in sums(archive))
    assert (data / "records" / "market.sqlite").stat().st_size > 0


def test_what_is_there_is_never_overwritten_and_a_changed_copy_never_restored(
    environment: dict[str, str], tmp_path: Path
) -> None:
    records = Path(environment["SATREEL_DATA_DIR"]) / "records" / "ledger.sqlite"
    records.parent.mkdir(parents=True)
    with sqlite3.connect(records) as made:
        made.execute("CREATE TABLE t (x)")
    made.close()

    def backup(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mesh.backup", *arguments],
            env=environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    assert backup("save", "ledger").returncode == 0
    before = records.read_bytes()
    refused = backup("restore", "ledger")
    assert refused.returncode == 1
    assert "move them away" in refused.stderr
    assert records.read_bytes() == before

    (copy,) = (tmp_path / "kept" / "ledger").glob("*.sqlite")
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    records.unlink()
    refused = backup("restore", "ledger")
    assert refused.returncode == 1
    assert "was changed" in refused.stderr
    assert not records.exists()
