"""Where numbered records end, found in a few looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


async def first_missing(start: int, is_there: Callable[[int], Awaitable[bool]]) -> int:
    """The first number from `start` on that is not there, where all before it are: by steps that double."""
    low, step = start, 1
    while await is_there(low + step - 1):
        low, step = low + step, 2 * step
    high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        if await is_there(middle):
            low = middle + 1
        else:
            high = middle
    return low
