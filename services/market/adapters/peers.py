"""The ledger and the chain service, as the market needs them."""

from __future__ import annotations

from collections.abc import Sequence

from satreel.chain.v1 import chain_service_pb2, chain_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from mesh import logs
from mesh.errors import DeadlineExceeded, RemoteFailure
from services.market.app.ports import Refusal, Refused
from services.market.domain.deals import SAT, Act, Leg, Transfer
from services.market.domain.failures import TitleNotFound, Unsettled
from services.market.domain.sales import Sale
from services.market.domain.values import MemeId, UserId

log = logs.logger(__name__)

_Reason = ledger_pb2.ErrorReason
_NOT_COVERED = {
    _Reason.ERROR_REASON_INSUFFICIENT_FUNDS,
    _Reason.ERROR_REASON_ACCOUNT_NOT_FOUND,
    _Reason.ERROR_REASON_ACCOUNT_IN_DEBT,
}
_HOLD_GONE = {_Reason.ERROR_REASON_HOLD_NOT_FOUND, _Reason.ERROR_REASON_HOLD_CLOSED}
_KINDS = {
    Act.POST: ledger_pb2.TRANSFER_KIND_POST,
    Act.HOLD: ledger_pb2.TRANSFER_KIND_HOLD,
    Act.POST_HOLD: ledger_pb2.TRANSFER_KIND_POST_HOLD,
    Act.VOID_HOLD: ledger_pb2.TRANSFER_KIND_VOID_HOLD,
}


class GrpcLedger:
    """`Ledger`."""

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
        self._stub = stub

    async def owner(self, meme_id: MemeId) -> UserId:
        """Who owns the title."""
        try:
            answer = await self._stub.GetTitle(ledger_service_pb2.GetTitleRequest(meme_id=meme_id))
        except RemoteFailure as failure:
            if failure.reason == TitleNotFound.reason:
                raise TitleNotFound from failure
            raise
        return UserId(answer.title.owner_id)

    async def available_sats(self, user_id: UserId) -> int:
        """What the user may spend now; nothing for an account that was never used."""
        try:
            answer = await self._stub.GetAccount(
                ledger_service_pb2.GetAccountRequest(account_id=f"user:{user_id}", asset=SAT)
            )
        except RemoteFailure as failure:
            if failure.reason == "ACCOUNT_NOT_FOUND":
                return 0
            raise
        return answer.account.available

    async def carry_out(self, transfers: Sequence[Transfer]) -> Refused | None:
        """Carries out all transfers or none."""
        last = len(transfers) - 1
        request = ledger_service_pb2.CreateTransfersRequest(
            transfers=[_transfer(transfer, linked=number < last) for number, transfer in enumerate(transfers)]
        )
        try:
            answer = await self._stub.CreateTransfers(request)
        except DeadlineExceeded as problem:
            raise Unsettled from problem
        except RemoteFailure as failure:
            if failure.outcome_unknown:
                raise Unsettled from failure
            raise
        return _refused(transfers, answer.results)


class GrpcChain:
    """`Chain`."""

    def __init__(self, stub: chain_service_pb2_grpc.ChainServiceStub) -> None:
        self._stub = stub

    async def transfer_title(self, sale: Sale) -> None:
        """Has the title moved to the buyer."""
        await self._stub.TransferTitle(
            chain_service_pb2.TransferTitleRequest(
                sale_id=sale.id, meme_id=sale.meme_id, new_owner_id=sale.buyer_id
            )
        )


def _transfer(transfer: Transfer, *, linked: bool) -> ledger_pb2.Transfer:
    return ledger_pb2.Transfer(
        id=transfer.id,
        kind=_KINDS[transfer.act],
        debit_account=transfer.debit_account,
        credit_account=transfer.credit_account,
        asset=transfer.asset,
        amount=transfer.amount,
        hold_id=transfer.hold_id,
        hold_expires_s=transfer.hold_expires_s,
        linked=linked,
        memo=transfer.memo,
    )


def _refused(transfers: Sequence[Transfer], results: Sequence[ledger_pb2.TransferResult]) -> Refused | None:
    if len(results) != len(transfers):
        raise Unsettled(f"the ledger answered {len(results)} of {len(transfers)} transfers")
    failed = [
        (transfer, result)
        for transfer, result in zip(transfers, results, strict=True)
        if result.reason != _Reason.ERROR_REASON_UNSPECIFIED
    ]
    if not failed:
        return None
    of_itself = (
        (transfer, result)
        for transfer, result in failed
        if result.reason != _Reason.ERROR_REASON_LINKED_TRANSFER_FAILED
    )
    transfer, result = next(of_itself, failed[0])
    return Refused(_refusal(transfer, result), transfer.leg, result.detail)


def _refusal(transfer: Transfer, result: ledger_pb2.TransferResult) -> Refusal:
    if result.reason == _Reason.ERROR_REASON_ID_REUSED:
        return Refusal.ID_REUSED
    if result.reason in _HOLD_GONE:
        return Refusal.HOLD_GONE
    # An id of such an age that the ledger has forgotten it: a hold that was still open would still be known.
    if result.reason == _Reason.ERROR_REASON_ID_OUT_OF_TIME and transfer.act is Act.VOID_HOLD:
        return Refusal.HOLD_GONE
    if result.reason in _NOT_COVERED:
        return Refusal.NOT_OWNER if transfer.leg is Leg.TITLE else Refusal.INSUFFICIENT_FUNDS
    log.error(
        "refused for no good reason",
        reason=_Reason.Name(result.reason),
        leg=transfer.leg,
        detail=result.detail,
    )
    return Refusal.FAULT
