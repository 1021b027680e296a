"""One seed: a storm, then calm, then everything is checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from services.ledger.app.journal import Head
from services.ledger.domain.machine import Machine
from tests.simulation import final
from tests.simulation.actors.chain import ChainService
from tests.simulation.actors.echo import Echo
from tests.simulation.actors.gateway import Gateway
from tests.simulation.actors.hostile import Hostile
from tests.simulation.actors.market import Market
from tests.simulation.actors.reader import Reader
from tests.simulation.actors.rounds import RoundsService
from tests.simulation.actors.snapshots import Snapshotter
from tests.simulation.actors.vandal import Vandal
from tests.simulation.chaos import Chaos
from tests.simulation.instance import NoAnswer, state_hash
from tests.simulation.loop import VirtualLoop
from tests.simulation.world import Broken, Build, World

# Virtual seconds that a storm lasts at most, and that clients need at most when all is well again.
STORM_S_MAX = 90.0
CALM_S_MAX = 180.0
# Until somebody leads when all is well again: the longest lease, and what is still on its way.
RECOVER_S_MAX = 12.0
# Until late writes and messages have arrived.
SETTLE_S = 6.0
LOOK_EVERY_S = 1.0


class Actor(Protocol):
    """A client with something to do."""

    async def run(self) -> None:
        """Until the world closes."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """How a run went."""

    seed: int
    counts: Counter[str]
    digest: str
    virtual_s: float
    # Empty: all is well.
    problem: str
    story: tuple[str, ...]

    def check(self) -> None:
        """Raises Broken with the command that shows it again, and the last that happened."""
        if self.problem:
            story = "\n".join(self.story)
            raise Broken(f"{self.problem}\n{story}\n\nagain: make simulate SEED={self.seed}")


def simulate(seed: int, build: Build | None = None) -> Report:
    """Runs a seed from beginning to end."""
    loop = VirtualLoop()
    world = World(seed, loop, build or Build())
    with world.trace.catching_logs():
        try:
            loop.run_until_complete(_until_problem(world, _live(world)))
            return _report(seed, world)
        finally:
            _bury(world)


def _report(seed: int, world: World) -> Report:
    trace, problem = world.trace, world.problem
    return Report(
        seed,
        counts=Counter(trace.counts),
        digest=trace.digest,
        virtual_s=trace.now_s,
        problem=problem.result() if problem.done() else "",
        story=tuple(trace.lines),
    )


async def _until_problem(world: World, life: Coroutine[Any, Any, None]) -> None:
    living = asyncio.create_task(life)
    ended: list[asyncio.Future[Any]] = [living, world.problem]
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    if not world.problem.done():
        await living


async def _live(world: World) -> None:
    rounds = RoundsService(world)
    gateways = [Gateway(world, f"gateway{number}", lambda: rounds.playing) for number in range(2)]
    for node in world.nodes:
        node.start()
    raging = asyncio.create_task(Chaos(world).rage())
    looking = asyncio.create_task(_look(world))
    others = Market(world), Hostile(world), Vandal(world, rounds), Reader(world), Snapshotter(world)
    actors: tuple[Actor, ...] = (ChainService(world), *others, *gateways)
    playing = asyncio.create_task(rounds.run())
    acting = [asyncio.create_task(actor.run()) for actor in actors]
    await asyncio.wait([playing], timeout=STORM_S_MAX)
    await _cancel(raging)
    world.heal()
    await _leader_returns(world)
    try:
        async with asyncio.timeout(CALM_S_MAX):
            await playing
            world.closing = True
            await asyncio.gather(*acting)
    except TimeoutError:
        world.fail("a client got no answer although everything is well")
    await asyncio.sleep(SETTLE_S)
    await Echo(world).run()
    await _cancel(looking)
    await _leader_agrees(world)
    seen = {id_: one for gateway in gateways for id_, one in gateway.seen.items()}
    for problem in final.problems(world, rounds.played, seen):
        world.fail(problem)


async def _look(world: World) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for node in world.nodes:
            if node.instance is not None and node.instance.leading:
                await world.checker.look_at(node.instance)


async def _leader_returns(world: World) -> None:
    """Somebody leads soon after everything was mended."""
    mended_s = world.loop.time()
    while not any(node.instance is not None and node.instance.leading for node in world.nodes):
        await asyncio.sleep(0.1)
        if world.loop.time() > mended_s + RECOVER_S_MAX:
            world.fail(f"nobody leads {RECOVER_S_MAX} s after everything was mended")
            return


async def _leader_agrees(world: World) -> None:
    """The leader's memory, at the end, is what the journal makes."""

    def question(machine: Machine, head: Head) -> tuple[Head, str]:
        return head, state_hash(machine)

    for node in world.nodes:
        if node.instance is not None and node.instance.leading:
            try:
                head, digest = await node.instance.ask(question)
            except NoAnswer:
                continue
            reference = world.checker.reference
            if (head, digest) != (reference.head, state_hash(reference.machine)):
                world.fail("the leader's state at the end is not what the journal makes")
            return
    world.fail("nobody leads although everything is well")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _bury(world: World) -> None:
    """Ends all tasks, so that nothing of a run is left for the next."""
    loop = world.loop
    for node in world.nodes:
        node.crash()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=10))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
