"""Accounts, transfers and titles over a real channel."""

from __future__ import annotations

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from tests.ledger.rpc.house import ANA, BEN, House


async def test_money_comes_moves_and_goes(house: House) -> None:
    await house.fund(ANA, 1_000)
    account = f"user:{ANA}"
    done = await house.transfer(house.market, debit_account=account, credit_account=f"user:{BEN}", amount=300)
    assert done.reason == 0
    hold = uuid7()
    held = {"kind": ledger_pb2.TRANSFER_KIND_HOLD, "debit_account": account, "credit_account": "chain:coins"}
    await house.transfer(house.chain, id=hold, amount=500, **held)
    await house.transfer(house.chain, kind=ledger_pb2.TRANSFER_KIND_POST_HOLD, hold_id=hold, amount=450)
    with house.server.user(ANA):
        shown = (await house.gateway.GetAccount(pb.GetAccountRequest(account_id=account))).account
        assert (shown.balance, shown.held, shown.available) == (250, 0, 250)
        page = await house.gateway.ListPostings(pb.ListPostingsRequest(account_id=account, page_size=2))
        assert [posting.amount for posting in page.postings] == [450, 300]
        rest = await house.gateway.ListPostings(
            pb.ListPostingsRequest(account_id=account, page_token=page.next_page_token)
        )
        assert [posting.amount for posting in rest.postings] == [1_000]
        assert not rest.next_page_token
    totals = await house.chain.GetTotals(pb.GetTotalsRequest())
    assert (totals.sum_sats, totals.coins_owed_sats, totals.users_sats) == (0, 550, 550)
    assert len(totals.journal_hash) == 64


async def test_users_see_their_own(house: House) -> None:
    await house.fund(ANA, 1_000)
    mine = pb.GetAccountRequest(account_id=f"user:{ANA}")
    many = pb.BatchGetAccountsRequest(account_ids=[f"user:{ANA}", f"user:{BEN}"])
    postings = pb.ListPostingsRequest(account_id=f"user:{ANA}")
    with house.server.user(BEN):
        for call in (house.gateway.GetAccount(mine), house.gateway.ListPostings(postings)):
            await house.refused(call, "ACCOUNT_FORBIDDEN", Code.PERMISSION_DENIED)
        await house.refused(house.gateway.BatchGetAccounts(many), "ACCOUNT_FORBIDDEN")
        fee = pb.GetAccountRequest(account_id="platform:fee")
        await house.refused(house.gateway.GetAccount(fee), "ACCOUNT_FORBIDDEN")
    await house.refused(house.gateway.GetAccount(mine), "ACCOUNT_FORBIDDEN")
    with house.server.user(BEN, roles={"admin"}):
        found = await house.gateway.BatchGetAccounts(many)
        assert [account.id for account in found.accounts] == [f"user:{ANA}"]
    assert (await house.chain.GetAccount(mine)).account.balance == 1_000


async def test_titles_are_listed(house: House) -> None:
    memes = sorted(uuid7() for _ in range(5))
    for meme in memes:
        await house.content.IssueTitle(pb.IssueTitleRequest(meme_id=meme, creator_id=ANA))
    found = await house.market.BatchGetTitles(pb.BatchGetTitlesRequest(meme_ids=[*memes[:2], uuid7()]))
    assert [title.meme_id for title in found.titles] == memes[:2]
    first = await house.gateway.ListTitles(pb.ListTitlesRequest(owner_id=ANA, page_size=3))
    second = await house.gateway.ListTitles(
        pb.ListTitlesRequest(owner_id=ANA, page_size=3, page_token=first.next_page_token)
    )
    assert [title.meme_id for title in (*first.titles, *second.titles)] == memes
    assert not second.next_page_token


async def test_transfers_in_columns_tell_what_was_refused(house: House) -> None:
    await house.fund(ANA, 100)
    request = pb.PostTransfersRequest(
        accounts=[f"user:{ANA}", f"user:{BEN}", "chain:coins"],
        ids=[uuid7() for _ in range(4)],
        debits=[0, 0, 1, 2],
        credits=[1, 1, 0, 0],
        amounts=[60, 60, 10, 5],
    )
    reply = await house.market.PostTransfers(request)
    reasons = [ledger_pb2.ErrorReason.Name(one.reason) for one in reply.refused]
    assert reasons == ["ERROR_REASON_INSUFFICIENT_FUNDS", "ERROR_REASON_ACCOUNT_FORBIDDEN"]
    assert [one.id for one in reply.refused] == [request.ids[1], request.ids[3]]
    assert await house.market.PostTransfers(request) == reply
    account = await house.market.GetAccount(pb.GetAccountRequest(account_id=f"user:{ANA}"))
    assert account.account.balance == 50
    del request.amounts[-1]
    with pytest.raises(RemoteFailure) as uneven:
        await house.market.PostTransfers(request)
    assert uneven.value.reason == "COLUMNS_UNEVEN"
    with pytest.raises(RemoteFailure) as foreign:
        await house.gateway.PostTransfers(request)
    assert foreign.value.code is Code.PERMISSION_DENIED
