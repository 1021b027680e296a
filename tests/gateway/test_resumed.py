"""A viewing that breaks and is taken up, at the real ledger: what the gap costs, and when it is too late."""

from __future__ import annotations

import asyncio

from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from graphql_gateway.live.meter import Meter, Receipt, Seat
from mesh.clock import NS_PER_S, SystemClock
from mesh.ids import uuid7
from tests.gateway.client import WAIT_S
from tests.gateway.world import until
from tests.ledger.rpc.house import BEN, MEME, House, open_house


class _Clock(SystemClock):
    """The house's, until it is set apart; a second's sleep takes a moment."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.ahead_s = 0

    def monotonic_s(self) -> float:
        return self._house.clock.now_ns() / NS_PER_S + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


async def test_the_gap_costs_nothing_and_ten_seconds_are_waited(valkey_url: str) -> None:
    async with open_house(valkey_url) as house:
        await house.fund(BEN, 1_000)
        await house.open_round()
        meter = Meter(house.gateway, _Clock(house))
        running = asyncio.create_task(meter.run())
        asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=400)

        async def opened() -> ledger_pb2.Session:
            with house.server.user(BEN):
                return (await house.gateway.OpenSession(asked)).session

        async def stands() -> ledger_pb2.Session:
            return (await house.gateway.GetSession(pb.GetSessionRequest(session_id=asked.session_id))).session

        async def watched(seat: Seat, seconds: int) -> None:
            """So many seconds more, each reported; then the connection breaks."""
            for _ in range(seconds):
                house.clock.shift_ns += NS_PER_S
                while (receipt := await seat.receipt(WAIT_S)) is not None and receipt.seconds < seat.seconds:
                    assert not receipt.stop_reason, receipt
            meter.keep_open(seat)

        with meter.seat(await opened()) as seat:
            await watched(seat, 5)
        await until(lambda: not meter._left)
        # Real time passes too, on a busy machine much.
        house.clock.shift_ns += 5 * NS_PER_S
        again = await opened()
        assert (again.seconds, again.stop_reason) == (5, ledger_pb2.STOP_REASON_UNSPECIFIED)
        with meter.seat(again) as seat:
            await watched(seat, 2)
        await until(lambda: not meter._left)
        assert (await stands()).burned_sats == 7
        house.clock.shift_ns += 12 * NS_PER_S
        async with asyncio.timeout(WAIT_S):
            while (late := await opened()).stop_reason != ledger_pb2.STOP_REASON_SILENCE:
                await asyncio.sleep(0.05)
        assert (late.seconds, late.burned_sats) == (7, 7)
        account = (await house.market.GetAccount(pb.GetAccountRequest(account_id=f"user:{BEN}"))).account
        assert (account.balance, account.held) == (993, 0)
        running.cancel()
        await asyncio.wait([running])


async def test_a_viewing_outlives_a_ledger_whose_clock_is_set_back(valkey_url: str) -> None:
    """It ends no viewing: what cannot have passed by its clock is not paid, and not reported for ever."""
    async with open_house(valkey_url) as house:
        await house.fund(BEN, 1_000)
        await house.open_round()
        clock = _Clock(house)
        meter = Meter(house.gateway, clock)
        running = asyncio.create_task(meter.run())
        asked = pb.OpenSessionRequest(session_id=uuid7(), meme_id=MEME, budget_sats=400)
        with house.server.user(BEN):
            session = (await house.gateway.OpenSession(asked)).session
        with meter.seat(session) as seat:

            async def passes(seconds: int) -> Receipt:
                """What is reported of the time after: two reports may be under way."""
                house.clock.shift_ns += seconds * NS_PER_S
                for _ in range(2):
                    await seat.receipt(WAIT_S)
                receipt = await seat.receipt(WAIT_S)
                assert receipt is not None
                assert not receipt.stop_reason, receipt
                return receipt

            await passes(6)
            house.clock.shift_ns -= 12 * NS_PER_S
            clock.ahead_s = 12
            for _ in range(15):
                receipt = await passes(2)
        # Of 36 seconds those count in which the ledger's time went on.
        assert 22 <= receipt.seconds <= 24
        assert receipt.burned_sats == receipt.seconds
        running.cancel()
        await asyncio.wait([running])
