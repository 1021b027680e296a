"""A gateway: opens sessions, reports them every second, closes them; sometimes loses its memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from services.ledger.domain.sessions import Receipt, Report, SessionView, StopReason
from tests.simulation import orders
from tests.simulation.actors.client import Client
from tests.simulation.instance import NoAnswer
from tests.simulation.world import World

RUNNING_MAX = 12


class Seen:
    """What is known of a session from outside: asked for, sent, and told."""

    def __init__(self, session_id: str, viewer_id: str, meme_id: str) -> None:
        self.session_id = session_id
        self.viewer_id = viewer_id
        self.meme_id = meme_id
        # The most seconds that any report has said.
        self.sent = 0
        self.told_seconds = self.told_burned = 0
        self.closed: SessionView | None = None


class Gateway(Client):
    """One gateway and its viewers."""

    def __init__(self, world: World, name: str, playing: Callable[[], tuple[str, ...]]) -> None:
        super().__init__(world, name)
        self._playing = playing
        # All that ever were; the simulator remembers what the gateway forgets.
        self.seen: dict[str, Seen] = {}
        # Running ones and when they began, on this gateway's clock.
        self._running: dict[str, float] = {}

    async def run(self) -> None:
        """Until the world closes and all its sessions are closed."""
        while not self.world.closing:
            life_s = self.random.expovariate(1 / self.world.plan.gateway_crash_every_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(life_s):
                    await self._live()
            if not self.world.closing:
                self.world.trace.count("gateways that lost their memory")
                self.world.trace.note(self.name, "loses its memory")
        async with asyncio.TaskGroup() as tasks:
            for session_id in list(self._running):
                tasks.create_task(self._close(session_id))

    async def _live(self) -> None:
        self._running.clear()
        async with asyncio.TaskGroup() as tasks:
            while not self.world.closing:
                await asyncio.sleep(1.0)
                tasks.create_task(self._report())
                if self._playing() and len(self._running) < RUNNING_MAX and self.random.random() < 0.8:
                    self.begin(tasks, self._open)
                if self._running and self.random.random() < 0.25:
                    self.begin(tasks, self._close_one)

    async def _open(self) -> None:
        meme_id = self.random.choice(self._playing())
        seen = Seen(self.world.new_id(), self.user(), meme_id)
        self.seen[seen.session_id] = seen
        budget_sats = self.random.choice((2, 5, 13, 60, 600))
        outcome = await self.sure(orders.open_session(seen.session_id, seen.viewer_id, meme_id, budget_sats))
        if isinstance(outcome, SessionView) and outcome.stop is StopReason.RUNNING:
            self._running[seen.session_id] = self.world.loop.time()

    async def _report(self) -> None:
        seconds = {id_: self._seconds(id_) for id_ in self._running}
        if seconds:
            with suppress(NoAnswer):  # the next one says more
                self._told(seconds, await self.once(orders.report(seconds)))

    async def _close_one(self) -> None:
        if self._running:
            await self._close(self.random.choice(list(self._running)))

    async def _close(self, session_id: str) -> None:
        if self._running.pop(session_id, None) is None:
            return
        seen = self.seen[session_id]
        if self.random.random() < 0.8:
            sent = {session_id: seen.sent}
            self._told(sent, await self.granted(orders.report(sent)))
        closed: SessionView = await self.granted(orders.close_session(session_id, seen.viewer_id))
        seen.closed = closed
        self.world.trace.count("sessions closed")

    def _seconds(self, session_id: str) -> int:
        seen = self.seen[session_id]
        seconds = int(self.world.loop.time() - self._running[session_id])
        if self.random.random() < 0.03:
            seconds += self.random.choice((1, 50, 2**31 - 100))  # seconds that have not been yet
        seen.sent = max(seen.sent, seconds)
        return seconds

    def _told(self, sent: Mapping[str, int], outcome: object) -> None:
        if not isinstance(outcome, Report):
            self.world.fail(f"{self.name} got {outcome!r} for a report")
            return
        receipts = {receipt.line: receipt for receipt in outcome.receipts}
        for line, (session_id, seconds) in enumerate(sent.items()):
            seen, receipt = self.seen[session_id], receipts.get(line)
            seen.told_burned = max(seen.told_burned, outcome.burned_sats[line])
            if receipt is None:
                seen.told_seconds = max(seen.told_seconds, seconds)
            else:
                self._receipt(receipt)

    def _receipt(self, receipt: Receipt) -> None:
        seen = self.seen[receipt.session_id]
        seen.told_seconds = max(seen.told_seconds, receipt.seconds)
        if receipt.stop is not StopReason.RUNNING:
            self._running.pop(receipt.session_id, None)
