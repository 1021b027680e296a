"""Rounds, the ledger and insight as real processes; rounds is killed in mid-round and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2, chain_service_pb2_grpc
from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc
from satreel.insight.v1 import insight_service_pb2, insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.mesh.v1 import access_pb2
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2, rounds_service_pb2_grpc

from mesh import caller, tls
from mesh.caller import Caller
from mesh.channel import connect
from mesh.clock import SystemClock
from mesh.ids import uuid7
from mesh.testing import serving
from mesh.tokens import UserTokenSigner
from sandbox.process import free_port

MEME, CREATOR, VIEWER = uuid7(), uuid7(), uuid7()
# Long enough for what is watched to be watched in time, on a slow machine too.
LENGTH_S, SECONDS_WATCHED = 12, 3
# Promised; a slow machine has ten times as much.
BLOCK_TO_WATCHER_S = 0.5
FUNDS = 1_000
PATIENCE_S = 240


class Chain(chain_service_pb2_grpc.ChainServiceServicer):
    """Blocks when the test says so; keeps records and payouts."""

    def __init__(self) -> None:
        self.block_found = asyncio.Event()
        self.records: dict[str, str] = {}
        self.payouts: dict[str, int] = {}

    async def WatchBlocks(
        self, request: Any, context: Any
    ) -> AsyncIterator[chain_service_pb2.WatchBlocksResponse]:
        response = chain_service_pb2.WatchBlocksResponse
        if not request.cursor:
            yield response(cursor="1", snapshot=chain_pb2.Block(height=100, hash="aa" * 32))
        if request.cursor != "2":
            await self.block_found.wait()
            now = Timestamp()
            now.GetCurrentTime()
            block = chain_pb2.Block(height=101, hash="bb" * 32, seen_at=now)
            event = chain_service_pb2.BlockEvent(id="2", at=now, connected=[block])
            yield response(cursor="2", event=event)
        while True:
            await asyncio.sleep(1)
            yield response(cursor="2", heartbeat=access_pb2.Heartbeat())

    async def WatchChain(
        self, request: Any, context: Any
    ) -> AsyncIterator[chain_service_pb2.WatchChainResponse]:
        yield chain_service_pb2.WatchChainResponse(cursor="1", snapshot=chain_service_pb2.ChainSnapshot())
        while True:  # told again whenever its transaction changes: the first news may come before the answer
            await asyncio.sleep(0.1)
            for round_id in self.records:
                event = chain_service_pb2.ChainEvent(
                    record=chain_pb2.ResultRecord(round_id=round_id, txid="cc" * 32)
                )
                yield chain_service_pb2.WatchChainResponse(cursor="2", event=event)

    async def GetBlock(self, request: Any, context: Any) -> chain_service_pb2.GetBlockResponse:
        return chain_service_pb2.GetBlockResponse(
            block=chain_pb2.Block(height=request.height, hash="bb" * 32)
        )

    async def RecordResult(self, request: Any, context: Any) -> chain_service_pb2.RecordResultResponse:
        self.records[request.round_id] = request.payload_json
        return chain_service_pb2.RecordResultResponse(
            record=chain_pb2.ResultRecord(round_id=request.round_id)
        )

    async def QueuePayouts(self, request: Any, context: Any) -> chain_service_pb2.QueuePayoutsResponse:
        self.payouts |= {payout.user_id: payout.amount_sats for payout in request.payouts}
        return chain_service_pb2.QueuePayoutsResponse()

    async def BatchGetResultRecords(
        self, request: Any, context: Any
    ) -> chain_service_pb2.BatchGetResultRecordsResponse:
        return chain_service_pb2.BatchGetResultRecordsResponse()


class Content(content_service_pb2_grpc.ContentServiceServicer):
    """One published meme."""

    @property
    def meme(self) -> content_pb2.Meme:
        state = content_pb2.MEME_STATE_PUBLISHED
        return content_pb2.Meme(
            id=MEME, creator_id=CREATOR, state=state, quality_ppm=900_000, published_at=Timestamp(seconds=5)
        )

    async def ListMemes(self, request: Any, context: Any) -> content_service_pb2.ListMemesResponse:
        return content_service_pb2.ListMemesResponse(memes=[self.meme])

    async def BatchGetMemes(self, request: Any, context: Any) -> content_service_pb2.BatchGetMemesResponse:
        return content_service_pb2.BatchGetMemesResponse(memes=[self.meme])

    async def WatchContent(
        self, request: Any, context: Any
    ) -> AsyncIterator[content_service_pb2.WatchContentResponse]:
        response = content_service_pb2.WatchContentResponse
        yield response(cursor="1", snapshot=content_service_pb2.ContentSnapshot())
        await asyncio.Event().wait()


class House:
    """Starts processes of services and connects to them."""

    def __init__(self, environment: dict[str, str], addresses: dict[str, str], stack: AsyncExitStack) -> None:
        self._environment = environment
        self._addresses = addresses
        self._stack = stack
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, service: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{service}", env={**os.environ, **self._environment}
        )
        self._processes[service] = process

    async def kill(self, service: str) -> None:
        process = self._processes.pop(service)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def kill_all(self) -> None:
        for service in tuple(self._processes):
            await self.kill(service)

    def channel(self, me: str, peer: str) -> Any:
        opened = connect(me=me, peer=peer, addresses=self._addresses[peer], tls_dir=None)
        self._stack.push_async_callback(opened.close)
        return opened


@asynccontextmanager
async def house(valkey_url: str, folder: Path, key: Path, chain: Chain) -> AsyncIterator[House]:
    content = Content()  # type: ignore[abstract]  # it has what is called here
    add_chain = chain_service_pb2_grpc.add_ChainServiceServicer_to_server
    add_content = content_service_pb2_grpc.add_ContentServiceServicer_to_server
    async with (
        AsyncExitStack() as stack,
        serving("chain", add_chain, chain) as chain_server,
        serving("content", add_content, content) as content_server,
    ):
        addresses = {
            name: f"127.0.0.1:{free_port()}" for name in ("ledger", "rounds", "insight", "identity", "market")
        }
        addresses |= {"chain": chain_server.address, "content": content_server.address}
        environment = {
            "SATREEL_PEERS": json.dumps(addresses),
            "SATREEL_REDIS_URL": valkey_url,
            "SATREEL_DATA_DIR": str(folder),
            "SATREEL_USER_TOKEN_KEY": str(key),
            "SATREEL_LOG_LEVEL": "warning",
            "SATREEL_ROUNDS_LENGTH_S": str(LENGTH_S),
            "SATREEL_ROUNDS_GRACE_S": "1",
            **{f"SATREEL_{name.upper()}_LISTEN": address for name, address in addresses.items()},
        }
        opened = House(environment, addresses, stack)
        try:
            yield opened
        finally:
            await opened.kill_all()


async def test_round_over_processes_with_a_kill_in_it(valkey_url: str, tmp_path: Path) -> None:
    private_key, public_key = tls.make_user_token_keys(tmp_path)
    signer = UserTokenSigner(private_key.read_bytes(), SystemClock())
    chain = Chain()  # type: ignore[abstract]  # it has what is called here
    async with asyncio.timeout(PATIENCE_S), house(valkey_url, tmp_path, public_key, chain) as mesh:
        for service in ("ledger", "rounds", "insight"):
            await mesh.start(service)
        await fund(mesh)
        rounds = rounds_service_pb2_grpc.RoundsServiceStub(mesh.channel("gateway", "rounds"))
        await until_entered(rounds)
        watching = aiter(rounds.WatchRounds(rounds_service_pb2.WatchRoundsRequest()))
        await anext(watching)
        began = asyncio.get_running_loop().time()
        chain.block_found.set()
        round_id = await until_active(watching)
        assert asyncio.get_running_loop().time() - began < 10 * BLOCK_TO_WATCHER_S
        await view(mesh, signer)
        await mesh.kill("rounds")
        await mesh.start("rounds")
        result = await until_completed(rounds, round_id)
        check_result(result, chain)
        await check_money(mesh)
        await check_insight(mesh)


async def fund(mesh: House) -> None:
    """A title for the meme, coins for the viewer."""
    content = ledger_service_pb2_grpc.LedgerServiceStub(mesh.channel("content", "ledger"))
    await content.IssueTitle(
        ledger_service_pb2.IssueTitleRequest(meme_id=MEME, creator_id=CREATOR), timeout=PATIENCE_S
    )
    paid = 0
    while not await deposits_counted(mesh):  # insight does not hear yet what the ledger tells
        await deposit(mesh, paid, 1)
        paid += 1
        await asyncio.sleep(0.2)
    await deposit(mesh, paid, FUNDS - paid)


async def deposit(mesh: House, vout: int, sats: int) -> None:
    chain = ledger_service_pb2_grpc.LedgerServiceStub(mesh.channel("chain", "ledger"))
    coins = ledger_pb2.Deposit(
        id=uuid7(), user_id=VIEWER, amount_sats=sats, txid="dd" * 32, vout=vout, block_hash="aa" * 32
    )
    await chain.CreditDeposits(ledger_service_pb2.CreditDepositsRequest(deposits=[coins]))


async def deposits_counted(mesh: House) -> bool:
    """Whether insight has counted one."""
    insight = insight_service_pb2_grpc.InsightServiceStub(mesh.channel("gateway", "insight"))
    now = Timestamp()
    now.GetCurrentTime()
    request = insight_service_pb2.BatchGetSeriesRequest(
        metrics=["transactions.count"],
        start=Timestamp(seconds=now.seconds - PATIENCE_S),
        end=Timestamp(seconds=now.seconds + 10),
        step_s=10,
    )
    (series,) = (await insight.BatchGetSeries(request, timeout=PATIENCE_S)).series
    return sum(point.value for point in series.points) > 0


async def until_entered(rounds: rounds_service_pb2_grpc.RoundsServiceStub) -> None:
    while True:
        request = rounds_service_pb2.GetCurrentRoundRequest()
        if (await rounds.GetCurrentRound(request, timeout=PATIENCE_S)).round.entries == 1:
            return
        await asyncio.sleep(0.05)


async def until_active(watching: AsyncIterator[rounds_service_pb2.WatchRoundsResponse]) -> str:
    async for update in watching:
        if update.event.round.state == rounds_pb2.ROUND_STATE_ACTIVE:
            return update.event.round.id
    raise AssertionError("the stream ended")


async def view(mesh: House, signer: UserTokenSigner) -> None:
    """Three paid seconds."""
    ledger = ledger_service_pb2_grpc.LedgerServiceStub(mesh.channel("gateway", "ledger"))
    token, _ = signer.sign(user_id=VIEWER, roles=frozenset({"user"}), session_id="test")
    session_id = uuid7()
    with caller.acting_as(Caller("", VIEWER), token):
        opened = await ledger.OpenSession(
            ledger_service_pb2.OpenSessionRequest(session_id=session_id, meme_id=MEME, budget_sats=100)
        )

    async def reports() -> AsyncIterator[ledger_service_pb2.MeterRequest]:
        gateway_id = uuid7()
        for seconds in range(1, SECONDS_WATCHED + 1):
            await asyncio.sleep(1.05)
            yield ledger_service_pb2.MeterRequest(
                gateway_id=gateway_id,
                sequence=seconds,
                meter_keys=[opened.session.meter_key],
                seconds=[seconds],
            )

    answers = [answer async for answer in ledger.Meter(reports())]
    assert answers[-1].burned_sats == [SECONDS_WATCHED]


async def until_completed(
    rounds: rounds_service_pb2_grpc.RoundsServiceStub, round_id: str
) -> rounds_pb2.Result:
    while True:
        found = await rounds.GetRound(
            rounds_service_pb2.GetRoundRequest(round_id=round_id), timeout=PATIENCE_S
        )
        if found.round.state == rounds_pb2.ROUND_STATE_COMPLETED and found.round.result_txid:
            return (await rounds.GetResult(rounds_service_pb2.GetResultRequest(round_id=round_id))).result
        await asyncio.sleep(0.1)


def check_result(result: rounds_pb2.Result, chain: Chain) -> None:
    assert chain.records == {result.round.id: result.record_json}
    record = json.loads(result.record_json)
    assert record["sums"]["takings"] == SECONDS_WATCHED == result.round.takings_sats
    assert record["anchor"]["height"] == 101
    assert result.standings[0].scored_seconds == SECONDS_WATCHED
    assert result.txid == "cc" * 32


async def check_money(mesh: House) -> None:
    ledger = ledger_service_pb2_grpc.LedgerServiceStub(mesh.channel("gateway", "ledger"))
    totals = await ledger.GetTotals(ledger_service_pb2.GetTotalsRequest())
    assert totals.sum_sats == 0
    assert totals.users_sats + totals.platform_sats + totals.rounds_sats == FUNDS == totals.coins_owed_sats


async def check_insight(mesh: House) -> None:
    insight = insight_service_pb2_grpc.InsightServiceStub(mesh.channel("gateway", "insight"))
    now = Timestamp()
    now.GetCurrentTime()
    request = insight_service_pb2.BatchGetSeriesRequest(
        metrics=["rounds.completed", "revenue.takings", "engagement.paid_seconds", "rounds.participation"],
        start=Timestamp(seconds=now.seconds - PATIENCE_S),
        end=Timestamp(seconds=now.seconds + 10),
        step_s=10,
    )
    expected = [1, SECONDS_WATCHED, SECONDS_WATCHED, 1]
    while True:
        response = await insight.BatchGetSeries(request)
        found = [sum(point.value for point in series.points) for series in response.series]
        if found == expected:
            return
        assert all(map(int.__le__, found, expected)), found
        await asyncio.sleep(0.1)
