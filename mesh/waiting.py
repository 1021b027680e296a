"""Calls that nobody took, as there is no leader at this moment, are made again until one has come.

Without a sidecar gRPC itself waits for a server (`wait_for_ready`); Envoy answers at once that the call has
reached nobody. At a change of leaders a call may also find the one of before, which begins nothing more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from mesh.errors import NOT_LEADER, Code, RemoteFailure

Answer = TypeVar("Answer")

PAUSE_S, PAUSE_S_MAX = 0.05, 0.2
# With less than this left nobody is asked once more: of such an attempt one would not know what came of it.
LAST_S = 0.1


def is_worth_it(failure: RemoteFailure, *, repeatable: bool) -> bool:
    """Whether a call that ended so may be made again and may find somebody. Overload is told at once."""
    if failure.unsent:
        return failure.code is Code.UNAVAILABLE
    return repeatable and failure.reason == NOT_LEADER


async def until_taken(
    attempt: Callable[[], Awaitable[Answer]],
    left_s: Callable[[], float],
    *,
    repeatable: bool,
    behind_sidecar: bool,
) -> Answer:
    """What an attempt gives that somebody took, while time is left. Raises RemoteFailure.

    What is `repeatable` an Envoy, or gRPC itself, makes several times, and speaks of the last: of those
    before nobody knows.
    """
    pauses: Iterator[float] | None = None
    while True:
        try:
            return await attempt()
        except RemoteFailure as failure:
            again = is_worth_it(failure, repeatable=repeatable and behind_sidecar)
            pauses = pauses or pauses_s()
            pause_s = next(pauses)
            if not again or pause_s + LAST_S >= left_s():
                failure.unsent &= not repeatable
                raise
        await asyncio.sleep(pause_s)


def pauses_s() -> Iterator[float]:
    """How long to wait each time: endless, doubled up to the longest, and never alike for all who wait."""
    pause_s = PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - nobody is harmed who guesses it
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
