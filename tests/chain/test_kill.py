"""`kill -9` of the real chain service at every step of sending: one payment reaches the chain each time."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import grpc
from satreel.chain.v1 import chain_pb2
from satreel.chain.v1 import chain_service_pb2 as pb
from satreel.ledger.v1 import ledger_service_pb2 as ledger_pb

from mesh.errors import Failure
from mesh.ids import uuid7
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of
from tests.chain.test_process import ANNA, PATIENCE_S, Town, eventually, town

__all__ = ["town"]

# Behind one step is before the next one.
POINTS = [
    "before coins reserved",
    "behind coins reserved",
    "behind txs signed",
    "behind txs sent",
    "behind send",
    "behind txs seen",
    "behind txs mined",
    "behind post",
    "behind withdrawals confirmed",
]
AMOUNT_SATS = 5_000


async def died(town: Town, regtest: Regtest) -> None:
    """Blocks come until the service is dead."""
    process = town.child("chain").process
    async with asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            await asyncio.sleep(0.3)
            await regtest.mine()
    assert process.returncode == -signal.SIGKILL


async def confirmed(town: Town, regtest: Regtest, withdrawal: str) -> None:
    """Blocks come until the payment is confirmed, by a service that was started anew."""

    async def look() -> bool:
        with suppress(Failure, grpc.RpcError):
            found = await town.chain.GetWithdrawal(
                pb.GetWithdrawalRequest(withdrawal_id=withdrawal), timeout=5
            )
            if found.withdrawal.state == chain_pb2.WITHDRAWAL_STATE_CONFIRMED:
                return True
            await regtest.mine()
        return False

    await eventually(look)


async def test_killed_at_every_step_of_sending(town: Town, regtest: Regtest) -> None:
    await town.kill("chain")
    paid: dict[str, str] = {}
    before = ""
    with town.as_user(ANNA):  # type: ignore[attr-defined]
        for point in [*POINTS, "never"]:
            await town.start_mortal_chain(point)
            if before:
                await confirmed(town, regtest, before)
            else:
                found = await town.chain.GetDepositAddress(pb.GetDepositAddressRequest(), timeout=PATIENCE_S)
                await regtest.fund(found.address, 100_000)
                await regtest.mine()
            if point == "never":
                break
            before, to = uuid7(), await regtest.rpc.text("getnewaddress")
            paid[to] = point
            wanted = pb.RequestWithdrawalRequest(withdrawal_id=before, address=to, amount_sats=AMOUNT_SATS)
            await asked(town, wanted)
            await died(town, regtest)
        # A user asks, as everybody may.
        custody = await town.chain.GetCustody(pb.GetCustodyRequest())
    received = await regtest.rpc.call("listreceivedbyaddress", 1)
    assert isinstance(received, list)
    receipts = {one["address"]: one for one in received if one["address"] in paid}
    for to, point in paid.items():
        assert len(receipts[to]["txids"]) == 1, point
        assert sats_of(receipts[to]["amount"]) == AMOUNT_SATS, point
    account = await town.ledger.GetAccount(ledger_pb.GetAccountRequest(account_id=f"user:{ANNA}"))
    assert custody.difference_sats == 0
    assert account.account.balance == account.account.available == custody.owed_sats == custody.coins_sats


async def asked(town: Town, wanted: pb.RequestWithdrawalRequest) -> None:
    """Until the deposit is there and the request is known; it may be killed before it answers."""

    async def ask() -> bool:
        try:
            await town.chain.RequestWithdrawal(wanted, timeout=5)
        except Failure:
            return town.child("chain").exit_code is not None
        return True

    await eventually(ask)
