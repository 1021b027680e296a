"""What runs on the instance that leads, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.rounds.app.assignment import Assignment
from services.rounds.app.board import Announcer
from services.rounds.app.driver import Driver
from services.rounds.app.followers import Followers


class Leading:
    """Driver, followers and announcer, together."""

    def __init__(
        self, *, driver: Driver, followers: Followers, announcer: Announcer, assignment: Assignment
    ) -> None:
        self._driver = driver
        self._followers = followers
        self._announcer = announcer
        self._assignment = assignment

    async def run(self, serving: Callable[[bool], Awaitable[None]]) -> None:
        """Runs until cancelled, and says from when and until when calls can be answered."""
        await self._assignment.load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._driver.run())
                await self._driver.started()
                await self._followers.assign()
                group.create_task(self._announcer.run(lambda: self._driver.current))
                group.create_task(self._followers.run())
                await serving(True)
        finally:
            await serving(False)
