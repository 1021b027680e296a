"""A circuit breaker: after several failures in a row the other side is left alone for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.clock import Clock
from mesh.errors import Failure
from services.content.app.rendering import NotSent


class CircuitBreaker:
    """Closed: calls pass. Open, after `failures_max` in a row: none. Half open, `rest_s` later: one does."""

    def __init__(
        self, *, clock: Clock, trips_on: tuple[type[Failure], ...], failures_max: int, rest_s: float
    ) -> None:
        self._clock = clock
        self._trips_on = trips_on
        self._failures_max = failures_max
        self._rest_s = rest_s
        self._failures = 0
        self._open_until_s = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now."""
        return self._failures >= self._failures_max and (
            self._probing or self._clock.monotonic_s() < self._open_until_s
        )

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Around one call. Raises NotSent when open."""
        if self.is_open:
            raise NotSent("AITubo failed several times in a row and is left alone for a while")
        probing = self._probing = self._failures >= self._failures_max
        try:
            yield
        except self._trips_on:
            self._failures += 1
            self._open_until_s = self._clock.monotonic_s() + self._rest_s
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
