from __future__ import annotations

import asyncio
import hashlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import (
    LedgerServiceStub,
    add_LedgerServiceServicer_to_server,
)

import services.ledger
from mesh import telemetry
from mesh.clock import SystemClock
from mesh.errors import Code, Failure, RemoteFailure
from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.testing import LoopbackServer, serving
from services.ledger.adapters.archive import ArchiveUnavailable
from services.ledger.adapters.news import FeedNews
from services.ledger.app.history import HistoryBroken
from services.ledger.app.journal import Author
from services.ledger.app.ledger import Ledger
from services.ledger.app.orders import QueueFull
from services.ledger.domain import audit, machine
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.record_json import parse
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.sessions import StopReason
from services.ledger.rpc import show
from services.ledger.rpc.servicer import LedgerServicer
from tests.ledger.stores import MemoryStore, journal_of
from tests.ledger.world import txid_of, uid

NS_PER_S = 1_000_000_000
NOW_NS = SystemClock().now_ns()
PARAMETERS = ledger_pb2.Parameters(
    version=1, platform_fee_bp=200, instant_bp=4500, creator_bp=1000, winner_bp=2000, ranks_paid=100,
    payout_min_sats=100, second_price_sats=1, free_below_s=3, session_max_s=3600, scored_seconds_max=600,
)  # fmt: skip
ANA, BEN, MEME = uuid7(), uuid7(), uuid7()


class ShiftedClock(SystemClock):
    """Real time that a test can push forward."""

    shift_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.shift_ns


class House:
    """A ledger behind a real server, and stubs for its callers."""

    def __init__(self, server: LoopbackServer, ledger: Ledger, clock: ShiftedClock) -> None:
        self.server = server
        self.ledger = ledger
        self.clock = clock
        self.chain, self.market, self.rounds, self.content, self.gateway = (
            LedgerServiceStub(server.channel(name))
            for name in ("chain", "market", "rounds", "content", "gateway")
        )

    async def digest(self) -> str:
        return await self.ledger.ask(lambda state, _: audit.digest(state))

    async def refused(self, call: Awaitable[object], reason: str, code: Code | None = None) -> RemoteFailure:
        """The call fails for this reason and nothing changed."""
        before = await self.digest()
        with pytest.raises(RemoteFailure) as failure:
            await call
        assert failure.value.reason == reason
        assert code is None or failure.value.code is code
        assert await self.digest() == before
        return failure.value

    async def fund(self, user: str, sats: int) -> ledger_pb2.Deposit:
        deposit = ledger_pb2.Deposit(
            id=uuid7(),
            user_id=user,
            amount_sats=sats,
            txid=txid_of(uuid7()),
            block_hash="b" * 64,
        )
        await self.chain.CreditDeposits(pb.CreditDepositsRequest(deposits=[deposit]))
        return deposit

    def round_request(self, **more: Any) -> pb.OpenRoundRequest:
        now_s = self.clock.now_ns() // NS_PER_S
        fields: dict[str, Any] = {
            "round_id": uid("round", NOW_NS),
            "parameters": PARAMETERS,
            "starts_at": Timestamp(seconds=now_s),
            "locks_at": Timestamp(seconds=now_s + 600),
            "entries": [ledger_pb2.RoundEntry(meme_id=MEME, creator_id=ANA, quality_ppm=900_000)],
        }
        return pb.OpenRoundRequest(**{**fields, **more})

    async def open_round(self) -> pb.OpenRoundRequest:
        await self.content.IssueTitle(pb.IssueTitleRequest(meme_id=MEME, creator_id=ANA))
        request = self.round_request()
        await self.rounds.OpenRound(request)
        return request

    async def transfer(self, stub: LedgerServiceStub, **fields: Any) -> ledger_pb2.TransferResult:
        transfer = ledger_pb2.Transfer(
            **{"id": uuid7(), "kind": ledger_pb2.TRANSFER_KIND_POST, "asset": "sat", **fields}
        )
        reply = await stub.CreateTransfers(pb.CreateTransfersRequest(transfers=[transfer]))
        return reply.results[0]


@asynccontextmanager
async def open_house(redis_url: str) -> AsyncIterator[House]:
    clock = ShiftedClock()
    async with open_feed(redis_url, f"ledger-{uuid7()}") as feed:
        journal = journal_of(MemoryStore(), clock)
        ledger = Ledger(journal, FeedNews(feed, show.event), clock, queue_max=1_000, session_silence_s=10)
        leading = asyncio.Event()

        async def tell(yes: bool) -> None:
            leading.set() if yes else leading.clear()

        reign = asyncio.create_task(ledger.reign(Author("test", 1), tell, lambda: True))
        await leading.wait()
        async with serving(
            "ledger", add_LedgerServiceServicer_to_server, LedgerServicer(ledger, feed)
        ) as server:
            yield House(server, ledger, clock)
        reign.cancel()
        await asyncio.wait([reign])


