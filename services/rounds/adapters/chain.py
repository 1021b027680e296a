"""The chain service, as rounds sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from satreel.chain.v1 import chain_pb2, chain_service_pb2, chain_service_pb2_grpc

from mesh.errors import Code, RemoteFailure
from services.rounds.app.ports import BlockNews, RecordNews
from services.rounds.domain.earnings import Earning
from services.rounds.domain.values import Block, InstantNs, RoundId


class ChainClient:
    """Blocks, and what is written and paid on chain."""

    def __init__(self, stub: chain_service_pb2_grpc.ChainServiceStub) -> None:
        self._stub = stub

    async def record_result(self, round_id: RoundId, record_json: str) -> str:
        """Returns when the record is kept durably; the transaction's id, "" while it is not known."""
        response = await self._stub.RecordResult(
            chain_service_pb2.RecordResultRequest(round_id=round_id, payload_json=record_json)
        )
        return response.record.txid

    async def queue_payouts(self, earned: Sequence[Earning]) -> None:
        """Returns when the payouts are kept durably."""
        await self._stub.QueuePayouts(
            chain_service_pb2.QueuePayoutsRequest(
                payouts=[
                    chain_service_pb2.Payout(
                        withdrawal_id=found.withdrawal_id,
                        user_id=found.user_id,
                        amount_sats=found.amount_sats,
                    )
                    for found in earned
                ]
            )
        )

    async def txids(self, round_ids: Sequence[RoundId]) -> dict[RoundId, str]:
        """Transactions of records, where known."""
        response = await self._stub.BatchGetResultRecords(
            chain_service_pb2.BatchGetResultRecordsRequest(round_ids=round_ids)
        )
        return {RoundId(record.round_id): record.txid for record in response.records if record.txid}

    async def block_at(self, height: int) -> Block | None:
        """The block of the winning chain at this height."""
        try:
            response = await self._stub.GetBlock(chain_service_pb2.GetBlockRequest(height=height))
        except RemoteFailure as unknown:
            if unknown.code is Code.NOT_FOUND:
                return None
            raise
        return _block(response.block)

    async def watch_blocks(self, cursor: str) -> AsyncGenerator[BlockNews, None]:
        """Blocks from the cursor on."""
        request = chain_service_pb2.WatchBlocksRequest(cursor=cursor)
        async for response in self._stub.WatchBlocks(request):
            match response.WhichOneof("news"):
                case "snapshot":
                    tip = _block(response.snapshot)
                    yield BlockNews(response.cursor, (), (tip,), snapshot=True)
                case "event":
                    orphaned = tuple(_block(block) for block in response.event.orphaned)
                    connected = tuple(_block(block) for block in response.event.connected)
                    yield BlockNews(response.cursor, orphaned, connected)

    async def watch_records(self, cursor: str) -> AsyncGenerator[RecordNews, None]:
        """Records from the cursor on."""
        request = chain_service_pb2.WatchChainRequest(cursor=cursor)
        async for response in self._stub.WatchChain(request):
            event = response.event
            match response.WhichOneof("news"):
                case "snapshot":
                    yield RecordNews(response.cursor, None)
                case "event" if event.WhichOneof("subject") == "record":
                    yield RecordNews(response.cursor, (RoundId(event.record.round_id), event.record.txid))


def _block(block: chain_pb2.Block) -> Block:
    return Block(block.height, block.hash, InstantNs(block.seen_at.ToNanoseconds()))
