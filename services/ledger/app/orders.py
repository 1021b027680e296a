"""Commands on their way: a bounded queue in front of the writer, taken in batches, answered one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry import trace

from mesh import telemetry
from mesh.errors import Exhausted
from services.ledger.app.journal import BATCH_BYTES_MAX, BATCH_MAX
from services.ledger.domain.commands import (
    Command,
    CreateTransfers,
    CreditDeposits,
    PostTransfers,
    ReportSeconds,
)
from services.ledger.domain.machine import Answer
from services.ledger.domain.reasons import Reason, Refused

# Lines of a report that cost as much as a transfer.
LINES_PER_TRANSFER = 5


_queued = telemetry.gauge("ledger.orders.waiting", "Commands that wait for the writer.", unit="{command}")


class QueueFull(Exhausted):
    """The ledger has as many commands waiting as it takes; try again later."""

    reason = Reason.QUEUE_FULL.name


@dataclass(frozen=True, slots=True)
class Order:
    """A command and the form in which the journal keeps it."""

    command: Command
    wire: bytes


class Waiting:
    """An order whose answer is awaited."""

    __slots__ = ("answer", "asker", "order", "weight")

    def __init__(self, order: Order, answer: asyncio.Future[Answer]) -> None:
        self.order = order
        self.answer = answer
        # The call that waits.
        self.asker = trace.get_current_span()
        self.weight = weight_of(order.command)

    def settle(self, answer: Answer | Refused) -> None:
        """Answers, unless whoever asked has gone."""
        if self.answer.done():
            return
        if isinstance(answer, Refused):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


def weight_of(command: Command) -> int:
    """How much of a record a command takes: it bounds how long the writer is at one batch."""
    match command:
        case CreateTransfers():
            return len(command.transfers)
        case PostTransfers():
            return len(command.columns.ids)
        case CreditDeposits():
            return len(command.deposits)
        case ReportSeconds():
            return 1 + len(command.meter_keys) // LINES_PER_TRANSFER
    return 1


class Orders:
    """What waits for the writer."""

    def __init__(self, queue_max: int) -> None:
        self._queue_max = queue_max
        self._waiting: deque[Waiting] = deque()
        self._woken = asyncio.Event()
        # How much was placed so far, in transfers and what costs as much.
        self.placed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    async def place(self, order: Order) -> Answer:
        """Returns its answer, when there is one. Raises QueueFull, and COMMAND_TOO_BIG."""
        if len(order.wire) > BATCH_BYTES_MAX:
            raise Refused(
                Reason.COMMAND_TOO_BIG,
                "the command is larger than a record of the journal takes",
                bytes=len(order.wire),
                maximum=BATCH_BYTES_MAX,
            )
        if len(self._waiting) >= self._queue_max:
            raise QueueFull(waiting=len(self._waiting))
        waiting = Waiting(order, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.placed += waiting.weight
        self._woken.set()
        return await waiting.answer

    async def wait(self) -> None:
        """Returns when an order waits."""
        self._woken.clear()
        while not self._waiting:
            await self._woken.wait()
            self._woken.clear()

    def take_batch(self) -> list[Waiting]:
        """As many as go into one record of the journal; none when none wait.

        What nobody waits for any more, because its time is over or its caller gone, is not begun.
        """
        _queued.set(len(self._waiting))
        batch: list[Waiting] = []
        weight = size_bytes = 0
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.answer.cancelled():
                self._waiting.popleft()
                continue
            weight += waiting.weight
            size_bytes += len(waiting.order.wire)
            if batch and (weight > BATCH_MAX or size_bytes > BATCH_BYTES_MAX):
                break
            batch.append(self._waiting.popleft())
        return batch

    def turn_away(self) -> None:
        """Refuses all that wait: none of them was begun."""
        refuse(self._waiting, "this instance stopped leading; repeat the call")
        self._waiting.clear()


def refuse(orders: Iterable[Waiting], message: str) -> None:
    """Answers NOT_LEADER: whether they were or will be carried out, only repeating them tells."""
    for waiting in orders:
        waiting.settle(Refused(Reason.NOT_LEADER, message))
