"""A simple chain service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from satreel.chain.v1 import chain_pb2, chain_service_pb2, chain_service_pb2_grpc

from mesh import caller
from tests.gateway.fakes.base import AT, NOBODY, Feed, Log, NotYours, missing


class FakeChain(chain_service_pb2_grpc.ChainServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.tip = chain_pb2.Block(hash="00" * 32, height=100, mined_at=AT, seen_at=AT)
        self.rival: chain_pb2.Block | None = None
        self.freezes: list[chain_service_pb2.WalletFreeze] = []
        self.feed = Feed(lambda: chain_service_pb2.WatchBlocksResponse(cursor="b0", snapshot=self.tip))
        self.withdrawals: dict[str, chain_pb2.Withdrawal] = {}

    async def GetWithdrawal(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.withdrawal_id not in self.withdrawals:
            raise missing("WITHDRAWAL_NOT_FOUND")
        withdrawal = self.withdrawals[request.withdrawal_id]
        if withdrawal.user_id != caller.current().require_user():
            raise NotYours
        return chain_service_pb2.GetWithdrawalResponse(withdrawal=withdrawal)

    async def GetTip(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.GetTipResponse(
            block=self.tip, confirmed_at=AT, stale=self.rival is not None, rival=self.rival
        )

    async def GetCustody(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.GetCustodyResponse(
            coins_sats=70,
            owed_sats=70,
            hot_level=chain_service_pb2.HOT_LEVEL_WITHIN,
            freezes=self.freezes,
        )

    async def LiftFreeze(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        self.freezes = [one for one in self.freezes if one.txid != request.txid]
        return chain_service_pb2.LiftFreezeResponse(freezes=self.freezes)

    async def GetTitleAudit(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        difference = chain_pb2.TitleDifference(
            meme_id=NOBODY,
            kind=chain_pb2.TITLE_DIFFERENCE_KIND_OWNER,
            ledger_owner_id=NOBODY,
            chain_owner_id=NOBODY,
            detail="held for another",
        )
        return chain_service_pb2.GetTitleAuditResponse(titles=3, different=1, differences=[difference])

    async def GetDepositAddress(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        address = f"address-of-{caller.current().require_user()}"
        return chain_service_pb2.GetDepositAddressResponse(address=address, confirmations_needed=1)

    async def BatchGetInscriptions(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.BatchGetInscriptionsResponse()

    async def WatchBlocks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news
