"""The servicer: requests to commands and questions, answers to messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar, cast

import grpc.aio
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.trace import Link
from satreel.ledger.v1 import journal_pb2, ledger_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh import caller, telemetry
from mesh.feeds import Feed
from services.ledger.app import queries, statements
from services.ledger.app.history import History, MemoryHistory
from services.ledger.app.journal import Head
from services.ledger.app.ledger import Ledger
from services.ledger.app.orders import Order
from services.ledger.app.records import find_record, find_round
from services.ledger.app.statements import Ask
from services.ledger.domain.answers import Result
from services.ledger.domain.deposits import Reversal
from services.ledger.domain.explain import explain
from services.ledger.domain.machine import Machine
from services.ledger.domain.sessions import Report, SessionView
from services.ledger.domain.titles import Title
from services.ledger.domain.views import RoundView, totals_of
from services.ledger.rpc import reading, show, show_record
from services.ledger.rpc.read import columns_order, order, transfers_order
from services.ledger.rpc.watching import watch_ledger

# Lines of a report in one command: a journal record has to stay below 1 MiB.
METER_CHUNK = 10_000

Context = grpc.aio.ServicerContext[Any, Any]
Answered = TypeVar("Answered")
Seen = TypeVar("Seen")


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """satreel.ledger.v1.LedgerService over one ledger and the feed that its leader writes."""

    def __init__(self, ledger: Ledger, feed: Feed, history: History | None = None) -> None:
        self._ledger = ledger
        self._feed = feed
        self._history = history or History(MemoryHistory())

    async def CreateTransfers(
        self, request: pb.CreateTransfersRequest, context: Context
    ) -> pb.CreateTransfersResponse:
        asked = transfers_order(caller.current().service, request)
        results = await self._submit(list[Result], asked)
        return show.results(request.transfers, results)

    async def PostTransfers(
        self, request: pb.PostTransfersRequest, context: Context
    ) -> pb.PostTransfersResponse:
        results = await self._submit(list[Result], columns_order(caller.current().service, request))
        return show.refused(request.ids, results)

    async def IssueTitle(self, request: pb.IssueTitleRequest, context: Context) -> pb.IssueTitleResponse:
        title = await self._submit(Title, order(issue_title=request))
        return pb.IssueTitleResponse(title=show.title(title))

    async def CreditDeposits(
        self, request: pb.CreditDepositsRequest, context: Context
    ) -> pb.CreditDepositsResponse:
        await self._ledger.submit(order(credit_deposits=request))
        return pb.CreditDepositsResponse()

    async def ReverseDeposit(
        self, request: pb.ReverseDepositRequest, context: Context
    ) -> pb.ReverseDepositResponse:
        reversal = await self._submit(Reversal, order(reverse_deposit=request))
        return pb.ReverseDepositResponse(taken_sats=reversal.taken_sats, debt_sats=reversal.debt_sats)

    async def OpenRound(self, request: pb.OpenRoundRequest, context: Context) -> pb.OpenRoundResponse:
        opened = await self._submit(RoundView, order(open_round=request))
        return pb.OpenRoundResponse(round=show.round_(opened))

    async def LockRound(self, request: pb.LockRoundRequest, context: Context) -> pb.LockRoundResponse:
        locked = await self._submit(RoundView, order(lock_round=request))
        return pb.LockRoundResponse(round=show.round_(locked))

    async def DistributePool(
        self, request: pb.DistributePoolRequest, context: Context
    ) -> pb.DistributePoolResponse:
        paid = await self._submit(RoundView, order(distribute_pool=request))
        return pb.DistributePoolResponse(round=show.round_(paid))

    async def VoidRound(self, request: pb.VoidRoundRequest, context: Context) -> pb.VoidRoundResponse:
        voided = await self._submit(RoundView, order(void_round=request))
        return pb.VoidRoundResponse(round=show.round_(voided), refunded_sats=voided.refunded)

    async def GetRound(self, request: pb.GetRoundRequest, context: Context) -> pb.GetRoundResponse:
        found = await find_round(self._asking(context), self._history, request.round_id)
        return pb.GetRoundResponse(round=show.round_(found))

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Context) -> pb.OpenSessionResponse:
        viewer_id = caller.current().require_user()
        asked = journal_pb2.JournalOpenSession(viewer_id=viewer_id, request=request)
        session = await self._submit(SessionView, order(open_session=asked))
        return pb.OpenSessionResponse(session=show.session(session))

    async def CloseSession(
        self, request: pb.CloseSessionRequest, context: Context
    ) -> pb.CloseSessionResponse:
        viewer_id = caller.current().require_user()
        asked = journal_pb2.JournalCloseSession(viewer_id=viewer_id, request=request)
        session = await self._submit(SessionView, order(close_session=asked))
        return pb.CloseSessionResponse(session=show.session(session))

    async def Meter(
        self, request_iterator: AsyncIterator[pb.MeterRequest], context: Context
    ) -> AsyncIterator[pb.MeterResponse]:
        stream = trace.get_current_span().get_span_context()
        links = [Link(stream)] if stream.is_valid else []
        async for request in request_iterator:
            keys, seconds = request.meter_keys, request.seconds
            # Each report is a trace of its own: that of the stream would grow for days.
            with telemetry.tracer.start_as_current_span("meter report", OtelContext(), links=links):
                # Not a TaskGroup: a refusal has to reach the caller as it is.
                parts = await asyncio.gather(
                    *(
                        self._report(keys[at : at + METER_CHUNK], seconds[at : at + METER_CHUNK])
                        for at in range(0, len(keys), METER_CHUNK)
                    )
                )
            yield show.reports(request.sequence, parts)

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:
        who = caller.current()
        session = await self._ask(context, lambda state, _: queries.session(state, request.session_id, who))
        return pb.GetSessionResponse(session=show.session(session))

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Context
    ) -> pb.ListSessionsResponse:
        viewer_id = caller.current().require_user()
        page = await statements.sessions(
            self._asking(context), self._history, viewer_id, request.page_size, request.page_token
        )
        return pb.ListSessionsResponse(
            sessions=[show.session(one) for one in page.items], next_page_token=page.next_token
        )

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> pb.GetAccountResponse:
        queries.check_account(caller.current(), request.account_id)
        found = await self._ask(
            context, lambda state, _: queries.account(state, request.account_id, request.asset)
        )
        return pb.GetAccountResponse(account=show.account(found))

    async def BatchGetAccounts(
        self, request: pb.BatchGetAccountsRequest, context: Context
    ) -> pb.BatchGetAccountsResponse:
        for name in request.account_ids:
            queries.check_account(caller.current(), name)
        found = await self._ask(context, lambda state, _: queries.accounts(state, request.account_ids))
        return pb.BatchGetAccountsResponse(accounts=[show.account(one) for one in found])

    async def GetTotals(self, request: pb.GetTotalsRequest, context: Context) -> pb.GetTotalsResponse:
        return await self._ask(context, lambda state, head: show.totals(totals_of(state.books), head))

    async def ListPostings(
        self, request: pb.ListPostingsRequest, context: Context
    ) -> pb.ListPostingsResponse:
        queries.check_account(caller.current(), request.account_id)
        page = await statements.postings(
            self._asking(context),
            self._history,
            request.account_id,
            request.page_size,
            request.page_token,
        )
        return pb.ListPostingsResponse(
            postings=[show.posting(one) for one in page.items], next_page_token=page.next_token
        )

    async def GetTitle(self, request: pb.GetTitleRequest, context: Context) -> pb.GetTitleResponse:
        title = await self._ask(context, lambda state, _: state.titles.get(request.meme_id))
        return pb.GetTitleResponse(title=show.title(title))

    async def BatchGetTitles(
        self, request: pb.BatchGetTitlesRequest, context: Context
    ) -> pb.BatchGetTitlesResponse:
        found = await self._ask(context, lambda state, _: queries.titles(state, request.meme_ids))
        return pb.BatchGetTitlesResponse(titles=[show.title(one) for one in found])

    async def ListTitles(self, request: pb.ListTitlesRequest, context: Context) -> pb.ListTitlesResponse:
        page = await self._ask(
            context,
            lambda state, _: queries.titles_of(
                state, request.owner_id, request.page_size, request.page_token
            ),
        )
        return pb.ListTitlesResponse(
            titles=[show.title(one) for one in page.items], next_page_token=page.next_token
        )

    async def WatchLedger(
        self, request: pb.WatchLedgerRequest, context: Context
    ) -> AsyncIterator[pb.WatchLedgerResponse]:
        async with aclosing(watch_ledger(self._feed, request.cursor, self._snapshot)) as updates:
            async for update in updates:
                yield update

    async def GetRoundRecord(
        self, request: pb.GetRoundRecordRequest, context: Context
    ) -> pb.GetRoundRecordResponse:
        found = await find_record(self._asking(context), self._history, request.round_id)
        return pb.GetRoundRecordResponse(record=show_record.record(found))

    async def ExplainPayout(
        self, request: pb.ExplainPayoutRequest, context: Context
    ) -> pb.ExplainPayoutResponse:
        found = await find_record(self._asking(context), self._history, request.round_id)
        # Beside the writer: of a round whose titles moved often it takes long.
        told = await asyncio.to_thread(explain, found, request.user_id)
        return pb.ExplainPayoutResponse(explanation=show_record.explanation(told))

    async def _snapshot(self) -> pb.LedgerSnapshot:
        return await self._ledger.ask_anew(_snapshot_of)

    async def _ask(self, context: Context, question: Callable[[Machine, Head], Seen]) -> Seen:
        return await reading.ask(self._ledger, context, question)

    def _asking(self, context: Context) -> Ask:
        return partial(reading.ask, self._ledger, context)

    async def _report(self, meter_keys: Sequence[int], seconds: Sequence[int]) -> Report:
        asked = journal_pb2.JournalSeconds(meter_keys=meter_keys, seconds=seconds)
        return await self._submit(Report, order(report_seconds=asked))

    async def _submit(self, _: type[Answered], asked: Order) -> Answered:
        """Submits an order whose kind of answer the caller knows."""
        return cast("Answered", await self._ledger.submit(asked))


def _snapshot_of(state: Machine, head: Head) -> pb.LedgerSnapshot:
    current = queries.current_round(state)
    return pb.LedgerSnapshot(
        round=None if current is None else show.round_(current), journal_sequence=head.sequence
    )
