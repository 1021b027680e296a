"""What the meter tells a ledger that is lost between two reports."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import cast

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from graphql_gateway.live import meter as metering
from graphql_gateway.live.meter import Meter
from mesh.clock import ManualClock
from mesh.errors import Unavailable
from mesh.ids import uuid7


class _Ledger:
    """Its streams break instead of answering, so many times."""

    def __init__(self, clock: ManualClock, breaks: int) -> None:
        self.clock, self.breaks = clock, breaks
        self.told: list[dict[int, int]] = []
        self._asked = pb.MeterRequest()

    def Meter(self) -> _Ledger:
        return self

    async def write(self, report: pb.MeterRequest) -> None:
        self._asked = report

    async def read(self) -> pb.MeterResponse:
        if self.breaks:
            self.breaks -= 1
            raise Unavailable("handing over")
        self.told.append(dict(zip(self._asked.meter_keys, self._asked.seconds, strict=True)))
        return pb.MeterResponse(sequence=self._asked.sequence, burned_sats=[0] * len(self._asked.meter_keys))

    def cancel(self) -> None:
        """Over."""


async def heard(breaks: int, *, running: int, left: int) -> list[dict[int, int]]:
    """What such a ledger hears of viewings that run, and of those that broke off after two seconds."""
    clock = ManualClock()
    ledger = _Ledger(clock, breaks)
    meter = Meter(cast("LedgerServiceStub", ledger), clock)
    with ExitStack() as open_:
        for key in range(left):
            with meter.seat(ledger_pb2.Session(id=uuid7(), meter_key=key)) as seat:
                await clock.advance(2)
                meter.keep_open(seat)
        for key in range(left, left + running):
            open_.enter_context(meter.seat(ledger_pb2.Session(id=uuid7(), meter_key=key)))
        reporting = asyncio.create_task(meter.run())
        await clock.advance(4)
        reporting.cancel()
        await asyncio.wait([reporting])
    return ledger.told


async def test_the_last_word_of_a_viewing_is_told_until_it_is_heard() -> None:
    assert await heard(2, running=0, left=1) == [{0: 2}]


async def test_a_report_holds_no_more_than_the_ledger_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "VIEWINGS_MAX", 2)
    assert [sorted(told) for told in await heard(0, running=1, left=2)] == [[0, 2], [1, 2], [2], [2]]
