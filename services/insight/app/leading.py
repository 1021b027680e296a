"""What runs on the instance that leads, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.insight.app.listening import Listening
from services.insight.app.live import Live
from services.insight.app.tallies import Tallies


class Leading:
    """Listening, counting, and the newest values, together."""

    def __init__(self, *, tallies: Tallies, listening: Listening, live: Live) -> None:
        self._tallies = tallies
        self._listening = listening
        self._live = live

    async def run(self, serving: Callable[[bool], Awaitable[None]]) -> None:
        """Runs until cancelled, and says from when and until when calls can be answered."""
        await self._tallies.load()
        await self._listening.load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listening.run())
                group.create_task(self._live.run())
                await serving(True)
        finally:
            await serving(False)
