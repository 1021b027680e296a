"""A simple ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from mesh import caller
from mesh.errors import Code, Failure, Unavailable
from tests.gateway.fakes.base import Feed, Log, found, missing, paged


class IdReused(Failure):
    """The session was opened with another body."""

    code = Code.ALREADY_EXISTS
    reason = "ID_REUSED"


class FakeLedger(ledger_service_pb2_grpc.LedgerServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.balances: dict[str, int] = {}
        self.titles: dict[str, ledger_pb2.Title] = {}
        self.postings: list[ledger_pb2.Posting] = []
        self.records: dict[str, ledger_pb2.RoundRecord] = {}
        # By round and user; "" stands for everybody.
        self.explanations: dict[tuple[str, str], ledger_pb2.PayoutExplanation] = {}
        self.sessions: dict[str, ledger_pb2.Session] = {}
        self.reports: list[ledger_service_pb2.MeterRequest] = []
        self.receipt_reasons: dict[str, ledger_pb2.ErrorReason.ValueType] = {}
        self.meter_broken = asyncio.Event()
        self.meter_streams = 0
        self.mute = asyncio.Event()
        self.mute.set()
        self.feed = Feed(
            lambda: ledger_service_pb2.WatchLedgerResponse(
                cursor="l0", snapshot=ledger_service_pb2.LedgerSnapshot()
            )
        )

    async def GetAccount(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        account_id = request.account_id
        if account_id not in self.balances:
            raise missing("ACCOUNT_NOT_FOUND")
        return ledger_service_pb2.GetAccountResponse(account=self.account(account_id))

    def account(self, account_id: str) -> ledger_pb2.Account:
        balance = self.balances[account_id]
        return ledger_pb2.Account(id=account_id, asset="sat", balance=balance, available=balance)

    async def ListPostings(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        page, token = paged(self.postings, request.page_size, request.page_token)
        return ledger_service_pb2.ListPostingsResponse(postings=page, next_page_token=token)

    async def GetRoundRecord(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.round_id not in self.records:
            raise missing("ROUND_NOT_FOUND")
        return ledger_service_pb2.GetRoundRecordResponse(record=self.records[request.round_id])

    async def ExplainPayout(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        key = (request.round_id, request.user_id)
        if key not in self.explanations:
            raise missing("ROUND_NOT_FOUND")
        return ledger_service_pb2.ExplainPayoutResponse(explanation=self.explanations[key])

    async def BatchGetTitles(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return ledger_service_pb2.BatchGetTitlesResponse(titles=found(self.titles, request.meme_ids))

    async def GetTitle(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.meme_id not in self.titles:
            raise missing("TITLE_NOT_FOUND")
        return ledger_service_pb2.GetTitleResponse(title=self.titles[request.meme_id])

    async def OpenSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session = self.sessions.setdefault(
            request.session_id,
            ledger_pb2.Session(
                id=request.session_id,
                viewer_id=caller.current().require_user(),
                meme_id=request.meme_id,
                budget_sats=request.budget_sats,
                meter_key=len(self.sessions) + 1,
            ),
        )
        if session.viewer_id != caller.current().require_user():
            raise IdReused
        return ledger_service_pb2.OpenSessionResponse(session=session)

    async def GetSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session, who = self.sessions.get(request.session_id), caller.current().user_id
        if session is None or who not in {None, session.viewer_id}:
            raise missing("SESSION_NOT_FOUND")
        return ledger_service_pb2.GetSessionResponse(session=session)

    async def CloseSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session = self.sessions[request.session_id]
        session.stop_reason = session.stop_reason or ledger_pb2.STOP_REASON_CLOSED
        return ledger_service_pb2.CloseSessionResponse(session=session)

    async def Meter(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        self.meter_streams += 1
        async for report in request_iterator:
            if self.meter_broken.is_set():
                self.meter_broken.clear()
                raise Unavailable("going down")
            await self.mute.wait()
            self.reports.append(report)
            by_key = {session.meter_key: session for session in self.sessions.values()}
            receipts = [
                self._receipt(by_key[key], seconds)
                for key, seconds in zip(report.meter_keys, report.seconds, strict=True)
            ]
            yield ledger_service_pb2.MeterResponse(
                sequence=report.sequence,
                burned_sats=[receipt.burned_sats for receipt in receipts],
                receipts=[receipt for receipt in receipts if receipt.reason or receipt.stop_reason],
            )

    def _receipt(self, session: ledger_pb2.Session, seconds: int) -> ledger_service_pb2.MeterReceipt:
        session.seconds = max(session.seconds, seconds)
        session.burned_sats = min(session.seconds, session.budget_sats) if session.seconds >= 3 else 0
        if session.seconds >= session.budget_sats:
            session.stop_reason = ledger_pb2.STOP_REASON_BUDGET_SPENT
        return ledger_service_pb2.MeterReceipt(
            meter_key=session.meter_key,
            session_id=session.id,
            seconds=session.seconds,
            burned_sats=session.burned_sats,
            stop_reason=session.stop_reason,
            reason=self.receipt_reasons.get(session.id, ledger_pb2.ERROR_REASON_UNSPECIFIED),
        )

    async def GetTotals(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return ledger_service_pb2.GetTotalsResponse(coins_owed_sats=70, users_sats=70)

    async def WatchLedger(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news
