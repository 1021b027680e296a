"""Rounds' clients against servers that speak the contracts of ledger, content and chain."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2, chain_service_pb2_grpc
from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.mesh.v1 import access_pb2

from mesh.errors import Code, FailedPrecondition, NotFound, RemoteFailure
from mesh.ids import uuid7
from mesh.testing import serving
from services.rounds.adapters.chain import ChainClient
from services.rounds.adapters.content import ContentClient
from services.rounds.adapters.ledger import LedgerClient
from services.rounds.app.ports import BlockNews, ContentNews, LedgerNews, RecordNews, RoundRefused
from services.rounds.domain import events
from services.rounds.domain.earnings import Earning
from services.rounds.domain.machine import first_round, step
from services.rounds.domain.values import (
    NS_PER_S,
    RULES,
    Block,
    Entry,
    InstantNs,
    MemeId,
    Payout,
    Round,
    RoundId,
    Sats,
    Timing,
    UserId,
)

NOW = InstantNs(1_700_000_000 * NS_PER_S)
MEME, USER, ROUND = MemeId(uuid7()), UserId(uuid7()), RoundId(uuid7())
HASH = "ab" * 32


class TitleMissing(NotFound):
    reason = "TITLE_NOT_FOUND"


class RoundOverlap(FailedPrecondition):
    reason = "ROUND_OVERLAP"


class NotLocked(FailedPrecondition):
    reason = "ROUND_NOT_ACTIVE"


class BlockUnknown(NotFound):
    reason = "BLOCK_NOT_FOUND"


def ledger_round(state: ledger_pb2.RoundState.ValueType) -> ledger_pb2.LedgerRound:
    tally = ledger_pb2.MemeTally(
        meme_id=MEME, paid_seconds=9, takings_sats=9, owner_sats=3, pool_sats=6, scored_seconds=8, viewers=2
    )
    payout = ledger_pb2.PoolPayout(rank=1, meme_id=MEME, user_id=USER, amount_sats=6)
    return ledger_pb2.LedgerRound(
        round_id=ROUND,
        state=state,
        tallies=[tally],
        carried_in_sats=5,
        pool_sats=11,
        payouts=[payout],
        carried_out_sats=5,
    )


class Ledger(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Answers by the script."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.state = ledger_pb2.ROUND_STATE_OPEN
        self.record_state = "DISTRIBUTED"
        self.requests: list[Any] = []

    def _answer(self, request: Any) -> ledger_pb2.LedgerRound:
        self.requests.append(request)
        if self.refusal:
            raise self.refusal
        return ledger_round(self.state)

    async def OpenRound(self, request: Any, context: Any) -> ledger_service_pb2.OpenRoundResponse:
        return ledger_service_pb2.OpenRoundResponse(round=self._answer(request))

    async def LockRound(self, request: Any, context: Any) -> ledger_service_pb2.LockRoundResponse:
        return ledger_service_pb2.LockRoundResponse(round=self._answer(request))

    async def DistributePool(self, request: Any, context: Any) -> ledger_service_pb2.DistributePoolResponse:
        return ledger_service_pb2.DistributePoolResponse(round=self._answer(request))

    async def GetRoundRecord(self, request: Any, context: Any) -> ledger_service_pb2.GetRoundRecordResponse:
        self.requests.append(request)
        text = json.dumps({"round": {"id": request.round_id, "state": self.record_state}})
        return ledger_service_pb2.GetRoundRecordResponse(
            record=ledger_pb2.RoundRecord(json=text, sha256="ab" * 32)
        )

    async def VoidRound(self, request: Any, context: Any) -> ledger_service_pb2.VoidRoundResponse:
        return ledger_service_pb2.VoidRoundResponse(round=self._answer(request))

    async def GetRound(self, request: Any, context: Any) -> ledger_service_pb2.GetRoundResponse:
        return ledger_service_pb2.GetRoundResponse(round=ledger_round(self.state))

    async def WatchLedger(
        self, request: Any, context: Any
    ) -> AsyncIterator[ledger_service_pb2.WatchLedgerResponse]:
        response = ledger_service_pb2.WatchLedgerResponse
        snapshot = ledger_service_pb2.LedgerSnapshot(round=ledger_round(self.state))
        yield response(cursor="1", snapshot=snapshot)
        yield response(cursor="2", heartbeat=access_pb2.Heartbeat())
        yield response(cursor="3", event=ledger_service_pb2.LedgerEvent(id="7"))
        event = ledger_service_pb2.LedgerEvent(
            id="8",
            round_id=ROUND,
            tallies=[ledger_pb2.MemeTally(meme_id=MEME, first_view_at=Timestamp(seconds=3))],
        )
        yield response(cursor="4", event=event)


@pytest.fixture
async def ledger() -> AsyncIterator[tuple[Ledger, LedgerClient]]:
    servicer = Ledger()  # type: ignore[abstract]  # it has what is called here
    adder = ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server
    async with serving("ledger", adder, servicer) as server:
        yield servicer, LedgerClient(ledger_service_pb2_grpc.LedgerServiceStub(server.channel("rounds")))


def active_round() -> Round:
    round_ = first_round(round_id=ROUND, rules=RULES, timing=Timing(), now_ns=NOW)
    round_ = step(round_, events.EntriesAssigned((Entry(MEME, USER, 900_000, NOW),)), NOW)
    return step(round_, events.ChainMoved((), (Block(1, HASH, NOW),)), NOW)


async def test_ledger_commands(ledger: tuple[Ledger, LedgerClient]) -> None:
    servicer, client = ledger
    assert await client.open_round(active_round()) == 5
    sent = servicer.requests[0]
    assert sent.parameters.payout_min_sats == 100
    assert sent.locks_at.seconds - sent.starts_at.seconds == 600
    assert [(entry.meme_id, entry.quality_ppm) for entry in sent.entries] == [(MEME, 900_000)]
    (row,) = await client.lock_round(ROUND)
    assert (row.takings_sats, row.scored_seconds, row.viewers, row.first_view_ns) == (9, 8, 2, None)
    paid = await client.distribute(ROUND, (MEME,))
    assert paid.payouts == (Payout(1, MEME, USER, Sats(6)),)
    assert (paid.carried_in_sats, paid.pool_sats, paid.carried_out_sats) == (5, 11, 5)
    assert paid.record_sha256 == "ab" * 32
    assert await client.void_round(ROUND, "wrong pictures")
    assert await client.tally(ROUND) == (row,)


async def test_a_record_that_may_still_change_is_not_put_on_chain(
    ledger: tuple[Ledger, LedgerClient],
) -> None:
    servicer, client = ledger
    servicer.record_state = "LOCKED"
    with pytest.raises(RemoteFailure, match="says LOCKED") as problem:
        await client.distribute(ROUND, (MEME,))
    assert problem.value.code is Code.UNAVAILABLE


async def test_ledger_refusals_that_last_and_those_that_do_not(ledger: tuple[Ledger, LedgerClient]) -> None:
    servicer, client = ledger
    servicer.refusal = TitleMissing()
    with pytest.raises(RoundRefused, match="TITLE_NOT_FOUND"):
        await client.open_round(active_round())
    servicer.refusal = RoundOverlap()
    with pytest.raises(RemoteFailure):
        await client.open_round(active_round())


async def test_void_of_a_paid_round_is_told_from_other_refusals(ledger: tuple[Ledger, LedgerClient]) -> None:
    servicer, client = ledger
    servicer.refusal = NotLocked()
    with pytest.raises(RemoteFailure):
        await client.void_round(ROUND, "wrong pictures")
    servicer.state = ledger_pb2.ROUND_STATE_DISTRIBUTED
    assert not await client.void_round(ROUND, "wrong pictures")


async def test_ledger_news_are_tallies(ledger: tuple[Ledger, LedgerClient]) -> None:
    _, client = ledger
    heard: list[LedgerNews] = [news async for news in client.watch("")]
    assert [(news.cursor, news.whole, news.round_id) for news in heard] == [
        ("1", True, ROUND),
        ("4", False, ROUND),
    ]
    assert heard[1].tally[0].first_view_ns == 3 * NS_PER_S


class Content(content_service_pb2_grpc.ContentServiceServicer):
    """Two published memes and one that was taken down."""

    def meme(self, state: content_pb2.MemeState.ValueType) -> content_pb2.Meme:
        return content_pb2.Meme(
            id=MEME, creator_id=USER, state=state, quality_ppm=900_000, published_at=Timestamp(seconds=5)
        )

    async def ListMemes(self, request: Any, context: Any) -> content_service_pb2.ListMemesResponse:
        assert request.state == content_pb2.MEME_STATE_PUBLISHED
        memes = [self.meme(content_pb2.MEME_STATE_PUBLISHED)]
        return content_service_pb2.ListMemesResponse(memes=memes, next_page_token="more")

    async def BatchGetMemes(self, request: Any, context: Any) -> content_service_pb2.BatchGetMemesResponse:
        memes = [self.meme(content_pb2.MEME_STATE_TAKEN_DOWN)]
        return content_service_pb2.BatchGetMemesResponse(memes=memes)

    async def WatchContent(
        self, request: Any, context: Any
    ) -> AsyncIterator[content_service_pb2.WatchContentResponse]:
        response = content_service_pb2.WatchContentResponse
        yield response(cursor="1", snapshot=content_service_pb2.ContentSnapshot())
        meme = self.meme(content_pb2.MEME_STATE_RENDERING)
        yield response(cursor="2", event=content_service_pb2.ContentEvent(id="1", meme=meme))


async def test_content_client() -> None:
    adder = content_service_pb2_grpc.add_ContentServiceServicer_to_server
    servicer = Content()  # type: ignore[abstract]  # it has what is called here
    async with serving("content", adder, servicer) as server:
        client = ContentClient(content_service_pb2_grpc.ContentServiceStub(server.channel("rounds")))
        candidates, token = await client.published("")
        assert token == "more"
        assert [(found.meme_id, found.published_at_ns) for found in candidates] == [(MEME, 5 * NS_PER_S)]
        (gone,) = await client.read([MEME])
        assert gone.gone
        assert gone.candidate is None
        heard: list[ContentNews] = [news async for news in client.watch("")]
        assert heard[0].meme is None
        assert heard[1].meme is not None
        assert not heard[1].meme.gone
        assert heard[1].meme.candidate is None


class Chain(chain_service_pb2_grpc.ChainServiceServicer):
    """One block, one record."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def GetBlock(self, request: Any, context: Any) -> chain_service_pb2.GetBlockResponse:
        if request.height != 7:
            raise BlockUnknown
        return chain_service_pb2.GetBlockResponse(block=chain_pb2.Block(height=7, hash=HASH))

    async def RecordResult(self, request: Any, context: Any) -> chain_service_pb2.RecordResultResponse:
        self.requests.append(request)
        return chain_service_pb2.RecordResultResponse(
            record=chain_pb2.ResultRecord(round_id=request.round_id)
        )

    async def QueuePayouts(self, request: Any, context: Any) -> chain_service_pb2.QueuePayoutsResponse:
        self.requests.append(request)
        return chain_service_pb2.QueuePayoutsResponse(skipped_user_ids=[USER])

    async def BatchGetResultRecords(
        self, request: Any, context: Any
    ) -> chain_service_pb2.BatchGetResultRecordsResponse:
        records = [
            chain_pb2.ResultRecord(round_id=ROUND, txid=HASH),
            chain_pb2.ResultRecord(round_id=uuid7()),
        ]
        return chain_service_pb2.BatchGetResultRecordsResponse(records=records)

    async def WatchBlocks(
        self, request: Any, context: Any
    ) -> AsyncIterator[chain_service_pb2.WatchBlocksResponse]:
        block = chain_pb2.Block(height=7, hash=HASH, seen_at=Timestamp(seconds=4))
        yield chain_service_pb2.WatchBlocksResponse(cursor="1", snapshot=block)
        event = chain_service_pb2.BlockEvent(id="1", orphaned=[block], connected=[block, block])
        yield chain_service_pb2.WatchBlocksResponse(cursor="2", event=event)

    async def WatchChain(
        self, request: Any, context: Any
    ) -> AsyncIterator[chain_service_pb2.WatchChainResponse]:
        response = chain_service_pb2.WatchChainResponse
        yield response(cursor="1", snapshot=chain_service_pb2.ChainSnapshot())
        yield response(cursor="2", event=chain_service_pb2.ChainEvent(deposit=chain_pb2.ChainDeposit()))
        record = chain_pb2.ResultRecord(round_id=ROUND, txid=HASH)
        yield response(cursor="3", event=chain_service_pb2.ChainEvent(record=record))


async def test_chain_client() -> None:
    servicer = Chain()  # type: ignore[abstract]  # it has what is called here
    adder = chain_service_pb2_grpc.add_ChainServiceServicer_to_server
    async with serving("chain", adder, servicer) as server:
        client = ChainClient(chain_service_pb2_grpc.ChainServiceStub(server.channel("rounds")))
        assert await client.block_at(7) == Block(7, HASH, InstantNs(0))
        assert await client.block_at(8) is None
        assert await client.record_result(ROUND, '{"a":1}') == ""
        await client.queue_payouts([Earning(uuid7(), USER, Sats(120))])
        assert servicer.requests[1].payouts[0].amount_sats == 120
        assert await client.txids([ROUND]) == {ROUND: HASH}
        block = Block(7, HASH, InstantNs(4 * NS_PER_S))
        blocks: list[BlockNews] = [news async for news in client.watch_blocks("")]
        assert blocks == [
            BlockNews("1", (), (block,), snapshot=True),
            BlockNews("2", (block,), (block, block)),
        ]
        records: list[RecordNews] = [news async for news in client.watch_records("")]
        assert records == [RecordNews("1", None), RecordNews("3", (ROUND, HASH))]
