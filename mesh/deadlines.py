"""How much time is left: gRPC does not hand a call's deadline on to calls made on its behalf; this does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# When the current call must be answered, on time.monotonic().
_deadline: ContextVar[float | None] = ContextVar("satreel_deadline", default=None)


def remaining_s() -> float | None:
    """Seconds left for the current call, never negative; None when it has no deadline."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def enter(timeout_s: float | None) -> None:
    """Sets the deadline for the rest of this task; None means no deadline. For interceptors."""
    _deadline.set(None if timeout_s is None else time.monotonic() + timeout_s)


@contextmanager
def within(timeout_s: float) -> Iterator[None]:
    """Calls made in the block end within `timeout_s`, or earlier when the current deadline is nearer."""
    left = remaining_s()
    before = _deadline.set(time.monotonic() + (timeout_s if left is None else min(timeout_s, left)))
    try:
        yield
    finally:
        _deadline.reset(before)
