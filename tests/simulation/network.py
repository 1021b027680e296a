"""The network between clients and instances: loses, delays, repeats, reorders requests and replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from services.ledger.app.orders import Order
from tests.simulation.instance import NoAnswer, Outcome, Question, Reading
from tests.simulation.loop import VirtualLoop
from tests.simulation.node import Node, Reply, Seen
from tests.simulation.trace import Trace


@dataclass(slots=True)
class NetworkFaults:
    """How often what goes wrong with a message, each from 0 to 1."""

    lost: float = 0.0
    slow: float = 0.0
    repeated: float = 0.0


class Network:
    """Carries requests to instances and replies back."""

    def __init__(
        self, *, nodes: Sequence[Node], loop: VirtualLoop, random: Random, faults: NetworkFaults, trace: Trace
    ) -> None:
        self.nodes = nodes
        # Told of every reply to an order that arrives, those that nobody waits for any more included.
        self.arrived: Callable[[Order, Reply], None] = lambda _, __: None
        self._loop = loop
        self._random = random
        self._faults = faults
        self._trace = trace

    async def submit(self, node: Node, order: Order, timeout_s: float) -> Outcome:
        """One try. Raises NoAnswer."""

        def deliver(respond: Callable[[Reply], None]) -> None:
            node.submit(order, respond)

        reply = await self._call(deliver, timeout_s, lambda reply: self.arrived(order, reply))
        outcome: Outcome = reply.value
        return outcome

    async def ask(self, node: Node, question: Question[Any], how: Reading, timeout_s: float) -> Seen:
        """One try. Raises NoAnswer."""

        def deliver(respond: Callable[[Reply], None]) -> None:
            node.ask(question, how, respond)

        reply = await self._call(deliver, timeout_s, lambda _: None)
        seen: Seen = reply.value
        return seen

    async def _call(
        self,
        deliver: Callable[[Callable[[Reply], None]], None],
        timeout_s: float,
        arrived: Callable[[Reply], None],
    ) -> Reply:
        first: asyncio.Future[Reply] = self._loop.create_future()

        def arrive(reply: Reply) -> None:
            if reply.answered:
                arrived(reply)
            if not first.done():
                first.set_result(reply)

        self._send("request", lambda: deliver(lambda reply: self._send("reply", lambda: arrive(reply))))
        try:
            async with asyncio.timeout(timeout_s):
                reply = await first
        except TimeoutError:
            raise NoAnswer("no reply in time") from None
        if not reply.answered:
            raise NoAnswer(str(reply.value))
        return reply

    def _send(self, what: str, arrive: Callable[[], None]) -> None:
        fate = self._random.random()
        if fate < self._faults.lost:
            self._trace.count(f"{what} lost")
            return
        if fate < self._faults.lost + self._faults.repeated:
            self._trace.count(f"{what} repeated")
            self._loop.outside(self._random.expovariate(1 / 5), arrive)
        self._loop.outside(self._delay_s(), arrive)

    def _delay_s(self) -> float:
        if self._random.random() < self._faults.slow:
            self._trace.count("message slow")
            return self._random.expovariate(1 / 2)
        return self._random.uniform(0.0005, 0.005)
