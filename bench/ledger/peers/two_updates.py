"""A ledger of two updates per transfer over the same store, behind the same server and contract.

`python -m bench.ledger.peers.two_updates` starts empty and serves CreateTransfers and CreditDeposits. A
transfer is a create of its record and a `put_if` of either balance, in this order: what a service without a
journal has to do. To its favour it keeps balances and generations in memory (no read before a write, which
allows one instance only), and works on all transfers of a request at once. A crash shows between its writes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc.aio
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.config import MeshSettings
from mesh.records import Exists, SetSpec, Store, open_store
from mesh.runtime import Runtime, run

BALANCES, TRANSFERS = "balances", "transfers"
SETS = (SetSpec(BALANCES), SetSpec(TRANSFERS))

Context = grpc.aio.ServicerContext[Any, Any]


class TwoUpdatesSettings(MeshSettings, env_prefix="SATREEL_LEDGER_"):
    """It stands in for the ledger: with its name, its certificate, and its address."""

    service: ClassVar[str] = "ledger"


@dataclass(slots=True)
class _Balance:
    account: str
    sats: int = 0
    generation: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TwoUpdates(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Balances as records that are changed in place."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._balances: dict[str, _Balance] = {}

    async def CreateTransfers(  # noqa: D102, N802 - the contract names and documents it
        self,
        request: pb.CreateTransfersRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CreateTransfersResponse:
        results = await asyncio.gather(*map(self._transfer, request.transfers))
        return pb.CreateTransfersResponse(results=results)

    async def CreditDeposits(  # noqa: D102, N802
        self,
        request: pb.CreditDepositsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CreditDepositsResponse:
        await asyncio.gather(
            *(self._credit(f"user:{deposit.user_id}", deposit.amount_sats) for deposit in request.deposits)
        )
        return pb.CreditDepositsResponse()

    async def _transfer(self, asked: ledger_pb2.Transfer) -> ledger_pb2.TransferResult:
        giver, taker = self._balance(asked.debit_account), self._balance(asked.credit_account)
        first, second = sorted((giver, taker), key=lambda balance: balance.account)
        async with first.lock, second.lock:
            if giver.sats < asked.amount:
                reason = ledger_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
                return ledger_pb2.TransferResult(id=asked.id, reason=reason)
            try:
                await self._store.create(TRANSFERS, asked.id, _bins(asked))
            except Exists:
                return ledger_pb2.TransferResult(id=asked.id)
            await self._change(giver, -asked.amount)
            await self._change(taker, asked.amount)
        return ledger_pb2.TransferResult(id=asked.id)

    async def _change(self, balance: _Balance, sats: int) -> None:
        bins = {"sats": balance.sats + sats}
        balance.generation = await self._store.put_if(BALANCES, balance.account, bins, balance.generation)
        balance.sats += sats

    async def _credit(self, account: str, sats: int) -> None:
        balance = self._balance(account)
        async with balance.lock:
            if balance.generation:
                await self._change(balance, sats)
            else:
                balance.generation = await self._store.create(BALANCES, account, {"sats": sats})
                balance.sats = sats

    def _balance(self, account: str) -> _Balance:
        found = self._balances.get(account)
        if found is None:
            found = self._balances[account] = _Balance(account)
        return found


def _bins(asked: ledger_pb2.Transfer) -> dict[str, str | int]:
    return {
        "debit": asked.debit_account,
        "credit": asked.credit_account,
        "asset": asked.asset,
        "amount": asked.amount,
        "memo": asked.memo,
    }


async def main(settings: TwoUpdatesSettings) -> None:
    """Serves until stopped."""
    async with Runtime(settings) as runtime:
        store = await runtime.enter(open_store(settings, SETS))
        servicer = TwoUpdates(store)  # type: ignore[abstract] # the other methods answer UNIMPLEMENTED
        await runtime.add(ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, servicer)
        await runtime.serve()


if __name__ == "__main__":
    run(TwoUpdatesSettings, main)
