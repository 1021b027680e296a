"""A circuit breaker: after several failures in a row the other side is left alone for a while."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mesh.clock import Clock
from mesh.errors import Failure

JITTER = 0.2
"""Rests are longer by up to this share of them, so that many who wait do not come back at once."""


class CircuitBreaker:
    """Closed: calls pass. Open, after `failures_max` in a row: none. Half open, after a rest: one does.

    The rest is `rest_s`, and twice as long after each call that fails half open, up to `rest_s_max`.
    `refusal` makes what is raised while open; `trips_on` are the failures that count, all others are answers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        refusal: Callable[[], Failure],
        trips_on: tuple[type[Failure], ...],
        failures_max: int,
        rest_s: float,
        rest_s_max: float = 0.0,
    ) -> None:
        self._clock = clock
        self._refusal = refusal
        self._trips_on = trips_on
        self._failures_max = failures_max
        self._rest_s = rest_s
        self._rest_s_max = max(rest_s, rest_s_max)
        self._failures = 0
        self._open_until_s = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now."""
        if self._failures >= self._failures_max and self._probing:
            return True
        return self.rest_left_s > 0

    @property
    def rest_left_s(self) -> float:
        """How long it is still left alone; 0 when it is not."""
        return max(0.0, self._open_until_s - self._clock.monotonic_s())

    def rest(self, seconds: float) -> None:
        """The other side asks to be left alone for so long."""
        self._open_until_s = max(self._open_until_s, self._clock.monotonic_s() + seconds)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Around one call. Raises the refusal when open."""
        if self.is_open:
            raise self._refusal()
        probing = self._probing = self._failures >= self._failures_max
        try:
            yield
        except self._trips_on:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._open()
            raise
        except Failure:
            # It answered, if only to refuse.
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if probing:
                self._probing = False

    def _open(self) -> None:
        rests = self._failures - self._failures_max
        rest_s = min(self._rest_s_max, self._rest_s * 2 ** min(rests, 30))
        self.rest(rest_s * (1 + random.uniform(0, JITTER)))  # noqa: S311 - to spread load, no secret
