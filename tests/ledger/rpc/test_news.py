"""What watchers are told: a snapshot, then what happens, with or without Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from satreel.ledger.v1 import ledger_service_pb2 as pb

from services.ledger.domain import machine
from tests.ledger.rpc.house import ANA, BEN, House, open_house, watch_for


async def test_commands_do_not_need_redis() -> None:
    async with open_house("redis://127.0.0.1:1/0") as house:
        await house.fund(ANA, 1_000)
        updates = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest()))
        first = await anext(updates)
        assert (first.cursor, first.snapshot.journal_sequence) == ("", 2)
        assert (await house.chain.GetTotals(pb.GetTotalsRequest())).users_sats == 1_000


async def test_watchers_get_a_snapshot_and_then_what_happens(house: House) -> None:
    await house.fund(ANA, 2_000)
    request = await house.open_round()
    updates = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest()))
    first = await anext(updates)
    assert first.snapshot.round.round_id == request.round_id
    await house.transfer(
        house.market, debit_account=f"user:{ANA}", credit_account=f"user:{BEN}", amount=7, memo="sale:x"
    )
    news = [await next_event(updates)]
    assert int(news[0].event.id) > first.snapshot.journal_sequence
    moved = news[0].event.moved
    assert (list(moved.amounts), list(moved.memos)) == ([7], ["sale:x"])
    assert moved.accounts[moved.debits[0]] == f"user:{ANA}"
    assert moved.accounts[moved.credits[0]] == f"user:{BEN}"
    balances = dict(zip(moved.accounts, moved.balances, strict=True))
    assert balances == {f"user:{ANA}": 1_993, f"user:{BEN}": 7}
    session_id = await watch_for(house, ANA, 10)
    seen_tally = seen_session = False
    while not (seen_tally and seen_session):
        update = await next_event(updates)
        news.append(update)
        seen_tally |= any(tally.takings_sats == 10 for tally in update.event.tallies)
        seen_session |= any(session.id == session_id for session in update.event.sessions)
    ids = [int(update.event.id) for update in news]
    assert ids == sorted(set(ids))
    resumed = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest(cursor=news[0].cursor)))
    assert (await next_event(resumed)).event == news[1].event


async def test_what_is_too_much_to_tell_is_a_fresh_snapshot(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.fund(ANA, 2_000)
    updates = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest()))
    first = (await anext(updates)).snapshot.journal_sequence
    sides = {"debit_account": f"user:{ANA}", "credit_account": f"user:{BEN}", "memo": "sale:x"}
    await house.transfer(house.market, **sides, amount=7)
    before = await next_event(updates)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "CHANGES_MAX", 0)
        await house.transfer(house.market, **sides, amount=8)
    for cursor in (None, before.cursor):
        if cursor is not None:
            updates = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest(cursor=cursor)))
        while not (update := await anext(updates)).HasField("snapshot"):
            assert update.HasField("heartbeat")
        assert update.snapshot.journal_sequence >= first + 2
    await house.transfer(house.market, **sides, amount=9)
    assert list((await next_event(updates)).event.moved.amounts) == [9]


async def next_event(updates: AsyncIterator[pb.WatchLedgerResponse]) -> pb.WatchLedgerResponse:
    while True:
        update = await anext(updates)
        if update.HasField("event"):
            return update
