"""Load: calls that are ready made and sent as fast as answers come back, or at a fixed pace."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.ledger.server import Server

Call = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Sample:
    """What one load showed. CPU times are of whole processes, all threads."""

    operations: int = 0
    seconds: float = 0.0
    server_cpu_s: float = 0.0
    client_cpu_s: float | None = None
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def server_us(self) -> float:
        """Server CPU of an operation, in microseconds."""
        return self.server_cpu_s / self.operations * 1e6

    def percentile_ms(self, part: float) -> float:
        """The time within which this part of the calls was answered."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


@contextmanager
def watched(server: Server) -> Iterator[Sample]:
    """Times what runs in the block."""
    sample = Sample()
    server_s, client_s, begun_s = server.cpu_s(), time.process_time(), time.perf_counter()
    yield sample
    sample.seconds = time.perf_counter() - begun_s
    sample.client_cpu_s = time.process_time() - client_s
    sample.server_cpu_s = server.cpu_s() - server_s


async def closed_loop(
    server: Server,
    call: Call,
    requests: Iterable[bytes],
    *,
    in_flight: int,
    seconds_max: float,
    each: int = 1,
) -> Sample:
    """Keeps so many calls in flight until the requests are used up or the time is over.

    `each` is the number of operations in one request.
    """
    left = iter(requests)
    with watched(server) as sample:
        give_up_s = time.perf_counter() + seconds_max

        async def work() -> None:
            for request in left:
                begun_s = time.perf_counter()
                if begun_s > give_up_s:
                    return
                await call(request)
                sample.latencies_ms.append((time.perf_counter() - begun_s) * 1e3)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())
    sample.operations = each * len(sample.latencies_ms)
    return sample


async def paced(server: Server, call: Call, requests: list[bytes], *, per_s: int) -> Sample:
    """A call every `1 / per_s` seconds whatever is still unanswered; its time counts from when it was due."""
    with watched(server) as sample:
        begun_s = time.perf_counter()

        async def one(request: bytes, due_s: float) -> None:
            await call(request)
            sample.latencies_ms.append((time.perf_counter() - due_s) * 1e3)

        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                due_s = begun_s + number / per_s
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(one(request, due_s))
    sample.operations = len(requests)
    return sample
