"""A machine on which a ledger instance runs: started, crashed, frozen, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.clock import Clock
from mesh.records import Store
from services.ledger.app.journal import Head
from services.ledger.app.orders import Order
from services.ledger.domain.machine import Machine
from tests.simulation.clock import SkewedClock
from tests.simulation.instance import Committed, Instance, NoAnswer, Outcome, Question, Reading
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.store import Connection
from tests.simulation.trace import Trace

# Seconds of an instance's clock may be a little shorter than true ones.
SLACK = 1.1


@dataclass(frozen=True, slots=True)
class Reply:
    """What an instance says. An order's is as of the record `sequence`."""

    answered: bool
    value: Any
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer to a question, the record as of which it is given, and the time up to which that is all."""

    value: Any
    head: Head
    current_s: float


class Witness(Protocol):
    """Who sees what leaves an instance."""

    def committed(self, name: str, head: Head) -> None:
        """An instance holds a record for committed."""
        ...

    def replied(self, name: str, order: Order, outcome: Outcome) -> int:
        """An answer leaves; returns the record that it is of."""
        ...

    def fell(self, name: str, problem: BaseException) -> None:
        """An instance ended by itself, which it never should."""
        ...


Connect = Callable[[Process], Connection]
Compose = Callable[[str, Store, Clock, Committed], Instance]


class Node:
    """Runs one instance at a time, each start in a process of its own."""

    def __init__(
        self,
        *,
        name: str,
        loop: VirtualLoop,
        connect: Connect,
        clock: SkewedClock,
        witness: Witness,
        trace: Trace,
        compose: Compose,
    ) -> None:
        self.name = name
        self.clock = clock
        self.connection: Connection | None = None
        self.instance: Instance | None = None
        self.process: Process | None = None
        self._loop = loop
        self._connect = connect
        self._witness = witness
        self._trace = trace
        self._compose = compose
        self._starts = 0
        self._tasks: dict[asyncio.Task[None], None] = {}

    @property
    def up(self) -> bool:
        """Whether a process is there and runs."""
        return self.process is not None and not self.process.frozen

    def start(self) -> None:
        """A new process with nothing in memory."""
        self._starts += 1
        name = f"{self.name}.{self._starts}"
        process = self.process = Process(name)
        connection = self.connection = self._connect(process)
        self.instance = self._compose(name, connection, self.clock, self._told_of(name, process))
        self._trace.note(name, "starts")
        self._run(process, self._lead(process, self.instance))

    def crash(self) -> None:
        """Ends the process at once: nothing of it reaches anybody any more."""
        if self.process is not None:
            self._trace.note(self.process.name, "crashes")
            self.process.dead = True
            self._end()

    def stop(self) -> None:
        """Ends the process as an operator does: it may say good-bye."""
        if self.process is not None:
            self._trace.note(self.process.name, "is stopped")
            self._end()

    def freeze(self) -> None:
        """All its tasks stall; its clock goes on."""
        if self.process is not None:
            self._trace.note(self.process.name, "freezes")
            self.process.frozen = True

    def thaw(self) -> None:
        """It goes on where it was."""
        if self.process is not None and self.process.frozen:
            self._trace.note(self.process.name, "wakes up")
            self._loop.thaw(self.process)

    def submit(self, order: Order, respond: Callable[[Reply], None]) -> None:
        """A request arrives."""

        async def carry_out(instance: Instance) -> Reply:
            outcome = await instance.submit(order)
            return Reply(True, outcome, self._witness.replied(instance.name, order, outcome))

        self._serve(carry_out, respond)

    def ask(self, question: Question[Any], how: Reading, respond: Callable[[Reply], None]) -> None:
        """A question arrives; the reply says from what state it was answered."""

        async def carry_out(instance: Instance) -> Reply:
            def noted(machine: Machine, head: Head) -> Seen:
                staleness_s = instance.standing.staleness_s * SLACK
                return Seen(question(machine, head), head, self._loop.time() - staleness_s)

            return Reply(True, await instance.ask(noted, how))

        self._serve(carry_out, respond)

    def _serve(
        self, carry_out: Callable[[Instance], Coroutine[Any, Any, Reply]], respond: Callable[[Reply], None]
    ) -> None:
        process, instance = self.process, self.instance
        if process is None or instance is None:
            respond(Reply(False, "connection refused"))
            return

        async def serve() -> None:
            try:
                reply = await carry_out(instance)
            except NoAnswer as none:
                reply = Reply(False, str(none))
            if not process.dead:
                respond(reply)

        self._run(process, serve())

    def _run(self, process: Process, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.spawn(process, work, process.name)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _lead(self, process: Process, instance: Instance) -> None:
        try:
            await instance.run()
        except Exception as problem:
            while isinstance(problem, ExceptionGroup):
                problem = problem.exceptions[0]
            if not process.dead:
                self._witness.fell(instance.name, problem)

    def _told_of(self, name: str, process: Process) -> Committed:
        def committed(head: Head, _: object) -> None:
            if not process.dead:
                self._witness.committed(name, head)

        return committed

    def _end(self) -> None:
        assert self.process is not None
        self.process.disarm()
        self._loop.thaw(self.process)
        for task in list(self._tasks):
            task.cancel()
        self.process = self.instance = self.connection = None