@pytest.fixture
async def house(valkey_url: str) -> AsyncIterator[House]:
    async with open_house(valkey_url) as house:
        yield house


def test_the_contract_has_the_same_numbers() -> None:
    for enum, prefix, wire in (
        (Reason, "ERROR_REASON_", ledger_pb2.ErrorReason),
        (StopReason, "STOP_REASON_", ledger_pb2.StopReason),
        (RoundState, "ROUND_STATE_", ledger_pb2.RoundState),
    ):
        ours = {f"{prefix}{member.name}": int(member) for member in enum if member}
        assert ours == {name: number for name, number in wire.items() if number}


def test_every_reason_of_the_ledgers_own_failures_is_in_the_contract() -> None:
    folder = Path(services.ledger.__file__ or "").parent
    for _, name, _ in pkgutil.walk_packages([str(folder)], "services.ledger."):
        if not name.endswith("__main__"):
            import_module(name)
    found = {one.reason for one in _all_below(Failure) if one.__module__.startswith("services.ledger.")}
    assert {"QUEUE_FULL", "HISTORY_BROKEN", "ARCHIVE_UNAVAILABLE"} <= found
    # Of a class whose objects have a reason each, the class has none of its own.
    # RECORD_INVALID is of files that the command line is given.
    assert found - {Failure.reason, RecordInvalid.reason} <= {reason.name for reason in Reason}
    for one in (QueueFull, HistoryBroken, ArchiveUnavailable):
        assert one.code == Refused(Reason[one.reason], "").code


def _all_below(kind: type[Failure]) -> Iterator[type[Failure]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_below(below)


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


async def test_one_stream_meters_second_by_second(house: House) -> None:
    await house.fund(BEN, 1_000)
    await house.open_round()
    with house.server.user(BEN):
        asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=400)
        opened = (await house.gateway.OpenSession(asked)).session
    assert opened.viewer_id == BEN
    reports = asyncio.Queue[pb.MeterRequest | None]()

    async def outgoing() -> AsyncIterator[pb.MeterRequest]:
        while report := await reports.get():
            yield report

    replies = aiter(house.gateway.Meter(outgoing()))
    for sequence, (seconds, burned) in enumerate([(1, 0), (2, 0), (3, 3), (3, 3), (9, 9)], start=1):
        house.clock.shift_ns += 2 * NS_PER_S
        report = pb.MeterRequest(
            gateway_id=uid("g", NOW_NS), sequence=sequence, meter_keys=[opened.meter_key], seconds=[seconds]
        )
        await reports.put(report)
        assert await anext(replies) == pb.MeterResponse(sequence=sequence, burned_sats=[burned])
    await reports.put(pb.MeterRequest(gateway_id=uid("g", NOW_NS), sequence=6))
    assert (await anext(replies)).sequence == 6
    await reports.put(None)
    assert [one async for one in replies] == []


async def test_each_report_is_a_trace_of_its_own_that_names_its_stream(house: House) -> None:
    async def twice() -> AsyncIterator[pb.MeterRequest]:
        for sequence in (1, 2):
            yield pb.MeterRequest(gateway_id=uid("gateway", NOW_NS), sequence=sequence)

    told: list[ReadableSpan] = []
    telemetry.tracer.tell(telemetry.Teller(told.append, Resource({}), slow_s=10))
    try:
        assert [one.sequence async for one in house.gateway.Meter(twice())] == [1, 2]
    finally:
        telemetry.tracer.tell(None)
    (stream,) = [span.context for span in told if span.kind.name == "SERVER"]
    reports = [span for span in told if span.name == "meter report"]
    assert [span.parent for span in reports] == [None, None]
    traces = {span.context.trace_id for span in reports if span.context}
    assert len(traces - {stream.trace_id if stream else 0}) == 2
    assert [link.context for span in reports for link in span.links] == [stream, stream]


async def meter(gateway: LedgerServiceStub, *lines: tuple[int, int]) -> pb.MeterResponse:
    """One report of these meter keys and seconds."""
    request = pb.MeterRequest(
        gateway_id=uid("gateway", NOW_NS),
        sequence=1,
        meter_keys=[key for key, _ in lines],
        seconds=[seconds for _, seconds in lines],
    )

    async def once() -> AsyncIterator[pb.MeterRequest]:
        yield request

    return await anext(aiter(gateway.Meter(once())))


