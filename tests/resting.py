"""A store that answers from threads beside a clock that tests move: time passes only while nobody works."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from mesh.clock import ManualClock
from mesh.records import Store

# So many turns of the event loop without a question to the store: whoever runs waits for something else.
TURNS = 20
PAUSE_S = 0.001


class RestingStore:
    """A `Store` that knows when nobody waits for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way = 0

    def __getattr__(self, name: str) -> Any:
        what = getattr(self._store, name)
        return self._counted(what) if inspect.iscoroutinefunction(what) else what

    def _counted(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(*given: Any, **named: Any) -> Any:
            self._under_way += 1
            try:
                return await ask(*given, **named)
            finally:
                self._under_way -= 1

        return asked

    async def rest(self) -> None:
        """Lets everything run until it stands still."""
        turns = 0
        while turns < TURNS:
            await asyncio.sleep(PAUSE_S if self._under_way else 0)
            turns = 0 if self._under_way else turns + 1

    async def pass_time(self, clock: ManualClock, seconds: float, *, step_s: float) -> None:
        """Moves time on in steps, each when all stands still."""
        for _ in range(round(seconds / step_s)):
            await self.rest()
            await clock.advance(step_s)
        await self.rest()
