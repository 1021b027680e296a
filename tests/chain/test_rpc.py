"""The contract over a real channel: who may see what, every reason, watch streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from satreel.chain.v1 import chain_pb2
from satreel.chain.v1 import chain_service_pb2 as pb
from satreel.chain.v1.chain_service_pb2_grpc import (
    ChainServiceStub,
    add_ChainServiceServicer_to_server,
)

from mesh.clock import SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.leases import LeadershipLost
from mesh.testing import LoopbackServer, serving
from services.chain.adapters.feeds import FeedNews
from services.chain.app.records import Records
from services.chain.app.service import Chain
from services.chain.app.sweeping import HotRule
from services.chain.domain import failures
from services.chain.domain.addresses import address_of
from services.chain.domain.keys import FLOAT, KeyUse
from services.chain.domain.values import FLOAT_USER, Network, Txid, UserId
from services.chain.rpc import mapping
from services.chain.rpc.servicer import ChainServicer
from tests.chain.chainsim import SimNode
from tests.chain.world import ANNA, BERT, RULES, FakeLedger, Leads, NoNews, open_rig, opened_store

ADDRESS = address_of(bytes(range(20)), Network.REGTEST)
PATIENCE_S = 60
MEME, SALE, ROUND = uuid7(), uuid7(), uuid7()


class Ticks(NoNews):
    """A node that is asked often."""

    async def blocks(self) -> AsyncIterator[None]:
        while True:
            await asyncio.sleep(0.01)
            yield


@dataclass
class House:
    """The service behind a real server."""

    server: LoopbackServer
    chain: Chain
    sim: SimNode
    ledger: FakeLedger
    lease: Leads

    def __post_init__(self) -> None:
        names = ("gateway", "content", "market", "rounds")
        self.gateway, self.content, self.market, self.rounds = (
            ChainServiceStub(self.server.channel(name)) for name in names
        )

    async def fund(self, user: UserId, sats: int) -> None:
        keys = self.chain.world.keys
        path = FLOAT if user == FLOAT_USER else await self.chain.desk.accounts.path(user, KeyUse.DEPOSIT)
        self.sim.fund(keys.key(path).script, sats)
        before = self.ledger.balances.copy()
        self.sim.mine()
        async with asyncio.timeout(PATIENCE_S):
            while self.ledger.balances == before:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened_house(folder: Path, redis_url: str) -> AsyncIterator[House]:
    sim = SimNode()
    clock = SystemClock()
    async with (
        opened_store(folder / "chain.sqlite") as store,
        open_feed(redis_url, f"blocks-{uuid7()}") as blocks,
        open_feed(redis_url, f"chain-{uuid7()}") as events,
    ):
        rig = await open_rig(store, sim)
        news = FeedNews(blocks=blocks, chain=events, show=mapping, clock=clock)
        world = replace(rig.world, records=Records(store), chain_news=Ticks(), news=news)
        leading = asyncio.Event()

        async def set_leading(yes: bool) -> None:
            (leading.set if yes else leading.clear)()

        chain = Chain(world, RULES, set_leading)
        servicer = ChainServicer(chain, blocks=blocks, events=events)
        async with serving("chain", add_ChainServiceServicer_to_server, servicer) as server:
            lease = Leads()
            term = asyncio.create_task(chain.term(lease))
            await asyncio.wait({term, asyncio.create_task(leading.wait())}, return_when="FIRST_COMPLETED")
            try:
                yield House(server, chain, sim, rig.ledger, lease)
            finally:
                term.cancel()
                await asyncio.gather(term, return_exceptions=True)


@pytest_asyncio.fixture
async def house(tmp_path: Path, valkey_url: str) -> AsyncIterator[House]:
    async with opened_house(tmp_path, valkey_url) as opened:
        yield opened


def inscribe(poster: bytes = b"\x89PNG") -> pb.InscribeTitleRequest:
    return pb.InscribeTitleRequest(
        meme_id=MEME,
        creator_id=ANNA,
        name="A cat",
        poster_mime="image/png",
        poster=poster,
        film_sha256="ab" * 32,
    )


def withdrawal(sats: int = 1_000, address: str = ADDRESS, id_: str = "") -> pb.RequestWithdrawalRequest:
    return pb.RequestWithdrawalRequest(withdrawal_id=id_ or uuid7(), address=address, amount_sats=sats)


async def refused(call: object, reason: str, code: Code) -> RemoteFailure:
    with pytest.raises(RemoteFailure) as failure:
        await call  # type: ignore[misc]
    assert (failure.value.reason, failure.value.code) == (reason, code)
    assert failure.value.domain == "satreel.chain"
    return failure.value


async def test_every_refusal_has_its_reason_and_changes_nothing(house: House) -> None:
    await house.fund(ANNA, 5_000)
    money = dict(house.ledger.balances), dict(house.ledger.holds)
    sent = list(house.sim.sent)
    main = address_of(bytes(20), Network.MAIN)
    with house.server.user(ANNA):
        ask = house.gateway.RequestWithdrawal
        failure = await refused(ask(withdrawal(address=main)), "ADDRESS_INVALID", Code.INVALID_ARGUMENT)
        assert failure.metadata == {"address": main}
        failure = await refused(ask(withdrawal(199)), "AMOUNT_TOO_SMALL", Code.INVALID_ARGUMENT)
        assert failure.metadata == {"minimum": "200"}
        failure = await refused(ask(withdrawal(4_950)), "INSUFFICIENT_FUNDS", Code.FAILED_PRECONDITION)
        assert failure.metadata == {"available": "5000", "needed": "5050"}
        read = house.gateway.GetWithdrawal(pb.GetWithdrawalRequest(withdrawal_id=uuid7()))
        await refused(read, "WITHDRAWAL_NOT_FOUND", Code.NOT_FOUND)
        page = pb.ListDepositsRequest(page_token="made up")
        await refused(house.gateway.ListDeposits(page), "PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT)
        for made_up in ("bm9uc2Vuc2U=", "djE6AA=="):
            other = pb.ListWithdrawalsRequest(page_token=made_up)
            await refused(house.gateway.ListWithdrawals(other), "PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT)
    for block in (pb.GetBlockRequest(hash="ab" * 32), pb.GetBlockRequest(height=10_000)):
        await refused(house.gateway.GetBlock(block), "BLOCK_NOT_FOUND", Code.NOT_FOUND)
    tx = pb.GetTransactionRequest(txid="ab" * 32)
    await refused(house.gateway.GetTransaction(tx), "TRANSACTION_NOT_FOUND", Code.NOT_FOUND)
    title = pb.GetInscriptionRequest(meme_id=MEME)
    await refused(house.gateway.GetInscription(title), "INSCRIPTION_NOT_FOUND", Code.NOT_FOUND)
    move = pb.TransferTitleRequest(sale_id=SALE, meme_id=MEME, new_owner_id=BERT)
    await refused(house.market.TransferTitle(move), "INSCRIPTION_NOT_FOUND", Code.NOT_FOUND)
    record = pb.GetResultRecordRequest(round_id=ROUND)
    await refused(house.gateway.GetResultRecord(record), "RECORD_NOT_FOUND", Code.NOT_FOUND)
    desk = house.chain.desk
    assert (house.ledger.balances, house.ledger.holds) == money
    assert (house.sim.sent, desk.titles.queued, desk.results.queued, desk.withdrawals.queued) == (
        sent,
        0,
        0,
        0,
    )


async def test_ids_that_were_used_with_another_body_are_refused(house: House) -> None:
    await house.fund(ANNA, 5_000)
    await house.content.InscribeTitle(inscribe())
    again = await house.content.InscribeTitle(inscribe())
    assert again.inscription.owner_id == ANNA
    await refused(house.content.InscribeTitle(inscribe(b"other")), "ID_REUSED", Code.ALREADY_EXISTS)
    await house.rounds.RecordResult(pb.RecordResultRequest(round_id=ROUND, payload_json="{}"))
    other = pb.RecordResultRequest(round_id=ROUND, payload_json="[]")
    await refused(house.rounds.RecordResult(other), "ID_REUSED", Code.ALREADY_EXISTS)
    kept = await house.rounds.GetResultRecord(pb.GetResultRecordRequest(round_id=ROUND))
    assert kept.record.payload_json == "{}"
    with house.server.user(ANNA):
        first = withdrawal()
        await house.gateway.RequestWithdrawal(first)
        changed = withdrawal(1_001, id_=first.withdrawal_id)
        await refused(house.gateway.RequestWithdrawal(changed), "ID_REUSED", Code.ALREADY_EXISTS)
    assert house.ledger.held(f"user:{ANNA}") == 1_100


async def test_objects_are_seen_by_their_owner_and_administrators_only(house: House) -> None:
    await house.fund(ANNA, 5_000)
    wanted = withdrawal()
    read = pb.GetWithdrawalRequest(withdrawal_id=wanted.withdrawal_id)
    with house.server.user(ANNA):
        await house.gateway.RequestWithdrawal(wanted)
        own = await house.gateway.GetWithdrawal(read)
        assert own.withdrawal.amount_sats == 1_000
        assert len((await house.gateway.ListDeposits(pb.ListDepositsRequest())).deposits) == 1
    with house.server.user(BERT):
        await refused(house.gateway.GetWithdrawal(read), "NOT_YOURS", Code.PERMISSION_DENIED)
        assert len((await house.gateway.ListWithdrawals(pb.ListWithdrawalsRequest())).withdrawals) == 0
        assert len((await house.gateway.ListDeposits(pb.ListDepositsRequest())).deposits) == 0
        with pytest.raises(RemoteFailure):
            await house.gateway.GetFloatAddress(pb.GetFloatAddressRequest())
    with house.server.user(BERT, roles={"admin"}):
        # It may have been sent meanwhile.
        assert (await house.gateway.GetWithdrawal(read)).withdrawal.id == own.withdrawal.id
        operator = await house.gateway.GetFloatAddress(pb.GetFloatAddressRequest())
        assert len({operator.address, operator.refill_address, ""}) == 3
    with pytest.raises(RemoteFailure) as nobody:
        await house.gateway.GetDepositAddress(pb.GetDepositAddressRequest())
    assert nobody.value.code is Code.UNAUTHENTICATED


async def test_who_was_paused_and_lost_the_lease_answers_nothing(house: House) -> None:
    await house.fund(ANNA, 5_000)
    house.lease.lost = LeadershipLost()
    with pytest.raises(failures.NotLeader):
        _ = house.chain.desk


async def test_pages_go_on_where_they_ended(house: House) -> None:
    await house.fund(ANNA, 50_000)
    with house.server.user(ANNA):
        asked = [withdrawal(1_000 + n, id_=uuid7((1 + n) * 1_000_000)) for n in range(5)]
        for one in asked:
            await house.gateway.RequestWithdrawal(one)
        seen, token = [], ""
        while True:
            page = pb.ListWithdrawalsRequest(page_size=2, page_token=token)
            found = await house.gateway.ListWithdrawals(page)
            seen += [one.amount_sats for one in found.withdrawals]
            token = found.next_page_token
            if not token:
                break
            other = pb.ListDepositsRequest(page_token=token)
            await refused(house.gateway.ListDeposits(other), "PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT)
    assert seen == [1_004, 1_003, 1_002, 1_001, 1_000]


async def test_blocks_are_watched_from_a_snapshot_on_and_resumed(house: House) -> None:
    stream = house.rounds.WatchBlocks(pb.WatchBlocksRequest())
    responses = aiter(stream)
    first = await anext(responses)
    assert first.snapshot.hash == house.sim.tip
    tip = house.sim.mine()
    second = await anext(responses)
    assert [block.hash for block in second.event.connected] == [tip]
    assert list(second.event.orphaned) == []
    assert second.event.connected[0].seen_at.ToNanoseconds() > 0
    stream.cancel()
    house.sim.rewind(1)
    new = house.sim.mine(2)
    async for response in house.rounds.WatchBlocks(pb.WatchBlocksRequest(cursor=second.cursor)):
        if response.WhichOneof("news") == "event":
            assert [block.hash for block in response.event.orphaned] == [tip]
            assert response.event.connected[-1].hash == new
            assert response.event.id > second.event.id
            break
    by_height = await house.rounds.GetBlock(pb.GetBlockRequest(height=second.event.connected[0].height))
    assert by_height.block.hash != tip
    await refused(house.rounds.GetBlock(pb.GetBlockRequest(hash=tip)), "BLOCK_NOT_FOUND", Code.NOT_FOUND)
    assert (await house.gateway.GetTip(pb.GetTipRequest())).block.hash == new
    genesis = await house.gateway.GetBlock(pb.GetBlockRequest(height=0))
    assert genesis.block.height == 0


async def test_news_tell_the_life_of_everything(house: House) -> None:
    events: list[pb.ChainEvent] = []
    watching = asyncio.Event()

    async def watch() -> None:
        async for response in house.rounds.WatchChain(pb.WatchChainRequest()):
            watching.set()
            if response.WhichOneof("news") == "event":
                events.append(response.event)

    async def until(subject: str, state: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(
                event.WhichOneof("subject") == subject and getattr(event, subject).state == state
                for event in events
            ):
                await asyncio.sleep(0.01)

    task = asyncio.create_task(watch())
    await watching.wait()
    await house.fund(FLOAT_USER, 50_000)
    await house.fund(ANNA, 50_000)
    await until("deposit", chain_pb2.DEPOSIT_STATE_CREDITED)
    await house.content.InscribeTitle(inscribe())
    await house.market.TransferTitle(pb.TransferTitleRequest(sale_id=SALE, meme_id=MEME, new_owner_id=BERT))
    await house.rounds.RecordResult(pb.RecordResultRequest(round_id=ROUND, payload_json="{}"))
    with house.server.user(ANNA):
        await house.gateway.RequestWithdrawal(withdrawal())
    await until("withdrawal", chain_pb2.WITHDRAWAL_STATE_SENT)
    async with asyncio.timeout(PATIENCE_S):
        while len(house.sim.pool) < 4:
            await asyncio.sleep(0.01)
    house.sim.mine()
    await until("inscription", chain_pb2.TRANSACTION_STATE_MINED)
    await until("record", chain_pb2.TRANSACTION_STATE_MINED)
    await until("withdrawal", chain_pb2.WITHDRAWAL_STATE_CONFIRMED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made = [event.id for event in events]
    assert made == sorted(set(made))
    shown = await house.market.BatchGetInscriptions(pb.BatchGetInscriptionsRequest(meme_ids=[uuid7(), MEME]))
    assert [(one.meme_id, one.owner_id) for one in shown.inscriptions] == [(MEME, BERT)]
    asked = pb.BatchGetTransactionsRequest(txids=["ab" * 32, *house.sim.sent])
    found = await house.gateway.BatchGetTransactions(asked)
    assert [tx.txid for tx in found.transactions] == house.sim.sent
    assert {tx.state for tx in found.transactions} == {chain_pb2.TRANSACTION_STATE_MINED}
    assert all(tx.fee_sats * 10 >= tx.size_bytes for tx in found.transactions)
    records = pb.BatchGetResultRecordsRequest(round_ids=[ROUND])
    assert (await house.rounds.BatchGetResultRecords(records)).records[0].txid in house.sim.sent
    custody = await house.gateway.GetCustody(pb.GetCustodyRequest())
    assert (custody.difference_sats, custody.owed_sats) == (0, custody.coins_sats)


async def test_the_audit_of_titles_is_told_to_those_who_may_ask(house: House) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await house.gateway.GetTitleAudit(pb.GetTitleAuditRequest())).HasField(
            "looked_at"
        ):
            await asyncio.sleep(0.01)
    assert (found.titles, found.different, list(found.differences)) == (0, 0, [])


async def test_everybody_sees_where_the_hot_wallet_stands(house: House) -> None:
    await house.fund(ANNA, 5_000)
    sweeping = house.chain.desk.sweeping
    seen = []
    with house.server.user(BERT):
        for floor, ceiling in ((0, 0), (5_001, 0), (1_000, 4_999)):
            sweeping.rule = HotRule(Network.REGTEST, floor, ceiling)
            seen.append((await house.gateway.GetCustody(pb.GetCustodyRequest())).hot_level)
    assert seen == [pb.HOT_LEVEL_WITHIN, pb.HOT_LEVEL_BELOW_FLOOR, pb.HOT_LEVEL_ABOVE_CEILING]


async def test_everybody_sees_a_freeze_and_only_an_administrator_lifts_it(house: House) -> None:
    await house.fund(ANNA, 5_000)
    [coin] = house.chain.desk.books.coins
    thief = Txid("ab" * 32)
    await house.chain.desk.wallet.lost(coin, thief, house.chain.desk.books.chain.tip)
    custody, lift = house.gateway.GetCustody, pb.LiftFreezeRequest(txid=thief)
    [freeze] = (await custody(pb.GetCustodyRequest())).freezes
    assert (freeze.txid, freeze.outpoint) == (thief, str(coin))
    with house.server.user(ANNA), pytest.raises(RemoteFailure) as nobody:
        await house.gateway.LiftFreeze(lift)
    assert nobody.value.code is Code.PERMISSION_DENIED
    with house.server.user(BERT, roles={"admin"}):
        unknown = house.gateway.LiftFreeze(pb.LiftFreezeRequest(txid="cd" * 32))
        await refused(unknown, "FREEZE_NOT_FOUND", Code.NOT_FOUND)
        assert house.chain.desk.wallet.frozen
        assert not (await house.gateway.LiftFreeze(lift)).freezes
    assert not (await custody(pb.GetCustodyRequest())).freezes
    [kept] = await house.chain.world.records.freezes.where("lifted", 1)
    assert kept.value.lifted_by == BERT


async def test_custody_in_doubt_is_said_and_told_again_later(house: House) -> None:
    house.ledger.lose_answers = 1_000_000
    keys = house.chain.world.keys
    path = await house.chain.desk.accounts.path(ANNA, KeyUse.DEPOSIT)
    house.sim.fund(keys.key(path).script, 5_000)
    house.sim.mine()
    async with asyncio.timeout(PATIENCE_S):
        while not house.ledger.credits:
            await asyncio.sleep(0.01)
    ask = house.gateway.GetCustody
    await refused(ask(pb.GetCustodyRequest()), "LEDGER_IN_DOUBT", Code.UNAVAILABLE)
    house.ledger.lose_answers = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                found = await ask(pb.GetCustodyRequest())
                break
            except RemoteFailure:
                await asyncio.sleep(0.05)
    assert (found.difference_sats, house.ledger.balances[f"user:{ANNA}"]) == (0, 5_000)


def test_every_reason_of_the_contract_is_a_failure_and_the_other_way_round() -> None:
    known = {
        kind.reason for kind in vars(failures).values() if isinstance(kind, type) and hasattr(kind, "reason")
    }
    bases = {"NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED", "INTERNAL"}
    names = {name.removeprefix("ERROR_REASON_") for name, _ in chain_pb2.ErrorReason.items()}
    assert (known - bases) | {"ID_REUSED", "PAGE_TOKEN_INVALID", "UNSPECIFIED"} == names


async def test_an_instance_that_does_not_lead_says_so(house: House) -> None:
    house.chain._desk = None
    await refused(house.gateway.GetTip(pb.GetTipRequest()), "NOT_LEADER", Code.UNAVAILABLE)


async def test_a_node_that_is_away_is_said(house: House) -> None:
    house.sim.mine(400)
    async with asyncio.timeout(PATIENCE_S):
        while house.chain.desk.books.chain.tip.hash != house.sim.tip or house.chain.desk.books.chain.at(5):
            await asyncio.sleep(0.01)
    house.sim.down = True
    read = house.gateway.GetBlock(pb.GetBlockRequest(height=5))
    await refused(read, "NODE_UNAVAILABLE", Code.UNAVAILABLE)
    house.sim.down = False
    assert (await house.gateway.GetBlock(pb.GetBlockRequest(height=5))).block.height == 5