async def watch_for(house: House, viewer: str, seconds: int, budget: int = 1_000) -> str:
    """A session that has been reported for so many seconds."""
    session_id = uuid7()
    with house.server.user(viewer):
        opened = await house.gateway.OpenSession(
            pb.OpenSessionRequest(session_id=session_id, meme_id=MEME, budget_sats=budget)
        )
    for second in range(5, seconds + 1, 5):
        house.clock.shift_ns += 5 * NS_PER_S
        reply = await meter(house.gateway, (opened.session.meter_key, second))
        assert reply.burned_sats == [second]
    return session_id


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


async def test_sessions_belong_to_their_viewer(house: House) -> None:
    await house.fund(BEN, 1_000)
    await house.open_round()
    session_id = await watch_for(house, BEN, 5)
    with house.server.user(ANA):
        await house.refused(
            house.gateway.CloseSession(pb.CloseSessionRequest(session_id=session_id)),
            "SESSION_NOT_FOUND",
            Code.NOT_FOUND,
        )
        await house.refused(
            house.gateway.GetSession(pb.GetSessionRequest(session_id=session_id)), "SESSION_NOT_FOUND"
        )
    assert (await house.gateway.GetSession(pb.GetSessionRequest(session_id=session_id))).session.seconds == 5


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


@pytest.mark.parametrize("token", ["x", "bm9wZQ==", "cG9zdGluZ3N8dXNlcjpvdGhlcnwx"])
async def test_tokens_of_other_lists(house: House, token: str) -> None:
    await house.fund(ANA, 100)
    with house.server.user(ANA):
        asked = pb.ListPostingsRequest(account_id=f"user:{ANA}", page_token=token)
        await house.refused(house.gateway.ListPostings(asked), "PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT)
        sessions = pb.ListSessionsRequest(page_token=token)
        await house.refused(house.gateway.ListSessions(sessions), "PAGE_TOKEN_INVALID")
        titles = pb.ListTitlesRequest(owner_id=ANA, page_token=token)
        await house.refused(house.gateway.ListTitles(titles), "PAGE_TOKEN_INVALID")


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


async def test_only_callers_of_the_contract(house: House) -> None:
    sides = {"debit_account": "user:a", "credit_account": "user:b", "amount": 1}
    await house.refused(house.transfer(house.gateway, **sides), "CALLER_NOT_ALLOWED")
    session = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=5)
    await house.refused(house.gateway.OpenSession(session), "USER_TOKEN_MISSING", Code.UNAUTHENTICATED)


async def test_commands_do_not_need_redis() -> None:
    async with open_house("redis://127.0.0.1:1/0") as house:
        await house.fund(ANA, 1_000)
        updates = aiter(house.gateway.WatchLedger(pb.WatchLedgerRequest()))
        first = await anext(updates)
        assert (first.cursor, first.snapshot.journal_sequence) == ("", 2)
        assert (await house.chain.GetTotals(pb.GetTotalsRequest())).users_sats == 1_000


async def test_a_standby_says_so(valkey_url: str) -> None:
    clock = SystemClock()
    async with open_feed(valkey_url, "ledger-standby") as feed:
        ledger = Ledger(
            journal_of(MemoryStore(), clock),
            FeedNews(feed, show.event),
            clock,
            queue_max=9,
            session_silence_s=10,
        )
        async with serving(
            "ledger", add_LedgerServiceServicer_to_server, LedgerServicer(ledger, feed)
        ) as server:
            stub = LedgerServiceStub(server.channel("chain"))
            deposit = ledger_pb2.Deposit(
                id=uuid7(), user_id=ANA, amount_sats=1, txid="a" * 64, block_hash="b" * 64
            )
            for call in (
                stub.CreditDeposits(pb.CreditDepositsRequest(deposits=[deposit]), timeout=2),
                stub.GetTotals(pb.GetTotalsRequest(), timeout=2),
            ):
                with pytest.raises(RemoteFailure) as failure:
                    await call
                assert failure.value.reason == "NOT_LEADER"
            gateway = LedgerServiceStub(server.channel("gateway"))
            with pytest.raises(RemoteFailure) as failure:
                await meter(gateway, (1, 1))
            assert failure.value.reason == "NOT_LEADER"


async def test_transfers_in_columns_tell_what_was_refused(valkey_url: str) -> None:
    async with open_house(valkey_url) as house:
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


async def test_watchers_get_a_snapshot_and_then_what_happens(valkey_url: str) -> None:
    async with open_house(valkey_url) as house:
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
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(valkey_url) as house:
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
