"""One viewing, one stream: the stream that asked for it last has it, whichever gateway it is at.

Each gateway tells the others of every viewing that begins or is taken up, in a stream of Redis that all read:
its order is the order that counts, also for two that ask at once. While Redis is away only streams of one
gateway make way for each other. Nothing is paid twice then: the ledger counts a viewing's seconds once,
however many report them.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis

from graphql_gateway.live.meter import Meter, Seat
from mesh import logs
from mesh.clock import Clock
from mesh.feeds.stream import AWAY, BLOCK_MS, TIMEOUT_S, client_of

log = logs.logger(__name__)

KEY = "satreel:viewings"
LENGTH_MAX = 10_000
PAGE_MAX = 500
# A viewing does not wait longer to begin.
TELL_S = 0.25
RETRY_S = 0.2
NS_PER_MS = 1_000_000


class Takeovers:
    """What one gateway tells and hears."""

    def __init__(self, redis_url: str, clock: Clock, meter: Meter) -> None:
        self._redis_url = redis_url
        self._redis = client_of(redis_url)
        self._clock = clock
        self._meter = meter
        self._away = False

    async def tell(self, seat: Seat) -> None:
        """A stream has this seat now. Waits for at most TELL_S."""
        entry: Any = {"v": seat.session_id, "s": seat.id}
        try:
            async with asyncio.timeout(TELL_S):
                if seat.before is not None:
                    # Otherwise others might hear of them in the wrong order.
                    await seat.before.was_told.wait()
                told: Any = await self._redis.xadd(KEY, entry, maxlen=LENGTH_MAX)
                # Redis may lose the entry before we hear of it ourselves.
                seat.told_at = _place(told)
        except AWAY:
            # Nobody has heard of it; what is told from now on still counts.
            seat.told_at = (self._clock.now_ns() // NS_PER_MS, 0)
        finally:
            seat.before = None
            seat.was_told.set()

    async def run(self) -> None:
        """Listens for ever, over every break."""
        async with aclosing(self._redis), aclosing(client_of(self._redis_url)) as redis:
            while True:
                try:
                    await self._listen(redis)
                except AWAY as problem:
                    if not self._away:
                        log.warning("viewings taken over elsewhere are not heard of", problem=repr(problem))
                    self._away = True
                await asyncio.sleep(RETRY_S)

    async def _listen(self, redis: Redis) -> None:
        # All that is kept, also what was told during a break: what is old changes nothing.
        after = b"0"
        while True:
            async with asyncio.timeout(TIMEOUT_S):
                found: Any = await redis.xread({KEY: after}, count=PAGE_MAX, block=BLOCK_MS)
            self._away = False
            for _, page in found:
                for after, entry in page:
                    self._hear(entry[b"v"].decode(), entry[b"s"].decode(), _place(after))

    def _hear(self, session_id: str, seat_id: str, at: tuple[int, int]) -> None:
        seat = self._meter.find(session_id)
        if seat is None:
            return
        if seat.id == seat_id:
            seat.told_at = at
        elif seat.told_at is not None and at > seat.told_at:
            seat.take_over()


def _place(entry_id: bytes) -> tuple[int, int]:
    """Of an entry: milliseconds and number."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
