"""Parts of a client's minute, taken ahead: most requests are admitted without asking Redis.

A lease is small at first and doubles with use, up to a twentieth of the quota, so what gateways hold unused
is little. It ends with the window that it was taken from. Nothing is admitted that was not taken before.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, Self

from graphql_gateway.safety.windows import WINDOW_S, Grant, Wanted, Windows
from mesh.batching import Batcher
from mesh.clock import Clock

# Of the quota: the first lease, and the largest.
_FIRST_PART, _LARGEST_PART = 100, 20
_KEPT_MAX = 100_000


class Standing(NamedTuple):
    """After a request: what is left of the quota, and for how long this window goes on. When it was refused,
    `wait_s` says when it would not be.
    """

    quota: int
    left: int
    ends_s: float
    wait_s: float | None = None


@dataclass(slots=True)
class _Lease:
    quota: int
    size: int
    here: int = 0
    elsewhere: int = 0
    ends_at_s: float = -math.inf
    # Who needs as much as this is not asked for again until then.
    refused_need: float = math.inf
    refused_until_s: float = -math.inf
    renewal: asyncio.Task[None] | None = None


class Leases:
    """Of all clients. Enter it before use."""

    def __init__(self, windows: Windows, clock: Clock) -> None:
        self._clock = clock
        self._batcher: Batcher[Wanted, Grant] = Batcher(windows.lease)
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    async def __aenter__(self) -> Self:
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.__aexit__()

    async def take(self, key: str, *, quota: int, amount: int) -> Standing:
        """Takes `amount`, or nothing: then the standing has a `wait_s`. More than a quota is never given."""
        lease = self._lease(key, quota)
        if amount > quota:
            return Standing(quota, lease.here + lease.elsewhere, 0.0, wait_s=WINDOW_S)
        while True:
            now_s = self._clock.monotonic_s()
            if now_s >= lease.ends_at_s:
                lease.here = 0
            if lease.here >= amount:
                lease.here -= amount
                return Standing(quota, lease.here + lease.elsewhere, max(0.0, lease.ends_at_s - now_s))
            if now_s < lease.refused_until_s and amount >= lease.refused_need:
                left = lease.here + lease.elsewhere
                ends_s = max(0.0, lease.ends_at_s - now_s)
                return Standing(quota, left, ends_s, lease.refused_until_s - now_s)
            if lease.renewal is None:
                lease.renewal = asyncio.create_task(self._renew(key, lease, amount - lease.here))
            # Others wait for it too.
            await asyncio.shield(lease.renewal)

    async def _renew(self, key: str, lease: _Lease, need: int) -> None:
        try:
            want = max(need, lease.size)
            granted = await self._batcher.get(Wanted(key, lease.quota, need, want))
            if granted is not None:
                self._take(lease, need, granted)
        finally:
            lease.renewal = None

    def _take(self, lease: _Lease, need: int, grant: Grant) -> None:
        now_s = self._clock.monotonic_s()
        lease.elsewhere, lease.ends_at_s = grant.left, now_s + grant.ends_s
        if grant.granted:
            lease.here += grant.granted
            lease.size = min(2 * lease.size, max(1, lease.quota // _LARGEST_PART))
        else:
            lease.refused_need, lease.refused_until_s = need + lease.here, now_s + grant.wait_s

    def _lease(self, key: str, quota: int) -> _Lease:
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease(quota, max(1, quota // _FIRST_PART))
            while len(self._leases) > _KEPT_MAX:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(key)
        return lease
