"""How much each client has had within a minute, counted in Redis for all gateways together.

A sliding window of two counters: what was taken in the minute before counts by the part of it that is less
than a minute ago. One script call serves any number of clients, each at once or not at all. While Redis is
away every gateway counts for itself: limits hold for each process instead of for all of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from redis.asyncio import Redis

from mesh import logs
from mesh.clock import Clock
from mesh.feeds.stream import AWAY

log = logs.logger(__name__)

WINDOW_S = 60
_WINDOW_MS = WINDOW_S * 1_000
# One hash tag: all clients of a batch are in one slot of a cluster.
_PREFIX = "satreel:{limits}:"
REDIS_S = 0.25
RETRY_S = 1.0
_OWN_MAX = 100_000

# ARGV: the window in ms, then of each key its quota, what is needed and what is wanted.
# Answers for each key: granted, left, ms to the window's end, ms until what is needed would be granted.
_LEASE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])
local number = math.floor(now / window)
local passed = now - number * window
local answers = {}
for i, key in ipairs(KEYS) do
  local quota, need, want = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local taken, before = 0, 0
  local kept = redis.call('GET', key)
  if kept then
    local at, t, b = string.match(kept, '^(%d+) (%d+) (%d+)$')
    if tonumber(at) == number then taken, before = tonumber(t), tonumber(b)
    elseif tonumber(at) == number - 1 then before = tonumber(t) end
  end
  local free = math.max(0, math.floor(quota - taken - before * (window - passed) / window))
  local granted, wait = 0, 0
  if free >= need then
    granted = math.min(want, free)
    taken = taken + granted
    redis.call('SET', key, string.format('%.0f %.0f %.0f', number, taken, before), 'PX', 2 * window)
  elseif taken <= quota - need then
    wait = math.max(1, math.ceil(window * (1 - (quota - need - taken) / before) - passed))
  else
    wait = math.ceil(window - passed + window * (1 - (quota - need) / taken))
  end
  for _, value in ipairs({granted, free - granted, window - passed, wait}) do
    answers[#answers + 1] = value
  end
end
return answers
"""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """`want` of a key's `quota` within the window, or as much of it as there is, but `need` at least."""

    key: str
    quota: int
    need: int
    want: int


@dataclass(frozen=True, slots=True)
class Grant:
    """`granted` is 0 when there was less than needed: then `wait_s` says when there will be enough."""

    granted: int
    left: int
    ends_s: float
    wait_s: float


class Windows(Protocol):
    """Counts."""

    async def lease(self, wanted: Sequence[Wanted]) -> dict[Wanted, Grant]:
        """Takes what is there."""


class SharedWindows:
    """In Redis. Raises what redis-py raises."""

    def __init__(self, redis: Redis) -> None:
        self._lease = redis.register_script(_LEASE)

    async def lease(self, wanted: Sequence[Wanted]) -> dict[Wanted, Grant]:
        """In one round trip."""
        arguments = [number for one in wanted for number in (one.quota, one.need, one.want)]
        answers = cast(
            "list[int]",
            await self._lease(keys=[_PREFIX + one.key for one in wanted], args=[_WINDOW_MS, *arguments]),
        )
        fours = zip(*[iter(answers)] * 4, strict=True)
        return {
            one: Grant(granted, left, ends_ms / 1_000, wait_ms / 1_000)
            for one, (granted, left, ends_ms, wait_ms) in zip(wanted, fours, strict=True)
        }


class OwnWindows:
    """In this process; as the script counts."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._kept: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    async def lease(self, wanted: Sequence[Wanted]) -> dict[Wanted, Grant]:
        """At once."""
        number, passed_s = divmod(self._now_s(), WINDOW_S)
        return {one: self._lease(one, int(number), passed_s) for one in wanted}

    def _lease(self, one: Wanted, number: int, passed_s: float) -> Grant:
        taken, before = self._counted(one.key, number)
        ends_s = WINDOW_S - passed_s
        free = max(0, math.floor(one.quota - taken - before * ends_s / WINDOW_S))
        if free >= one.need:
            granted = min(one.want, free)
            self._kept[one.key] = (number, taken + granted, before)
            self._kept.move_to_end(one.key)
            while len(self._kept) > _OWN_MAX:
                self._kept.popitem(last=False)
            return Grant(granted, free - granted, ends_s, 0.0)
        if taken <= one.quota - one.need:
            wait_s = max(0.001, WINDOW_S * (1 - (one.quota - one.need - taken) / before) - passed_s)
        else:
            wait_s = ends_s + WINDOW_S * (1 - (one.quota - one.need) / taken)
        return Grant(0, free, ends_s, wait_s)

    def _counted(self, key: str, number: int) -> tuple[int, int]:
        at, taken, before = self._kept.get(key, (0, 0, 0))
        if at == number:
            return taken, before
        return 0, taken if at == number - 1 else 0


class EnduringWindows:
    """The shared ones; this process's own while they are away, tried again every second."""

    def __init__(self, shared: Windows, own: Windows, clock: Clock) -> None:
        self._shared = shared
        self._own = own
        self._clock = clock
        self._away_until_s = -math.inf
        self._away = False

    async def lease(self, wanted: Sequence[Wanted]) -> dict[Wanted, Grant]:
        """Never fails, and takes a quarter of a second at most."""
        if self._clock.monotonic_s() >= self._away_until_s:
            try:
                async with asyncio.timeout(REDIS_S):
                    granted = await self._shared.lease(wanted)
            except AWAY as problem:
                if not self._away:
                    log.warning("limits are counted by each gateway for itself", problem=repr(problem))
                self._away = True
                self._away_until_s = self._clock.monotonic_s() + RETRY_S
            else:
                self._away = False
                return granted
        return await self._own.lease(wanted)
