"""Which sessions were ended before their time, heard by every process that trusts user tokens.

A user token says that its session went on when it was signed. Identity tells of each session that it ends
in a stream of Redis, in the same step that ends it, and each process reads that stream. So a session is known
to go on at the later of two times: when the token was signed, and when the stream was last read to its end. A
token is believed for FRESH_S after that: while Redis is away, only what was signed just now is, and nothing
is believed longer than FRESH_S after its session ended. Clocks of machines are taken to agree to a second.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis

from mesh import logs
from mesh.clock import NS_PER_S, Clock
from mesh.errors import Unauthenticated, Unavailable
from mesh.feeds.stream import AWAY, BLOCK_MS, TIMEOUT_S, client_of

log = logs.logger(__name__)

KEY = "satreel:revocations"
FRESH_S = 5
# Longer than any user token lives.
KEPT_S = 660
PAGE_MAX = 500
RETRY_S = 0.2
MS_PER_S = 1_000

# For scripts that end sessions.
TELL = f"""
local function tell_revoked(key, session_id)
  local oldest_ms = (redis.call('TIME')[1] - {KEPT_S}) * {MS_PER_S}
  redis.call('XADD', key, 'MINID', '~', string.format('%.0f', oldest_ms), '*', 's', session_id)
end
"""


class SessionEnded(Unauthenticated):
    """The session behind the user token was ended."""

    reason = "TOKEN_INVALID"


class RevocationsUnknown(Unavailable):
    """Whether the session still goes on is not known for the moment: Redis is away."""

    reason = "REVOCATIONS_UNKNOWN"


class Revocations:
    """What one process has heard of. `on_ended` gets the ids of sessions as they are heard of."""

    def __init__(self, redis_url: str, clock: Clock) -> None:
        self._redis_url = redis_url
        self._clock = clock
        # By when they ended, in milliseconds: oldest first.
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._known_s = -math.inf
        self._away = False
        self.on_ended: Callable[[Collection[str]], None] = lambda _: None

    @property
    def are_known(self) -> bool:
        """Whether the stream was read to its end within FRESH_S."""
        return self._clock.monotonic_s() - self._known_s <= FRESH_S

    def has_ended(self, session_id: str | None) -> bool:
        """Whether the session is known to have ended."""
        return session_id in self._ended

    def check(self, session_id: str | None, signed_at_s: int) -> None:
        """Raises SessionEnded, or RevocationsUnknown when nothing recent tells that the session goes on."""
        if session_id in self._ended:
            raise SessionEnded
        if not self.are_known and self._clock.now_ns() - signed_at_s * NS_PER_S > FRESH_S * NS_PER_S:
            raise RevocationsUnknown

    async def run(self) -> None:
        """Reads for ever. After a break it reads all that is kept, whatever became of the server."""
        async with aclosing(client_of(self._redis_url)) as redis:
            while True:
                try:
                    await self._read(redis)
                except AWAY as problem:
                    if not self._away:
                        log.warning("revocations cannot be read", problem=repr(problem))
                    self._away = True
                await asyncio.sleep(RETRY_S)

    async def _read(self, redis: Redis) -> None:
        after: bytes | str = "0"
        # The first look does not wait: what there is, is the answer.
        block_ms: int | None = None
        while True:
            began_s = self._clock.monotonic_s()
            async with asyncio.timeout(TIMEOUT_S):
                found: Any = await redis.xread({KEY: after}, count=PAGE_MAX, block=block_ms)
            entries: list[tuple[bytes, dict[bytes, bytes]]] = [entry for _, page in found for entry in page]
            if entries:
                after = entries[-1][0]
                self._take({fields[b"s"].decode(): int(id_.partition(b"-")[0]) for id_, fields in entries})
            if len(entries) < PAGE_MAX:
                self._known_s, self._away = began_s, False
                block_ms = BLOCK_MS

    def _take(self, ended: dict[str, int]) -> None:
        fresh = [session_id for session_id in ended if session_id not in self._ended]
        self._ended.update(ended)
        if fresh:
            self.on_ended(frozenset(fresh))
        oldest_ms = max(ended.values()) - KEPT_S * MS_PER_S
        while next(iter(self._ended.values())) < oldest_ms:
            self._ended.popitem(last=False)
