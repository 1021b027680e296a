"""The ledger, as chain sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from mesh.errors import Code, RemoteFailure
from services.chain.app.ports import Credit, Hold, Movement, Post, Reason, Refusal, Release, Transfer
from services.chain.domain.values import COINS_ACCOUNT, COLD_ACCOUNT, MemeId, Sats, UserId

ASSET = "sat"
_UNCOVERED = {
    ledger_pb2.ERROR_REASON_INSUFFICIENT_FUNDS,
    ledger_pb2.ERROR_REASON_ACCOUNT_IN_DEBT,
    ledger_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND,
}


class LedgerClient:
    """A `Ledger` over the mesh."""

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
        self._stub = stub

    async def move(self, movements: Sequence[Movement]) -> list[Refusal | None]:
        """Makes each movement on its own."""
        request = ledger_service_pb2.CreateTransfersRequest(transfers=map(_transfer, movements))
        response = await self._stub.CreateTransfers(request)
        return [_refusal(result) for result in response.results]

    async def credit(self, credits_: Sequence[Credit]) -> None:
        """Credits deposits."""
        deposits = [
            ledger_pb2.Deposit(
                id=one.id,
                user_id=one.user_id,
                amount_sats=one.sats,
                txid=one.txid,
                vout=one.vout,
                block_hash=one.block_hash,
            )
            for one in credits_
        ]
        await self._stub.CreditDeposits(ledger_service_pb2.CreditDepositsRequest(deposits=deposits))

    async def reverse(self, reversal_id: str, credit_id: str, reason: str) -> None:
        """Takes a credited deposit back."""
        await self._stub.ReverseDeposit(
            ledger_service_pb2.ReverseDepositRequest(id=reversal_id, deposit_id=credit_id, reason=reason)
        )

    async def owed_sats(self) -> Sats:
        """What the hot wallet must hold."""
        return Sats(-(await self._account(COINS_ACCOUNT)).balance)

    async def cold_sats(self) -> Sats:
        """What must lie at the cold address."""
        return Sats(-(await self._account(COLD_ACCOUNT)).balance)

    async def available_sats(self, account: str) -> Sats:
        """What an account may spend; 0 when it was never used."""
        return Sats((await self._account(account)).available)

    async def title_owners(self, meme_ids: Sequence[MemeId]) -> Mapping[MemeId, UserId]:
        """Who owns the titles of these memes."""
        response = await self._stub.BatchGetTitles(
            ledger_service_pb2.BatchGetTitlesRequest(meme_ids=meme_ids)
        )
        return {MemeId(title.meme_id): UserId(title.owner_id) for title in response.titles}

    async def _account(self, account: str) -> ledger_pb2.Account:
        try:
            response = await self._stub.GetAccount(
                ledger_service_pb2.GetAccountRequest(account_id=account, asset=ASSET)
            )
        except RemoteFailure as unknown:
            if unknown.code is Code.NOT_FOUND:
                return ledger_pb2.Account()
            raise
        return response.account


def _transfer(movement: Movement) -> ledger_pb2.Transfer:
    match movement:
        case Hold():
            return ledger_pb2.Transfer(
                id=movement.id,
                kind=ledger_pb2.TRANSFER_KIND_HOLD,
                debit_account=movement.account,
                credit_account=COINS_ACCOUNT,
                asset=ASSET,
                amount=movement.sats,
                memo=movement.memo,
            )
        case Post():
            return ledger_pb2.Transfer(
                id=movement.id,
                kind=ledger_pb2.TRANSFER_KIND_POST_HOLD,
                hold_id=movement.hold_id,
                amount=movement.sats,
            )
        case Release():
            return ledger_pb2.Transfer(
                id=movement.id, kind=ledger_pb2.TRANSFER_KIND_VOID_HOLD, hold_id=movement.hold_id
            )
        case Transfer():
            return ledger_pb2.Transfer(
                id=movement.id,
                kind=ledger_pb2.TRANSFER_KIND_POST,
                debit_account=movement.debit,
                credit_account=movement.credit,
                asset=ASSET,
                amount=movement.sats,
                memo=movement.memo,
            )


def _refusal(result: ledger_pb2.TransferResult) -> Refusal | None:
    if result.reason == ledger_pb2.ERROR_REASON_UNSPECIFIED:
        return None
    name = ledger_pb2.ErrorReason.Name(result.reason)
    reason = Reason.INSUFFICIENT if result.reason in _UNCOVERED else Reason.OTHER
    return Refusal(reason, f"{name} {result.detail}".strip())
