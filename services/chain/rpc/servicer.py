"""Answers calls: checks whose object it is, maps, and asks the desk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from satreel.chain.v1 import chain_pb2, chain_service_pb2_grpc
from satreel.chain.v1 import chain_service_pb2 as pb

from mesh import caller
from mesh.errors import InvalidArgument
from mesh.feeds import Feed, responses
from mesh.ids import is_uuid7
from mesh.pages import page_token, read_page_token
from services.chain.app.custody import custody
from services.chain.app.headers import checked_header
from services.chain.app.service import Chain
from services.chain.app.withdrawal_requests import Payout
from services.chain.domain.entities import TitleBody, Tx
from services.chain.domain.failures import BlockNotFound, NotYours, TransactionNotFound
from services.chain.domain.header import Block
from services.chain.domain.keys import FLOAT, REFILL, KeyUse
from services.chain.domain.values import BlockHash, MemeId, Sats, Txid, UserId
from services.chain.rpc import mapping

PAGE_DEFAULT = 50

Context = Any


class ChainServicer(chain_service_pb2_grpc.ChainServiceServicer):
    """The contract's calls."""

    def __init__(self, chain: Chain, *, blocks: Feed, events: Feed) -> None:
        self._chain = chain
        self._blocks = blocks
        self._events = events

    async def GetTip(self, request: pb.GetTipRequest, context: Context) -> pb.GetTipResponse:
        desk = self._chain.desk
        return mapping.tip(desk.books.chain, desk.freshness)

    async def GetBlock(self, request: pb.GetBlockRequest, context: Context) -> pb.GetBlockResponse:
        if request.WhichOneof("by") == "height":
            return pb.GetBlockResponse(block=mapping.block(await self._block_at(request.height)))
        return pb.GetBlockResponse(block=mapping.block(await self._block(BlockHash(request.hash))))

    async def _block_at(self, height: int) -> Block:
        desk = self._chain.desk
        known = desk.books.chain.at(height)
        if known is not None:
            return known
        found = (
            None if height > desk.books.chain.tip.height else await self._chain.world.reader.hash_at(height)
        )
        if found is None:
            raise BlockNotFound(height=height)
        return await self._block(found)

    async def _block(self, block_hash: BlockHash) -> Block:
        chain = self._chain.desk.books.chain
        known = chain.get(block_hash)
        if known is not None:
            return known
        found = await self._chain.world.reader.header(block_hash)
        # What the node may know above our window is told by an event first.
        if found is None or found.confirmations < 1 or found.height >= chain.lowest.height:
            raise BlockNotFound(hash=block_hash)
        checked_header(found, block_hash, chain.consensus)
        return Block.first(found.header, found.height, 0)

    async def WatchBlocks(
        self, request: pb.WatchBlocksRequest, context: Context
    ) -> AsyncIterator[pb.WatchBlocksResponse]:
        told = responses(self._blocks, request.cursor, pb.WatchBlocksResponse, snapshot=self._tip)
        async with aclosing(told):
            async for response in told:
                yield response

    async def WatchChain(
        self, request: pb.WatchChainRequest, context: Context
    ) -> AsyncIterator[pb.WatchChainResponse]:
        told = responses(self._events, request.cursor, pb.WatchChainResponse, snapshot=self._snapshot)
        async with aclosing(told):
            async for response in told:
                yield response

    async def _tip(self) -> chain_pb2.Block:
        return mapping.block(self._chain.desk.books.chain.tip)

    async def _snapshot(self) -> pb.ChainSnapshot:
        return pb.ChainSnapshot(tip=await self._tip())

    async def GetDepositAddress(
        self, request: pb.GetDepositAddressRequest, context: Context
    ) -> pb.GetDepositAddressResponse:
        user_id = UserId(caller.current().require_user())
        async with self._chain.desk.command() as desk:
            path = await desk.accounts.path(user_id, KeyUse.DEPOSIT)
        return pb.GetDepositAddressResponse(
            address=self._chain.world.keys.address(path),
            confirmations_needed=self._chain.rules.confirmations_needed,
            minimum_sats=self._chain.rules.withdrawal.sats_min,
        )

    async def GetFloatAddress(
        self, request: pb.GetFloatAddressRequest, context: Context
    ) -> pb.GetFloatAddressResponse:
        keys = self._chain.world.keys
        return pb.GetFloatAddressResponse(address=keys.address(FLOAT), refill_address=keys.address(REFILL))

    async def ListDeposits(
        self, request: pb.ListDepositsRequest, context: Context
    ) -> pb.ListDepositsResponse:
        user_id, size = UserId(caller.current().require_user()), request.page_size or PAGE_DEFAULT
        desk = self._chain.desk
        scope = f"deposits {user_id}"
        before = read_page_token(scope, request.page_token)
        found = await desk.deposits.listed(user_id, before, size)
        return pb.ListDepositsResponse(
            deposits=[mapping.deposit(d, desk.books.chain.confirmations(d.block_height)) for d in found],
            next_page_token=page_token(scope, found[-1].id) if len(found) == size else "",
        )

    async def RequestWithdrawal(
        self, request: pb.RequestWithdrawalRequest, context: Context
    ) -> pb.RequestWithdrawalResponse:
        user_id = UserId(caller.current().require_user())
        if not is_uuid7(request.withdrawal_id):
            # Other versions are kept for payouts, whose ids anybody can compute beforehand.
            raise InvalidArgument("withdrawal_id must be a UUIDv7")
        async with self._chain.desk.command() as desk:
            found = await desk.requests.withdraw(
                request.withdrawal_id, user_id, request.address, Sats(request.amount_sats)
            )
        tx = await desk.books.tx(found.plan)
        return pb.RequestWithdrawalResponse(
            withdrawal=mapping.withdrawal(found, desk.books.confirmations(tx))
        )

    async def QueuePayouts(
        self, request: pb.QueuePayoutsRequest, context: Context
    ) -> pb.QueuePayoutsResponse:
        payouts = [
            Payout(found.withdrawal_id, UserId(found.user_id), Sats(found.amount_sats))
            for found in request.payouts
        ]
        async with self._chain.desk.command() as desk:
            queued, skipped = await desk.requests.pay_out(payouts)
        return pb.QueuePayoutsResponse(
            withdrawals=[mapping.withdrawal(found, 0) for found in queued], skipped_user_ids=skipped
        )

    async def GetWithdrawal(
        self, request: pb.GetWithdrawalRequest, context: Context
    ) -> pb.GetWithdrawalResponse:
        desk, who = self._chain.desk, caller.current()
        found, tx = await desk.withdrawals.get(request.withdrawal_id)
        if found.user_id != who.require_user() and not who.is_admin:
            raise NotYours
        return pb.GetWithdrawalResponse(withdrawal=mapping.withdrawal(found, desk.books.confirmations(tx)))

    async def ListWithdrawals(
        self, request: pb.ListWithdrawalsRequest, context: Context
    ) -> pb.ListWithdrawalsResponse:
        user_id, size = UserId(caller.current().require_user()), request.page_size or PAGE_DEFAULT
        desk = self._chain.desk
        scope = f"withdrawals {user_id}"
        before = read_page_token(scope, request.page_token)
        found = await desk.withdrawals.listed(user_id, before, size)
        shown = [
            mapping.withdrawal(one, desk.books.confirmations(await desk.books.tx(one.plan))) for one in found
        ]
        token = page_token(scope, found[-1].id) if len(found) == size else ""
        return pb.ListWithdrawalsResponse(withdrawals=shown, next_page_token=token)

    async def InscribeTitle(
        self, request: pb.InscribeTitleRequest, context: Context
    ) -> pb.InscribeTitleResponse:
        body = TitleBody(
            meme_id=MemeId(request.meme_id),
            creator_id=UserId(request.creator_id),
            name=request.name,
            mime=request.poster_mime,
            poster=request.poster,
            film_sha256=request.film_sha256,
        )
        async with self._chain.desk.command() as desk:
            shown = await desk.titles.inscribe(body)
        return pb.InscribeTitleResponse(inscription=mapping.inscription(shown))

    async def TransferTitle(
        self, request: pb.TransferTitleRequest, context: Context
    ) -> pb.TransferTitleResponse:
        async with self._chain.desk.command() as desk:
            shown = await desk.titles.transfer(
                request.sale_id, MemeId(request.meme_id), UserId(request.new_owner_id)
            )
        return pb.TransferTitleResponse(inscription=mapping.inscription(shown))

    async def GetInscription(
        self, request: pb.GetInscriptionRequest, context: Context
    ) -> pb.GetInscriptionResponse:
        shown = await self._chain.desk.titles.get(MemeId(request.meme_id))
        return pb.GetInscriptionResponse(inscription=mapping.inscription(shown))

    async def BatchGetInscriptions(
        self, request: pb.BatchGetInscriptionsRequest, context: Context
    ) -> pb.BatchGetInscriptionsResponse:
        found = await self._chain.desk.titles.get_many([MemeId(id_) for id_ in request.meme_ids])
        return pb.BatchGetInscriptionsResponse(inscriptions=map(mapping.inscription, found))

    async def RecordResult(
        self, request: pb.RecordResultRequest, context: Context
    ) -> pb.RecordResultResponse:
        async with self._chain.desk.command() as desk:
            shown = await desk.results.record(request.round_id, request.payload_json)
        return pb.RecordResultResponse(record=mapping.record(shown))

    async def GetResultRecord(
        self, request: pb.GetResultRecordRequest, context: Context
    ) -> pb.GetResultRecordResponse:
        shown = await self._chain.desk.results.get(request.round_id)
        return pb.GetResultRecordResponse(record=mapping.record(shown))

    async def BatchGetResultRecords(
        self, request: pb.BatchGetResultRecordsRequest, context: Context
    ) -> pb.BatchGetResultRecordsResponse:
        found = await self._chain.desk.results.get_many(request.round_ids)
        return pb.BatchGetResultRecordsResponse(records=map(mapping.record, found))

    async def GetTransaction(
        self, request: pb.GetTransactionRequest, context: Context
    ) -> pb.GetTransactionResponse:
        tx = await self._transaction(Txid(request.txid))
        if tx is None:
            raise TransactionNotFound(txid=request.txid)
        confirmations = self._chain.desk.books.confirmations(tx)
        return pb.GetTransactionResponse(transaction=mapping.transaction(tx, confirmations))

    async def BatchGetTransactions(
        self, request: pb.BatchGetTransactionsRequest, context: Context
    ) -> pb.BatchGetTransactionsResponse:
        books = self._chain.desk.books
        found = [await self._transaction(Txid(txid)) for txid in request.txids]
        shown = [mapping.transaction(tx, books.confirmations(tx)) for tx in found if tx is not None]
        return pb.BatchGetTransactionsResponse(transactions=shown)

    async def _transaction(self, txid: Txid) -> Tx | None:
        books = self._chain.desk.books
        kept = books.tx_of(txid)
        if kept is None:
            found = await books.records.txs.where("txid", txid)
            kept = found[0] if found else None
        return None if kept is None else kept.value

    async def GetTitleAudit(
        self, request: pb.GetTitleAuditRequest, context: Context
    ) -> pb.GetTitleAuditResponse:
        return mapping.title_audit(self._chain.desk.audit.report())

    async def GetCustody(self, request: pb.GetCustodyRequest, context: Context) -> pb.GetCustodyResponse:
        desk = self._chain.desk
        with caller.without_user():  # open to all, though the ledger's accounts are not
            found = await custody(desk.books, self._chain.world.ledger)
        return mapping.custody(found, desk.sweeping.look(), desk.freezing.open)

    async def LiftFreeze(self, request: pb.LiftFreezeRequest, context: Context) -> pb.LiftFreezeResponse:
        async with self._chain.desk.command() as desk:
            await desk.freezing.lift(Txid(request.txid), caller.current().require_user())
        return pb.LiftFreezeResponse(freezes=mapping.freezes(desk.freezing.open))
