"""Leases: at most one process leads, and another takes over within seconds of its end.

The holder renews a record in the store; whoever wants to follow watches it. Nobody compares the clocks of two
machines: the holder counts `ttl_s` on its own monotonic clock from before each write, and stops believing a
`MARGIN` before its end; a candidate takes over once it has itself seen the record unchanged for longer than
`ttl_s` on its own. This holds as long as no clock runs apart from another by more than that margin.

A process paused in the midst of an action, or a store that forgets an acknowledged write, can break it. What
a leader writes is therefore fenced as well: each change of holder makes the fencing token greater.

    async def run_rounds(leadership: Leadership) -> None:
        ...  # cancelled when the lease is lost

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lead(Lease(store, "rounds", clock=clock), run_rounds))
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from mesh.clock import Clock
from mesh.errors import Aborted, Failure
from mesh.logs import logger
from mesh.records import Bins, Exists, InDoubt, Record, SetSpec, Stale, Store

# To be among the sets a service opens its store with.
LEASES = SetSpec("leases")

TTL_S = 5.0
# Parts of the time to live: how much earlier a holder stops believing; how often it renews, and others look,
# who learn of a lease that is released within LOOK_S_MAX.
MARGIN = 0.2
RENEW_EVERY = 0.25
RETRY_EVERY = 0.05
LOOK_EVERY, LOOK_S_MAX = 0.1, 0.1
SLEEP_S_MIN = 0.001
NEVER_S = float("-inf")

log = logger(__name__)


class LeadershipLost(Aborted):
    """This process does not lead any more."""

    reason = "LEADERSHIP_LOST"


@dataclass(frozen=True, slots=True)
class _Seen:
    holder: str
    token: int
    beat: int
    ttl_s: float
    generation: int

    @property
    def mark(self) -> tuple[int, int]:
        """Differs after every renewal, release and change of holder."""
        return self.token, self.beat


class Lease:
    """One claim on the lease of this name: of one process, used by one task."""

    def __init__(
        self, store: Store, name: str, *, clock: Clock, ttl_s: float = TTL_S, owner: str = ""
    ) -> None:
        self.name = name
        self.ttl_s = ttl_s
        self.clock = clock
        # Told apart from others of this name, and from this very process before its restart.
        self.owner = f"{owner or name}-{secrets.token_hex(8)}"
        self.token = 0
        self._store = store
        self._beat = 0
        self._generation = 0
        self._believe_until_s = NEVER_S
        self._mark: tuple[int, int] | None = None
        self._mark_since_s = NEVER_S

    @property
    def held(self) -> bool:
        """Whether this process may act as the holder now, under `token`."""
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """For how long it may, unless it renews; never negative."""
        return max(0.0, self._believe_until_s - self.clock.monotonic_s())

    async def acquire(self) -> bool:
        """Looks once and takes the lease if it is free: True when now held. Raises the store's failures.

        A claim in doubt counts as none: if it came through, the next look finds it and makes another, whose
        time and token are certain.
        """
        seen = await self._look()
        if seen is None:
            return await self._claim(None)
        now_s = self.clock.monotonic_s()
        if seen.mark != self._mark:
            self._mark, self._mark_since_s = seen.mark, now_s
        if seen.holder in ("", self.owner) or now_s - self._mark_since_s > seen.ttl_s:
            return await self._claim(seen)
        return False

    async def renew(self) -> bool:
        """Counts the time to live anew; False when the lease is lost. Raises the store's failures: try again.

        A renewal in doubt counts as none either: it only shows which record the next try has to replace.
        """
        begun_s = self.clock.monotonic_s()
        if not self.held:
            return False
        try:
            self._generation = await self._write(self._generation, self.owner, self.token, self._beat + 1)
        except (Stale, InDoubt):
            found = await self._look()
            if found is None or (found.holder, found.token) != (self.owner, self.token):
                self._believe_until_s = NEVER_S
                return False
            self._generation, self._beat = found.generation, found.beat
            raise
        self._beat += 1
        if self.held:  # an answer too late revives nothing: whoever stopped believing has stopped acting
            self._believe_from(begun_s)
        return self.held

    async def release(self) -> None:
        """Lets others take over at once. To be called when nothing acts as the holder any more."""
        self._believe_until_s = NEVER_S
        try:
            found = await self._look()
            if found is not None and found.holder == self.owner:
                await self._write(found.generation, "", found.token, found.beat + 1)
        except Failure as failure:
            log.warning("lease not released, it will run out", lease=self.name, problem=str(failure))

    async def _claim(self, seen: _Seen | None) -> bool:
        begun_s = self.clock.monotonic_s()
        token = seen.token + 1 if seen else 1
        try:
            self._generation = await self._write(seen.generation if seen else None, self.owner, token, 0)
        except (Exists, Stale):
            return False
        self.token, self._beat = token, 0
        self._believe_from(begun_s)
        return self.held

    def _believe_from(self, begun_s: float) -> None:
        self._believe_until_s = begun_s + self.ttl_s * (1 - MARGIN)

    async def _look(self) -> _Seen | None:
        record = await self._store.get(LEASES.name, self.name)
        return None if record is None else _seen(record)

    async def _write(self, generation: int | None, holder: str, token: int, beat: int) -> int:
        bins: Bins = {"holder": holder, "token": token, "beat": beat, "ttl_ms": round(self.ttl_s * 1000)}
        if generation is None:
            return await self._store.create(LEASES.name, self.name, bins)
        return await self._store.put_if(LEASES.name, self.name, bins, generation)


def _seen(record: Record) -> _Seen:
    return _Seen(
        holder=record.text("holder"),
        token=record.integer("token"),
        beat=record.integer("beat"),
        ttl_s=record.integer("ttl_ms") / 1000,
        generation=record.generation,
    )


class Leadership:
    """What the work of a leader knows of its lease."""

    def __init__(self, lease: Lease) -> None:
        self.token = lease.token
        self._lease = lease

    @property
    def held(self) -> bool:
        """Whether this process still leads under this token."""
        return self._lease.held and self._lease.token == self.token

    def check(self) -> None:
        """Raises LeadershipLost unless it still leads: for just before what only a leader may do."""
        if not self.held:
            raise LeadershipLost


async def lead(lease: Lease, work: Callable[[Leadership], Awaitable[None]]) -> None:
    """Runs `work` whenever this process leads; cancels it and awaits its end when the lease cannot be kept.

    Endless, until `work` returns or raises, which ends this as well, or until it is cancelled. In each case
    the lease is released behind the work, so that another process takes over at once.
    """
    ended = False
    while not ended:
        try:
            await _until_acquired(lease)
            log.info("leads", lease=lease.name, owner=lease.owner, token=lease.token)
            ended = await _work_while_held(lease, work(Leadership(lease)))
        finally:
            log.info("does not lead", lease=lease.name, owner=lease.owner)
            await lease.release()


async def _until_acquired(lease: Lease) -> None:
    while True:
        try:
            if await _to_its_end(lease.acquire()):
                return
        except Failure as failure:
            log.warning("lease cannot be seen", lease=lease.name, problem=str(failure))
        await lease.clock.sleep(min(lease.ttl_s * LOOK_EVERY, LOOK_S_MAX))


async def _to_its_end(look: Coroutine[Any, Any, bool]) -> bool:
    """What it found. Cancelled, it ends all the same: a claim may come to hold though nobody waits for it."""
    looking = asyncio.create_task(look)
    try:
        return await asyncio.shield(looking)
    except asyncio.CancelledError:
        await asyncio.gather(looking, return_exceptions=True)
        raise


async def _work_while_held(lease: Lease, work: Awaitable[None]) -> bool:
    """Whether the work ended by itself. Raises what it raised."""
    working = asyncio.ensure_future(work)
    tasks = (working, asyncio.create_task(_keep(lease)), asyncio.create_task(_until_expired(lease)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = working.done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            await task
    return ended


async def _keep(lease: Lease) -> None:
    """Renews; ends when the lease is lost."""
    while True:
        try:
            if not await lease.renew():
                return
            pause_s = lease.ttl_s * RENEW_EVERY
        except Failure as failure:
            log.warning("lease not renewed yet", lease=lease.name, problem=str(failure))
            pause_s = lease.ttl_s * RETRY_EVERY
        await lease.clock.sleep(pause_s)


async def _until_expired(lease: Lease) -> None:
    while left_s := lease.left_s:
        await lease.clock.sleep(max(left_s, SLEEP_S_MIN))
