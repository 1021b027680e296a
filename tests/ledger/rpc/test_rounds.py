"""A round over a real channel: opened, watched, locked, paid or voided, and its record explained."""

from __future__ import annotations

import hashlib

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.errors import Code
from mesh.ids import uuid7
from services.ledger.domain.record_json import parse
from tests.ledger.rpc.house import ANA, BEN, MEME, House, watch_for


async def test_from_open_to_paid(house: House) -> None:
    await house.fund(BEN, 1_000)
    request = await house.open_round()
    session_id = await watch_for(house, BEN, 300)
    with house.server.user(BEN):
        closed = await house.gateway.CloseSession(pb.CloseSessionRequest(session_id=session_id))
        assert (closed.session.burned_sats, closed.session.stop_reason) == (
            300,
            ledger_pb2.STOP_REASON_CLOSED,
        )
        listed = await house.gateway.ListSessions(pb.ListSessionsRequest())
        assert [session.id for session in listed.sessions] == [session_id]
    locked = await house.rounds.LockRound(pb.LockRoundRequest(round_id=request.round_id))
    tally = locked.round.tallies[0]
    assert (tally.takings_sats, tally.fee_sats, tally.creator_sats, tally.owner_sats, tally.pool_sats) == (
        300, 6, 13, 118, 163,
    )  # fmt: skip
    paid = await house.rounds.DistributePool(
        pb.DistributePoolRequest(round_id=request.round_id, ranking=[MEME])
    )
    assert [(payout.user_id, payout.amount_sats) for payout in paid.round.payouts] == [(ANA, 163)]
    again = await house.rounds.GetRound(pb.GetRoundRequest(round_id=request.round_id))
    assert again.round == paid.round


async def test_a_record_is_given_and_a_payout_explained(house: House) -> None:
    await house.fund(BEN, 1_000)
    request = await house.open_round()
    asked = pb.ExplainPayoutRequest(round_id=request.round_id)
    await watch_for(house, BEN, 300)
    so_far = (await house.gateway.ExplainPayout(asked)).explanation
    assert (so_far.state, so_far.total_sats, so_far.matches) == (ledger_pb2.ROUND_STATE_OPEN, 13 + 118, True)
    await house.rounds.LockRound(pb.LockRoundRequest(round_id=request.round_id))
    await house.rounds.DistributePool(pb.DistributePoolRequest(round_id=request.round_id, ranking=[MEME]))
    told = (await house.gateway.ExplainPayout(asked)).explanation
    assert (told.state, told.matches, told.total_sats, told.user_id) == (
        ledger_pb2.ROUND_STATE_DISTRIBUTED, True, 13 + 118 + 163, "",
    )  # fmt: skip
    fee = next(step for step in told.steps if step.what == "platform fee")
    assert (fee.formula, fee.result_sats, fee.meme_id) == ("floor(300 × 200 / 10000)", 6, MEME)
    assert not next(step for step in told.steps if step.what == "weights").HasField("result_sats")
    asked.user_id = BEN
    nothing = (await house.gateway.ExplainPayout(asked)).explanation
    assert (nothing.total_sats, nothing.user_id, nothing.matches) == (0, BEN, True)
    assert {step.user_id for step in nothing.steps} == {""}


async def test_a_record_is_hashed(house: House) -> None:
    request = await house.open_round()
    asked = pb.GetRoundRecordRequest(round_id=request.round_id)
    found = (await house.gateway.GetRoundRecord(asked)).record
    assert hashlib.sha256(found.json.encode()).hexdigest() == found.sha256
    assert parse(found.json.encode()).round_id == request.round_id


async def test_records_of_unknown_rounds(house: House) -> None:
    unknown = uuid7()
    await house.refused(
        house.gateway.GetRoundRecord(pb.GetRoundRecordRequest(round_id=unknown)),
        "ROUND_NOT_FOUND",
        Code.NOT_FOUND,
    )
    await house.refused(
        house.gateway.ExplainPayout(pb.ExplainPayoutRequest(round_id=unknown)),
        "ROUND_NOT_FOUND",
        Code.NOT_FOUND,
    )
    bad = pb.ExplainPayoutRequest(round_id=unknown, user_id="me")
    await house.refused(house.gateway.ExplainPayout(bad), "INVALID_ARGUMENT", Code.INVALID_ARGUMENT)
    await house.refused(
        house.market.GetRoundRecord(pb.GetRoundRecordRequest(round_id=unknown)), "CALLER_NOT_ALLOWED"
    )


async def test_a_void_is_told(house: House) -> None:
    await house.fund(BEN, 1_000)
    request = await house.open_round()
    await watch_for(house, BEN, 50)
    voided = await house.rounds.VoidRound(pb.VoidRoundRequest(round_id=request.round_id, reason="mistake"))
    assert (voided.refunded_sats, voided.round.state) == (50, ledger_pb2.ROUND_STATE_VOIDED)
