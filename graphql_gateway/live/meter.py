"""The viewing meter: one stream to the ledger, one report a second for all running viewings of this process.

A report says how long each viewing has run in all, so a repeated or late one changes nothing; the ledger's
answer says what each has burned, and of those that ended why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

from mesh import logs
from mesh.clock import Clock
from mesh.errors import Exhausted, FailedPrecondition, Failure
from mesh.ids import uuid7

log = logs.logger(__name__)

VIEWINGS_MAX = 50_000
REPORT_EVERY_S = 1.0
# The ledger closes what nobody has reported for 10 seconds: by then a new stream must have been tried.
ANSWER_WAIT_S = 3.0
RETRY_S = 0.2


class MeterFull(Exhausted):
    """This gateway meters as many viewings as it can bear; try another."""

    reason = "METER_FULL"


class AlreadyWatching(FailedPrecondition):
    """This viewing goes on on another stream: the one that asked for it last."""

    reason = "ALREADY_WATCHING"


class Receipt(NamedTuple):
    """Where a viewing stands in the ledger. A `reason` says that the last report of it was not counted."""

    seconds: int
    burned_sats: int
    stop_reason: ledger_pb2.StopReason.ValueType = ledger_pb2.STOP_REASON_UNSPECIFIED
    reason: ledger_pb2.ErrorReason.ValueType = ledger_pb2.ERROR_REASON_UNSPECIFIED


class Seat:
    """A viewing's place in the meter: reported from now on, on top of the seconds that it has run before."""

    def __init__(self, session: ledger_pb2.Session, clock: Clock) -> None:
        self._clock = clock
        self._started_s = clock.monotonic_s() - session.seconds
        self._left_s: float | None = None
        self._heard_s = clock.monotonic_s()
        # Only the newest receipt matters: each tells the whole.
        self._receipts: asyncio.Queue[Receipt] = asyncio.Queue(1)
        self.session_id = session.id
        self.meter_key = session.meter_key
        # Tells it from another seat of the same viewing, here or at another gateway.
        self.id = uuid7()
        self.is_taken_over = False
        # The seat here that it took the viewing over from.
        self.before: Seat | None = None
        # Where in what gateways tell each other it stands (`takeovers`); None until it is told.
        self.told_at: tuple[int, int] | None = None
        self.was_told = asyncio.Event()

    @property
    def seconds(self) -> int:
        """Full seconds so far."""
        until_s = self._clock.monotonic_s() if self._left_s is None else self._left_s
        return int(until_s - self._started_s)

    def leave(self) -> None:
        """Nothing counts from now on."""
        self._left_s = self._clock.monotonic_s()

    def stand_at(self, seconds: int) -> None:
        """Counts on from so many: the ledger's clock says that more cannot have passed.

        It was set back, or another ledger leads, whose clock is behind. Reports that are ahead for good would
        be refused for good, and the viewing closed as silent.
        """
        if self._left_s is None:
            self._started_s = self._clock.monotonic_s() - seconds

    def take_over(self) -> None:
        """The viewing goes on on another stream: this one ends."""
        self.is_taken_over = True
        self.offer(Receipt(self.seconds, 0))

    @property
    def silent_s(self) -> float:
        """Time since the ledger was heard of last."""
        return self._clock.monotonic_s() - self._heard_s

    def heard(self) -> None:
        """The ledger answered for this viewing."""
        self._heard_s = self._clock.monotonic_s()

    def offer(self, receipt: Receipt) -> None:
        """Keeps the newest receipt."""
        self.heard()
        if self._receipts.full():
            self._receipts.get_nowait()
        self._receipts.put_nowait(receipt)

    async def receipt(self, wait_s: float) -> Receipt | None:
        """The next receipt; None when none comes in time. Raises AlreadyWatching."""
        try:
            async with asyncio.timeout(wait_s):
                receipt = await self._receipts.get()
        except TimeoutError:
            return None
        if self.is_taken_over:
            raise AlreadyWatching
        return receipt


class Meter:
    """Reports the running viewings of this gateway process to the ledger."""

    def __init__(self, ledger: LedgerServiceStub, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._gateway_id = uuid7()
        self._sequence = 0
        self._seats: dict[str, Seat] = {}
        # Left since the last report that was heard, and open in the ledger for whoever comes back.
        self._left: list[Seat] = []

    def require_room(self) -> None:
        """Raises MeterFull."""
        if len(self._seats) >= VIEWINGS_MAX:
            raise MeterFull(maximum=VIEWINGS_MAX)

    def find(self, session_id: str) -> Seat | None:
        """The seat of a viewing, if it runs here."""
        return self._seats.get(session_id)

    @contextmanager
    def seat(self, session: ledger_pb2.Session) -> Iterator[Seat]:
        """A viewing's place until the block ends. A stream that had it before ends with AlreadyWatching."""
        before = self._seats.get(session.id)
        seat = self._seats[session.id] = Seat(session, self._clock)
        if before is not None:
            before.take_over()
            seat.before = before
        try:
            yield seat
        finally:
            if self._seats.get(session.id) is seat:
                del self._seats[session.id]

    def keep_open(self, seat: Seat) -> None:
        """Reports a viewing a last time, as it stands: then the ledger waits for whoever comes back."""
        seat.leave()
        self._left.append(seat)

    async def run(self) -> None:
        """Keeps the stream to the ledger, over every break. Never returns."""
        while True:
            try:
                await self._report_on_one_stream()
            # InvalidStateError: grpc.aio's word for writing to a stream that is over.
            except (Failure, TimeoutError, asyncio.InvalidStateError) as problem:
                log.warning("the meter's stream broke", problem=repr(problem))
            await self._clock.sleep(RETRY_S)

    async def _report_on_one_stream(self) -> None:
        """Report and answer take turns, so the next report notices a stream that died in silence."""
        stream = self._ledger.Meter()
        try:
            while True:
                await self._clock.sleep(REPORT_EVERY_S)
                left = self._left[: max(0, VIEWINGS_MAX - len(self._seats))]
                seats = [*self._seats.values(), *left]
                if not seats:
                    continue
                report = self._report(seats)
                async with asyncio.timeout(ANSWER_WAIT_S):
                    await stream.write(report)
                    response = await stream.read()
                if not isinstance(response, ledger_service_pb2.MeterResponse):
                    return
                # Now their last word has been heard; others may have left meanwhile.
                del self._left[: len(left)]
                _hand_out(seats, report, response)
        finally:
            stream.cancel()

    def _report(self, seats: Sequence[Seat]) -> ledger_service_pb2.MeterRequest:
        self._sequence += 1
        return ledger_service_pb2.MeterRequest(
            gateway_id=self._gateway_id,
            sequence=self._sequence,
            meter_keys=[seat.meter_key for seat in seats],
            seconds=[seat.seconds for seat in seats],
        )


def _hand_out(
    seats: Sequence[Seat],
    report: ledger_service_pb2.MeterRequest,
    response: ledger_service_pb2.MeterResponse,
) -> None:
    told = {receipt.meter_key: receipt for receipt in response.receipts}
    for seat, seconds, burned_sats in zip(seats, report.seconds, response.burned_sats, strict=True):
        receipt = told.get(seat.meter_key)
        if receipt is None:
            seat.offer(Receipt(seconds, burned_sats))
        else:
            if receipt.reason == ledger_pb2.ERROR_REASON_SECOND_OUT_OF_RANGE:
                seat.stand_at(receipt.seconds)
            seat.offer(Receipt(receipt.seconds, receipt.burned_sats, receipt.stop_reason, receipt.reason))
