"""The viewing meter: one stream to the ledger, one report a second for all running sessions of this process.

A report says how long each session has run in all, so a repeated or late one changes nothing; the ledger's receipts
say what each has burned and whether it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc.aio
from satreel.ledger.v1 import ledger_service_pb2
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Exhausted, Failure
from mesh.ids import uuid7

log = logs.logger(__name__)

SESSIONS_MAX = 50_000
REPORT_EVERY_S = 1.0
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 3.0


class MeterFull(Exhausted):
    """This gateway meters as many sessions as it can bear; try another."""

    reason = "METER_FULL"


@dataclass(slots=True)
class _Running:
    started_s: float
    # Only the newest receipt matters: each tells the whole.
    receipts: asyncio.Queue[ledger_service_pb2.MeterReceipt] = field(
        default_factory=partial(asyncio.Queue, 1)
    )


class Meter:
    """Reports the running sessions of this gateway process to the ledger."""

    def __init__(self, ledger: LedgerServiceStub, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._gateway_id = uuid7()
        self._sequence = 0
        self._running: dict[str, _Running] = {}

    @contextmanager
    def metered(self, session_id: str) -> Any:
        """Reports the session until the block ends; gives the queue of its receipts. Raises MeterFull."""
        if len(self._running) >= SESSIONS_MAX:
            raise MeterFull(maximum=SESSIONS_MAX)
        running = self._running[session_id] = _Running(self._clock.monotonic_s())
        try:
            yield running.receipts
        finally:
            del self._running[session_id]

    async def run(self) -> None:
        """Keeps the stream to the ledger, over every break. Never returns."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                async for response in self._ledger.Meter(self._reports()):
                    wait_s = RETRY_FIRST_S
                    self._hand_out(response)
            except (Failure, grpc.aio.AioRpcError) as problem:
                log.warning("the meter's stream broke", problem=str(problem), retry_s=wait_s)
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_LAST_S)

    async def _reports(self) -> AsyncIterator[ledger_service_pb2.MeterRequest]:
        while True:
            await self._clock.sleep(REPORT_EVERY_S)
            if self._running:
                yield self._report()

    def _report(self) -> ledger_service_pb2.MeterRequest:
        now_s = self._clock.monotonic_s()
        self._sequence += 1
        return ledger_service_pb2.MeterRequest(
            gateway_id=self._gateway_id,
            sequence=self._sequence,
            sessions=[
                ledger_service_pb2.SessionSeconds(
                    session_id=session_id, seconds=int(now_s - running.started_s)
                )
                for session_id, running in self._running.items()
            ],
        )

    def _hand_out(self, response: ledger_service_pb2.MeterResponse) -> None:
        for receipt in response.receipts:
            running = self._running.get(receipt.session_id)
            if running is None:
                continue
            if running.receipts.full():
                running.receipts.get_nowait()
            running.receipts.put_nowait(receipt)
