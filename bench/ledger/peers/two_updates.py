"""A ledger of two updates per transfer over the same store, behind the same server and contract.

`python -m bench.ledger.peers.two_updates` starts empty and serves CreateTransfers and CreditDeposits. A
transfer is a create of its record, and a compare-and-set of either balance, read first: what a service
without a journal and without a leader has to do. To its favour it works on all transfers of a request at
once, and those of one account queue up in the process, so that hardly a write has to be tried again. A crash
shows between its writes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, ClassVar

import grpc.aio
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.config import MeshSettings
from mesh.records import Bins, Exists, Record, SetSpec, Store, change, open_store
from mesh.runtime import Runtime, run

BALANCES, TRANSFERS = "balances", "transfers"
SETS = (SetSpec(BALANCES), SetSpec(TRANSFERS))

Context = grpc.aio.ServicerContext[Any, Any]


class TwoUpdatesSettings(MeshSettings, env_prefix="SATREEL_LEDGER_"):
    """It stands in for the ledger: with its name, its certificate, and its address."""

    service: ClassVar[str] = "ledger"


class TwoUpdates(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Balances as records that are changed in place."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

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
        try:
            await self._store.create(TRANSFERS, asked.id, _bins(asked))
            await self._change(asked.debit_account, -asked.amount)
            await self._change(asked.credit_account, asked.amount)
        except Exists:
            pass
        except _Overdrawn:
            reason = ledger_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
            return ledger_pb2.TransferResult(id=asked.id, reason=reason)
        return ledger_pb2.TransferResult(id=asked.id)

    async def _change(self, account: str, sats: int) -> bool:
        """Whether there is such an account. Raises _Overdrawn, and Stale under many other instances."""

        def guarded(record: Record) -> Bins:
            balance = record.integer("sats") + sats
            if balance < 0:
                raise _Overdrawn
            return {"sats": balance}

        async with self._locks[account]:
            return await change(self._store, BALANCES, account, guarded) is not None

    async def _credit(self, account: str, sats: int) -> None:
        if not await self._change(account, sats):
            await self._store.create(BALANCES, account, {"sats": sats})


class _Overdrawn(Exception):  # noqa: N818 - an answer, not a fault
    """The account does not have as much."""


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
