"""Commands that are refused over a real channel: each with its reason, and nothing changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.errors import Code
from mesh.ids import uuid7
from mesh.pages import page_token
from tests.ledger.rpc.house import ANA, BEN, MEME, House, meter, watch_for


async def test_commands_that_are_refused(house: House) -> None:
    deposit = await house.fund(BEN, 100)
    request = await house.open_round()
    other = ledger_pb2.Deposit()
    other.CopyFrom(deposit)
    other.amount_sats = 99
    cases: list[tuple[Callable[[], Awaitable[object]], str]] = [
        (lambda: house.chain.CreditDeposits(pb.CreditDepositsRequest(deposits=[other])), "ID_REUSED"),
        (
            lambda: house.chain.ReverseDeposit(
                pb.ReverseDepositRequest(id=uuid7(), deposit_id=uuid7(), reason="gone")
            ),
            "DEPOSIT_NOT_FOUND",
        ),
        (
            lambda: house.content.IssueTitle(pb.IssueTitleRequest(meme_id=MEME, creator_id=BEN)),
            "TITLE_ALREADY_ISSUED",
        ),
        (lambda: house.content.GetTitle(pb.GetTitleRequest(meme_id=uuid7())), "TITLE_NOT_FOUND"),
        (lambda: house.rounds.OpenRound(house.round_request(round_id=uuid7())), "ROUND_OVERLAP"),
        (lambda: house.rounds.GetRound(pb.GetRoundRequest(round_id=uuid7())), "ROUND_NOT_FOUND"),
        (
            lambda: house.rounds.DistributePool(pb.DistributePoolRequest(round_id=request.round_id)),
            "ROUND_NOT_ACTIVE",
        ),
        (lambda: house.chain.GetAccount(pb.GetAccountRequest(account_id="user:nobody")), "ACCOUNT_NOT_FOUND"),
    ]
    for call, reason in cases:
        await house.refused(call(), reason)
    with house.server.user(BEN):
        for budget, meme, reason in ((101, MEME, "INSUFFICIENT_FUNDS"), (5, uuid7(), "NOT_AN_ENTRY")):
            asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=meme, budget_sats=budget)
            await house.refused(house.gateway.OpenSession(asked), reason, Code.FAILED_PRECONDITION)
        session = await watch_for(house, BEN, 5, budget=50)
        asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=5)
        await house.refused(house.gateway.OpenSession(asked), "SESSION_OVERLAP")
    await house.rounds.LockRound(pb.LockRoundRequest(round_id=request.round_id))
    wrong = pb.DistributePoolRequest(round_id=request.round_id, ranking=[])
    await house.refused(house.rounds.DistributePool(wrong), "RANKING_MISMATCH", Code.INVALID_ARGUMENT)
    key = (await house.gateway.GetSession(pb.GetSessionRequest(session_id=session))).session.meter_key
    late = await meter(house.gateway, (key, 9), (key + 1, 9))
    assert late.burned_sats == [5, 0]
    assert [(receipt.session_id, receipt.reason) for receipt in late.receipts] == [
        (session, ledger_pb2.ERROR_REASON_GRACE_OVER),
        ("", ledger_pb2.ERROR_REASON_SESSION_NOT_FOUND),
    ]


async def test_rounds_that_make_no_sense(house: House) -> None:
    await house.content.IssueTitle(pb.IssueTitleRequest(meme_id=MEME, creator_id=ANA))
    request = house.round_request()
    request.locks_at.CopyFrom(request.starts_at)
    await house.refused(house.rounds.OpenRound(request), "ROUND_INVALID", Code.INVALID_ARGUMENT)
    entry = ledger_pb2.RoundEntry(meme_id=MEME, creator_id=BEN, quality_ppm=1)
    await house.refused(house.rounds.OpenRound(house.round_request(entries=[entry])), "CREATOR_MISMATCH")


async def test_results_carry_reasons(house: House) -> None:
    await house.fund(ANA, 100)
    sides = {"debit_account": f"user:{ANA}", "credit_account": f"user:{BEN}"}
    before = await house.digest()
    result = await house.transfer(house.market, amount=101, **sides)
    assert (result.reason, result.detail) == (
        ledger_pb2.ERROR_REASON_INSUFFICIENT_FUNDS, "available 100, needed 101",
    )  # fmt: skip
    result = await house.transfer(
        house.chain, amount=1, debit_account=f"user:{ANA}", credit_account="platform:fee"
    )
    assert result.reason == ledger_pb2.ERROR_REASON_ACCOUNT_FORBIDDEN
    assert await house.digest() == before


@pytest.mark.parametrize("token", ["x", "bm9wZQ==", page_token("postings user:other", "1")])
async def test_tokens_of_other_lists(house: House, token: str) -> None:
    await house.fund(ANA, 100)
    with house.server.user(ANA):
        asked = pb.ListPostingsRequest(account_id=f"user:{ANA}", page_token=token)
        await house.refused(house.gateway.ListPostings(asked), "PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT)
        sessions = pb.ListSessionsRequest(page_token=token)
        await house.refused(house.gateway.ListSessions(sessions), "PAGE_TOKEN_INVALID")
        titles = pb.ListTitlesRequest(owner_id=ANA, page_token=token)
        await house.refused(house.gateway.ListTitles(titles), "PAGE_TOKEN_INVALID")
