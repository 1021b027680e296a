"""The service as callers see it: it answers while it leads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh import logs
from mesh.errors import Failure
from services.chain.app.desk import RETRY_S, TRANSIENT, Desk
from services.chain.app.parts import Rules, World
from services.chain.app.ports import Fence
from services.chain.domain.failures import NotLeader

log = logs.logger(__name__)


class Chain:
    """Answers while it leads: `desk` is where."""

    def __init__(self, world: World, rules: Rules, serving: Callable[[bool], Awaitable[None]]) -> None:
        self.world = world
        self.rules = rules
        self._serving = serving
        self._desk: Desk | None = None
        self._fence: Fence | None = None

    @property
    def desk(self) -> Desk:
        """The running term. Raises NotLeader, also when this process was paused and another leads by now."""
        if self._desk is None or self._fence is None:
            raise NotLeader
        try:
            self._fence.check()
        except Failure as lost:
            raise NotLeader from lost
        return self._desk

    async def reign(self, fence: Fence) -> None:
        """Term after term, until cancelled or until the fence falls: one that breaks is recovered from."""
        while True:
            try:
                await self.term(fence)
            except Exception:
                log.exception("term ended")
            await self.world.clock.sleep(RETRY_S)
            fence.check()

    async def term(self, fence: Fence) -> None:
        """Recovers, serves, works; ends by an exception or by being cancelled."""
        desk = await self._opened(fence)
        self._desk, self._fence = desk, fence
        try:
            await self._serving(True)
            await desk.run()
        finally:
            self._desk = None
            await self._serving(False)

    async def _opened(self, fence: Fence) -> Desk:
        while True:
            try:
                return await Desk.open(self.world, self.rules, fence)
            except TRANSIENT as problem:
                log.warning("cannot recover yet", problem=str(problem))
                await self.world.clock.sleep(RETRY_S)
