"""Calls that reached nobody, as an Envoy on the way says, are made again: a leader may be on its way.

Without a sidecar gRPC itself waits for a server (`wait_for_ready`); Envoy answers at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from mesh.errors import Code, RemoteFailure

Answer = TypeVar("Answer")

PAUSE_S, PAUSE_S_MAX = 0.05, 0.5


def is_worth_it(failure: RemoteFailure) -> bool:
    """Whether a call that ended so did nothing and may find somebody later. Overload is told at once."""
    return failure.unsent and failure.code is Code.UNAVAILABLE


async def until_sent(attempt: Callable[[], Awaitable[Answer]], left_s: Callable[[], float]) -> Answer:
    """What an attempt gives that reached somebody, while time is left. Raises RemoteFailure."""
    pauses: Iterator[float] | None = None
    while True:
        try:
            return await attempt()
        except RemoteFailure as failure:
            if not is_worth_it(failure):
                raise
            pauses = pauses or pauses_s()
            if (pause_s := next(pauses)) >= left_s():
                raise
        await asyncio.sleep(pause_s)


def pauses_s() -> Iterator[float]:
    """How long to wait each time: endless, doubled up to the longest, and never alike for all who wait."""
    pause_s = PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - nobody is harmed who guesses it
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
