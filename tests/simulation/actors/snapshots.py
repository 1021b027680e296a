"""Snapshots taken beside the instances, as by the command `snapshot`: two at once, killed anywhere."""

from __future__ import annotations

import asyncio

from mesh.errors import Failure
from tests.simulation.actors.client import Client
from tests.simulation.instance import stored_in, take_snapshot
from tests.simulation.loop import Process
from tests.simulation.world import World

STEPS_MAX = 150


class Snapshotter(Client):
    """Takes snapshots of what lies in the store."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "snapshots")
        self._started = 0

    async def run(self) -> None:
        """Until the world closes."""
        async with asyncio.TaskGroup() as tasks:
            while not self.world.closing:
                await self.pause(2.0, 12.0)
                tasks.create_task(self._take())

    async def _take(self) -> None:
        self._started += 1
        process = Process(f"snapshot{self._started}")
        store = self.world.connect(process)
        stored = stored_in(store, self.world.clock)
        task = self.world.loop.spawn(process, take_snapshot(stored, self.world.clock), process.name)
        if self.random.random() < 0.4:
            process.after_steps(self.random.randint(1, STEPS_MAX), lambda: self._kill(process, task))
        try:
            taken = await asyncio.shield(task)
        except Failure:
            self.world.trace.count("snapshots that failed")
        except asyncio.CancelledError:
            if not process.dead:
                self._kill(process, task)
                raise
            self.world.trace.count("snapshots killed")
        except Exception as problem:
            self.world.fail(f"a snapshot failed: {type(problem).__name__}: {problem}")
        else:
            self.world.trace.note(process.name, f"took {taken}")
            self.world.trace.count("snapshots taken")
        process.disarm()

    def _kill(self, process: Process, task: asyncio.Task[str]) -> None:
        process.dead = True
        self.world.loop.thaw(process)
        task.cancel()
