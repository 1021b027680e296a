"""A simulated world: machines, a store, a network, people and memes, and who watches over it all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

from mesh.clock import NS_PER_S, Clock
from mesh.ids import uuid7
from mesh.records import Store
from services.ledger.app.ledger import STALENESS_S_MAX
from services.ledger.app.orders import Order
from tests.simulation.checks import Checker
from tests.simulation.clock import SkewedClock
from tests.simulation.expected import Expected
from tests.simulation.instance import (
    JOURNAL_SET,
    STORE_SETS,
    Committed,
    Instance,
    JournalOf,
    Reference,
    real_journal,
)
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import Network, NetworkFaults
from tests.simulation.node import Compose, Node, Reply
from tests.simulation.plan import Plan, draw_plan
from tests.simulation.store import Connection, StoreFaults
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth

# How long an instance may believe in what its clock has hidden from it: as old as it may answer from.
BELIEF_S = STALENESS_S_MAX + 1


class Broken(AssertionError):  # noqa: N818 - names what was found
    """The simulation found something that must not be."""


@dataclass(frozen=True, slots=True)
class Build:
    """How the parts under test are made; tests that break them on purpose give others."""

    journal_of: JournalOf = real_journal
    instance: type[Instance] = Instance
    truth: type[Truth] = Truth


class World:
    """Everything of one run. All that is random in it comes from one generator."""

    def __init__(self, seed: int, loop: VirtualLoop, build: Build) -> None:
        self.loop = loop
        self.random = Random(seed)
        self.plan: Plan = draw_plan(self.random)
        self.trace = Trace(loop)
        self.clock = SkewedClock(loop)
        self.problem: asyncio.Future[str] = loop.create_future()
        self.store_faults, self.network_faults = replace(self.plan.store), replace(self.plan.network)
        self.truth = build.truth(STORE_SETS)
        self.truth.created, self.truth.forgot = self._created, self._forgot
        self.checker = Checker(self.reference(), self.trace, self.fail)
        self.expected = Expected()
        self.nodes = [self._node(number, build) for number in range(self.plan.instances)]
        self.network = Network(
            nodes=self.nodes, loop=loop, random=self.random, faults=self.network_faults, trace=self.trace
        )
        self.network.arrived = self._arrived
        self.users = [self.new_id() for _ in range(self.plan.viewers)]
        self.checker.watched = [f"user:{user}" for user in self.users]
        # Memes with their creators.
        self.memes = {self.new_id(): self.random.choice(self.users) for _ in range(self.plan.memes)}
        # Set when no more is to be begun.
        self.closing = False

    def now_ns(self) -> int:
        """True time."""
        return self.clock.now_ns()

    def new_id(self, ahead_s: float = 0) -> str:
        """A fresh UUIDv7, made now or in the future."""
        return uuid7(self.now_ns() + round(ahead_s * NS_PER_S), self.random.getrandbits(74))

    def days_pass(self, seconds: float) -> None:
        """All clocks go on by so much at once: nobody did anything in that time."""
        self.trace.note("world", f"{seconds / 86_400} days pass")
        for clock in (self.clock, *(node.clock for node in self.nodes)):
            clock.offset_s += seconds

    def hex64(self) -> str:
        """A hash of a block or a transaction."""
        return f"{self.random.getrandbits(256):064x}"

    def fail(self, problem: str) -> None:
        """The first of these ends the run."""
        self.trace.note("PROBLEM", problem)
        if not self.problem.done():
            self.problem.set_result(problem)

    def reference(self) -> Reference:
        """A ledger without faults over what the store holds."""
        return Reference(self.truth, self.loop)

    def clocks_fail(self) -> None:
        """For a while there may be two who believe that they lead: only what they write is fenced.

        What they read is as old as their belief; leases and clocks are all that guards it.
        """
        self.checker.lenient_until_s = self.loop.time() + 2 * self.plan.ttl_s + BELIEF_S

    def heal(self) -> None:
        """Store and network are well from now on, and all machines run."""
        self.trace.note("chaos", "everything is mended")
        for name in StoreFaults.__slots__:
            setattr(self.store_faults, name, 0.0)
        for name in NetworkFaults.__slots__:
            setattr(self.network_faults, name, 0.0)
        for node in self.nodes:
            node.thaw()
            if node.process is None:
                node.start()
            else:
                node.process.disarm()
            if node.connection is not None:
                node.connection.cut_off(0.0)

    def _node(self, number: int, build: Build) -> Node:
        plan, random = self.plan, self.random
        clock = SkewedClock(
            self.loop,
            offset_s=random.uniform(-plan.skew_s, plan.skew_s),
            rate=1 + random.uniform(-plan.drift, plan.drift),
        )
        return Node(
            name=f"ledger{number}",
            loop=self.loop,
            connect=self.connect,
            clock=clock,
            witness=self.checker,
            trace=self.trace,
            compose=self._compose(build),
        )

    def _compose(self, build: Build) -> Compose:
        def compose(name: str, store: Store, clock: Clock, committed: Committed) -> Instance:
            return build.instance(
                name,
                store,
                clock,
                journal_of=build.journal_of,
                ttl_s=self.plan.ttl_s,
                committed=committed,
            )

        return compose

    def connect(self, process: Process) -> Connection:
        """The store as this process sees it."""
        return Connection(
            truth=self.truth,
            process=process,
            loop=self.loop,
            random=self.random,
            faults=self.store_faults,
            trace=self.trace,
        )

    def _created(self, set_name: str, key: str) -> None:
        if set_name == JOURNAL_SET:
            self.checker.landed(key)

    def _forgot(self, set_name: str) -> None:
        self.trace.count("acknowledged updates forgotten")
        self.trace.note("store", f"forgot an update of {set_name}")
        self.clocks_fail()

    def _arrived(self, order: Order, reply: Reply) -> None:
        self.checker.arrived(order, reply)
