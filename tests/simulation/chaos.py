"""Fate: what happens to machines, clocks and the store while the storm lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.simulation.instance import JOURNAL_SET, LEASES_SET
from tests.simulation.loop import Process
from tests.simulation.node import Node
from tests.simulation.world import World

# Half of the crashes and freezes come at a moment, the others so many steps later: at any await.
STEPS_MAX = 300


class Chaos:
    """Befalls a world until it is cancelled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random

    async def rage(self) -> None:
        """Endless."""
        plan = self._world.plan
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(plan.crash_every_s, self._fall))
            tasks.create_task(self._every(plan.freeze_every_s, self._freeze))
            tasks.create_task(self._every(plan.cut_every_s, self._cut_off))
            tasks.create_task(self._every(plan.jump_every_s, self._jump))
            tasks.create_task(self._every(plan.outage_every_s, self._outage))

    async def _every(self, mean_s: float, act: Callable[[Node], None]) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / mean_s))
            act(self._victim())

    def _victim(self) -> Node:
        """The leader more often than another."""
        leaders = [node for node in self._world.nodes if _leads(node)]
        return self._random.choice(leaders if leaders and self._random.random() < 0.5 else self._world.nodes)

    def _fall(self, node: Node) -> None:
        process = node.process
        if process is None:
            return
        if self._random.random() < 0.2:
            self._world.trace.count("instances stopped")
            node.stop()
            self._start_later(node)
        else:
            self._at_some_await(process, lambda: self._crash(node, process))

    def _crash(self, node: Node, process: Process) -> None:
        if node.process is process:
            self._world.trace.count("crashes of a leader" if _leads(node) else "crashes of a standby")
            node.crash()
            self._start_later(node)

    def _freeze(self, node: Node) -> None:
        process = node.process
        if process is not None:
            self._at_some_await(process, lambda: self._frozen(node, process))

    def _frozen(self, node: Node, process: Process) -> None:
        if node.process is not process:
            return
        suspended = self._random.random() < self._world.plan.suspended
        what = "suspensions" if suspended else "freezes"
        self._world.trace.count(f"{what} of a leader" if _leads(node) else f"{what} of a standby")
        node.freeze()
        ttl_s = self._world.plan.ttl_s
        frozen_s = self._random.uniform(ttl_s if suspended else 0.2, 3 * ttl_s)
        self._world.loop.outside(frozen_s, self._thaw, node, process, frozen_s if suspended else 0.0)

    def _thaw(self, node: Node, process: Process, stood_still_s: float) -> None:
        if node.process is process:
            if stood_still_s:
                # It may believe in a lease that another has taken: nobody but the journal fences it.
                node.clock.stood_still(stood_still_s)
                self._world.clocks_fail()
                if node.connection is not None and self._random.random() < 0.5:
                    node.connection.cut_off(self._world.loop.time() + self._world.plan.ttl_s, LEASES_SET)
            node.thaw()

    def _at_some_await(self, process: Process, act: Callable[[], None]) -> None:
        if self._random.random() < 0.5:
            process.after_steps(self._random.randint(1, STEPS_MAX), act)
        else:
            self._world.loop.outside(0, act)

    def _start_later(self, node: Node) -> None:
        self._world.loop.outside(self._random.uniform(0.1, 6.0), self._start, node)

    def _start(self, node: Node) -> None:
        if node.process is None:
            node.start()

    def _cut_off(self, node: Node) -> None:
        if node.connection is not None:
            only_journal = self._random.random() < 0.3
            self._world.trace.count(
                "instances cut off from the journal" if only_journal else "instances cut off"
            )
            self._world.trace.note(node.name, "is cut off")
            until_s = self._world.loop.time() + self._random.uniform(5.0 if only_journal else 0.5, 16.0)
            node.connection.cut_off(until_s, *([JOURNAL_SET] if only_journal else []))

    def _jump(self, node: Node) -> None:
        self._world.trace.count("clock jumps")
        skew_s = self._world.plan.skew_s
        node.clock.offset_s = self._random.uniform(-skew_s, skew_s)

    def _outage(self, _: Node) -> None:
        self._world.trace.count("store outages")
        self._world.trace.note("store", "is away")
        until_s = self._world.loop.time() + self._random.uniform(1.0, 14.0)
        for node in self._world.nodes:
            if node.connection is not None:
                node.connection.cut_off(until_s)


def _leads(node: Node) -> bool:
    return node.instance is not None and node.instance.leading
