"""The contract over a real channel, with a real feed: answers, reasons, who may call, what refusals leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2 as messages

from mesh.errors import Code, RemoteFailure
from mesh.feeds import Feed, open_feed
from mesh.ids import uuid7
from mesh.pages import page_token
from mesh.testing import LoopbackServer, serving
from services.rounds.app.ports import Leaderboard, RoundView
from services.rounds.app.service import PAGES
from services.rounds.rpc.news import FeedNews
from services.rounds.rpc.servicer import RoundsServicer
from tests.rounds.world import HeardNews, World

ADMIN = {"admin"}
PATIENCE_S = 60


class BothNews(HeardNews):
    """Heard by the test, and on the feed."""

    def __init__(self, feed: FeedNews) -> None:
        super().__init__()
        self.feed = feed

    def round_changed(self, view: RoundView) -> None:
        super().round_changed(view)
        self.feed.round_changed(view)

    def standings_moved(self, board: Leaderboard) -> None:
        super().standings_moved(board)
        self.feed.standings_moved(board)


@dataclass
class House:
    """A server of rounds in a world of stand-ins."""

    world: World
    server: LoopbackServer
    stub: rounds_service_pb2_grpc.RoundsServiceStub
    feed: Feed

    async def open_round(self, memes: int = 2) -> str:
        for _ in range(memes):
            self.world.content.publish()
        await self.world.settle()
        self.world.chain.block()
        await self.world.settle()
        return self.world.current.id

    async def completed_round(self) -> str:
        round_id = await self.open_round()
        entries = self.world.current.entries
        self.world.ledger.watch_seconds(
            self.world.current.id, entries[1].meme_id, 500, self.world.clock.now_ns()
        )
        await self.world.pass_time(35)
        return round_id


@pytest.fixture
async def house(valkey_url: str) -> AsyncIterator[House]:
    async with open_feed(valkey_url, f"rounds-{uuid7()}") as feed:
        world = World()
        world.news = BothNews(FeedNews(feed, world.clock))
        world.start()
        await world.settle()
        adder = rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server
        async with serving("rounds", adder, RoundsServicer(world.service, feed)) as server:
            stub = rounds_service_pb2_grpc.RoundsServiceStub(server.channel("gateway"))
            yield House(world, server, stub, feed)
            await world.kill()


async def refused(call: object) -> RemoteFailure:
    with pytest.raises(RemoteFailure) as caught:
        await call  # type: ignore[misc]  # a coroutine of a stub
    return caught.value


async def test_current_round_while_pending(house: House) -> None:
    response = await house.stub.GetCurrentRound(messages.GetCurrentRoundRequest())
    assert response.round.state == rounds_pb2.ROUND_STATE_PENDING
    assert response.round.number == 1
    assert not response.round.HasField("anchor")
    assert not response.round.HasField("starts_at")


async def test_no_current_round_when_nobody_drives(house: House) -> None:
    await house.world.kill()
    failure = await refused(house.stub.GetCurrentRound(messages.GetCurrentRoundRequest()))
    assert (failure.code, failure.reason) == (Code.NOT_FOUND, "NO_CURRENT_ROUND")
    await house.world.kill()


async def test_round_entries_and_leaderboard(house: House) -> None:
    round_id = await house.open_round()
    found = (await house.stub.GetRound(messages.GetRoundRequest(round_id=round_id))).round
    assert found.state == rounds_pb2.ROUND_STATE_ACTIVE
    assert found.anchor.hash == house.world.chain.blocks[-1].hash
    assert found.locks_at.seconds - found.starts_at.seconds == 30
    entries = (await house.stub.ListEntries(messages.ListEntriesRequest(round_id=round_id))).entries
    assert [entry.meme_id for entry in entries] == [entry.meme_id for entry in house.world.current.entries]
    board = (
        await house.stub.GetLeaderboard(messages.GetLeaderboardRequest(round_id=round_id, limit=1))
    ).leaderboard
    assert len(board.standings) == 1
    assert not board.final


async def test_result_of_a_completed_round(house: House) -> None:
    round_id = await house.completed_round()
    result = (await house.stub.GetResult(messages.GetResultRequest(round_id=round_id))).result
    assert result.round.state == rounds_pb2.ROUND_STATE_COMPLETED
    assert result.round.takings_sats == 500
    assert result.fee_sats + result.creators_sats + result.owners_sats + result.pool_sats == 500
    assert sum(line.payout_sats for line in result.standings) + result.carried_out_sats == result.pool_sats
    assert result.txid == f"tx-{round_id}"
    assert result.record_json == house.world.chain.records[house.world.current.id.__class__(round_id)]


async def test_result_too_early_is_a_state_conflict(house: House) -> None:
    round_id = await house.open_round()
    failure = await refused(house.stub.GetResult(messages.GetResultRequest(round_id=round_id)))
    assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "STATE_CONFLICT")
    assert failure.metadata["state"] == "ACTIVE"


async def test_unknown_round_is_not_found_everywhere(house: House) -> None:
    nobody = uuid7()
    stub = house.stub
    failures = [
        await refused(stub.GetRound(messages.GetRoundRequest(round_id=nobody))),
        await refused(stub.ListEntries(messages.ListEntriesRequest(round_id=nobody))),
        await refused(stub.GetLeaderboard(messages.GetLeaderboardRequest(round_id=nobody))),
        await refused(stub.GetResult(messages.GetResultRequest(round_id=nobody))),
    ]
    with house.server.user(uuid7(), roles=ADMIN):
        request = messages.VoidRoundRequest(round_id=nobody, reason="nobody")
        failures.append(await refused(stub.VoidRound(request)))
    assert {failure.reason for failure in failures} == {"ROUND_NOT_FOUND"}


async def test_lists_and_batches(house: House) -> None:
    round_id = await house.completed_round()
    first = await house.stub.ListRounds(messages.ListRoundsRequest(page_size=1))
    assert [round_.number for round_ in first.rounds] == [2]
    rest = await house.stub.ListRounds(
        messages.ListRoundsRequest(page_size=1, page_token=first.next_page_token)
    )
    assert [round_.id for round_ in rest.rounds] == [round_id]
    assert rest.next_page_token == ""
    batch = await house.stub.BatchGetRounds(
        messages.BatchGetRoundsRequest(round_ids=[uuid7(), first.rounds[0].id, round_id])
    )
    assert [round_.number for round_ in batch.rounds] == [2, 1]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "2",
        "١",
        page_token("listings", "2"),
        *(page_token(PAGES, it) for it in ("-1", "0", "1" * 13, "x")),
    ],
)
async def test_foreign_page_token(house: House, token: str) -> None:
    failure = await refused(house.stub.ListRounds(messages.ListRoundsRequest(page_token=token)))
    assert (failure.code, failure.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_bad_input_is_refused(house: House) -> None:
    failure = await refused(house.stub.GetRound(messages.GetRoundRequest(round_id="no id")))
    assert failure.code is Code.INVALID_ARGUMENT
    failure = await refused(house.stub.ListRounds(messages.ListRoundsRequest(page_size=1_001)))
    assert failure.code is Code.INVALID_ARGUMENT


async def test_void_is_for_administrators(house: House) -> None:
    round_id = await house.open_round()
    request = messages.VoidRoundRequest(round_id=round_id, reason="wrong pictures")
    assert (await refused(house.stub.VoidRound(request))).code is Code.UNAUTHENTICATED
    with house.server.user(uuid7()):
        assert (await refused(house.stub.VoidRound(request))).code is Code.PERMISSION_DENIED
    stranger = rounds_service_pb2_grpc.RoundsServiceStub(house.server.channel("market"))
    with house.server.user(uuid7(), roles=ADMIN):
        assert (await refused(stranger.VoidRound(request))).reason == "CALLER_NOT_ALLOWED"
    await house.world.settle()
    assert house.world.current.void_reason == ""
    assert "void" not in house.world.ledger.commands


async def test_void_pays_back_and_may_be_repeated(house: House) -> None:
    round_id = await house.open_round()
    request = messages.VoidRoundRequest(round_id=round_id, reason="wrong pictures")
    with house.server.user(uuid7(), roles=ADMIN):
        first = (await house.stub.VoidRound(request)).round
        assert first.state == rounds_pb2.ROUND_STATE_VOIDED
        assert first.void_reason == "wrong pictures"
        assert (await house.stub.VoidRound(request)).round == first
        other = messages.VoidRoundRequest(round_id=round_id, reason="another reason")
        failure = await refused(house.stub.VoidRound(other))
    assert (failure.code, failure.reason) == (Code.ALREADY_EXISTS, "ID_REUSED")
    assert (await house.stub.GetRound(messages.GetRoundRequest(round_id=round_id))).round == first
    assert house.world.ledger.commands.count("void") == 1


async def test_void_of_a_completed_round_is_a_state_conflict(house: House) -> None:
    round_id = await house.completed_round()
    before = (await house.stub.GetRound(messages.GetRoundRequest(round_id=round_id))).round
    with house.server.user(uuid7(), roles=ADMIN):
        request = messages.VoidRoundRequest(round_id=round_id, reason="too late")
        failure = await refused(house.stub.VoidRound(request))
    assert (failure.reason, failure.metadata["state"]) == ("STATE_CONFLICT", "COMPLETED")
    assert (await house.stub.GetRound(messages.GetRoundRequest(round_id=round_id))).round == before


async def test_void_while_nobody_leads(house: House) -> None:
    round_id = await house.open_round()
    before = await house.world.all_rounds()
    await house.world.kill()
    with house.server.user(uuid7(), roles=ADMIN):
        request = messages.VoidRoundRequest(round_id=round_id, reason="no leader")
        failure = await refused(house.stub.VoidRound(request))
    assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "NOT_LEADER")
    assert await house.world.all_rounds() == before


async def test_watch_begins_with_a_snapshot_and_resumes_behind_its_cursor(house: House) -> None:
    updates = aiter(house.stub.WatchRounds(messages.WatchRoundsRequest()))
    first = await anext(updates)
    assert first.snapshot.round.state == rounds_pb2.ROUND_STATE_PENDING
    round_id = await house.open_round()
    active = await until(updates, rounds_pb2.ROUND_STATE_ACTIVE)
    assert active.event.round.id == round_id
    resumed = aiter(house.stub.WatchRounds(messages.WatchRoundsRequest(cursor=active.cursor)))
    with house.server.user(uuid7(), roles=ADMIN):
        await house.stub.VoidRound(messages.VoidRoundRequest(round_id=round_id, reason="wrong pictures"))
    voided = await until(resumed, rounds_pb2.ROUND_STATE_VOIDED)
    assert voided.event.id > active.event.id


async def test_block_reaches_a_watcher_at_once(house: House) -> None:
    """Time stands still here: nobody waits for a look that comes every so often."""
    house.world.content.publish()
    await house.world.settle()
    updates = aiter(house.stub.WatchRounds(messages.WatchRoundsRequest()))
    await anext(updates)
    before_ns = house.world.clock.now_ns()
    house.world.chain.block()
    await until(updates, rounds_pb2.ROUND_STATE_ACTIVE)
    assert house.world.clock.now_ns() == before_ns


async def until(
    updates: AsyncIterator[messages.WatchRoundsResponse], state: rounds_pb2.RoundState.ValueType
) -> messages.WatchRoundsResponse:
    """The first event of a round in this state."""
    async with asyncio.timeout(PATIENCE_S):
        async for update in updates:
            if update.event.round.state == state:
                return update
    raise AssertionError("the stream ended")


def test_every_reason_of_the_contract_is_tested_here() -> None:
    text = Path(__file__).read_text()
    reasons = [name.removeprefix("ERROR_REASON_") for name in dict(rounds_pb2.ErrorReason.items())]
    assert [reason for reason in reasons if reason != "UNSPECIFIED" and f'"{reason}"' not in text] == []
