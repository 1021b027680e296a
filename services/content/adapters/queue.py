"""Background work on saq: Redis holds who is due when, and may forget it; the records know what is left."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from redis.exceptions import RedisError
from saq import Job, Queue, Worker
from saq.job import Status
from saq.queue.redis import RedisQueue
from saq.types import WorkerInfo

from mesh import telemetry
from mesh.clock import NS_PER_S, Clock
from mesh.logs import logger
from services.content.domain.values import InstantNs, MemeId

QUEUE = "satreel-content"
ADVANCE = "advance"
# Shorter than the client's patience with Redis, so that waiting for work does not look like a fault.
DEQUEUE_S = 2.0
AWAY_PAUSE_S = 1.0
REDIS_TIMEOUT_S = 5.0
# A worker's own look at dead jobs; the sweep of records is what finds them for sure.
QUEUE_SWEEP_S = 60
EARLY_NS = NS_PER_S // 2
END_S_MAX = 5
COUNT_EVERY_S = 5.0

_MESSAGING = {
    "messaging.system": "redis",
    "messaging.destination.name": QUEUE,
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
}

log = logger(__name__)
_jobs = telemetry.gauge(
    "content.jobs",
    "Background jobs of all instances: waiting for a worker, at work, or due later.",
    unit="{job}",
    by=("state",),
)


class PatientQueue(RedisQueue):
    """A queue that can be closed, and whose workers pause while Redis is away."""

    closed = False

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        """The next job, or None."""
        try:
            if not self.closed:
                return await super().dequeue(timeout, poll_interval)
        except (RedisError, OSError) as problem:
            log.warning("queue away", problem=type(problem).__name__)
        await asyncio.sleep(AWAY_PAUSE_S)
        return None

    async def sweep(self, lock: int = QUEUE_SWEEP_S, abort: float = 0.0) -> list[str]:  # noqa: ARG002 - as overridden
        """Forgets jobs that were taken and are in nobody's hands, so that they can be queued anew.

        The library would abort them, and with them any that a worker took this very moment. Forgetting one of
        those does no harm: the records know what is left, and a lease lets one at it.
        """
        taken = [_text(name) for name in await self.redis.lrange(self._active, 0, -1)]
        jobs = [self.deserialize(found) for found in await self.redis.mget(taken)] if taken else []
        forgotten = [
            job_id
            for job_id, job in zip(taken, jobs, strict=True)
            if job is None or job.status is not Status.ACTIVE or job.stuck
        ]
        async with self.redis.pipeline(transaction=True) as pipe:
            for job_id in forgotten:
                pipe.lrem(self._active, 0, job_id)
                pipe.zrem(self._incomplete, job_id)
                pipe.delete(job_id)
            await pipe.execute()
        return forgotten

    async def counted(self) -> dict[str, int]:
        """How many jobs there are, by state. Raises RedisError, OSError."""
        queued, active = await self.count("queued"), await self.count("active")
        # Jobs come and go between the counts.
        later = max(0, await self.count("incomplete") - queued - active)
        return {"queued": queued, "active": active, "later": later}

    async def write_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Nobody asks for it: what the workers do is in the records."""


class QuietWorker(Worker[Any]):
    """A worker that leaves signals to the runtime, and tells in a line when Redis went away."""

    SIGNALS = []  # noqa: RUF012 - the library's own attribute

    def _process(self, previous_task: asyncio.Task[Any] | None = None) -> None:
        # The library looks at no task that ended; an exception would surface whenever it is collected.
        if previous_task is not None and not previous_task.cancelled() and previous_task.exception():
            log.warning("queue away", problem=type(previous_task.exception()).__name__)
        super()._process(previous_task)

    async def end(self) -> None:
        """Waits for no more jobs and ends; those at work go back into the queue."""
        self.event.set()
        # The library itself would first wait for tasks that only sleep.
        for task in self.tasks:
            task.cancel()
        await self.stop()


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


@dataclass(frozen=True, slots=True)
class SaqQueue:
    """The port `Queue`."""

    queue: Queue
    clock: Clock
    job_s_max: int

    async def enqueue(self, meme_id: MemeId, generation: int, due_ns: InstantNs) -> None:
        """Queues the meme once per generation of its record."""
        early = due_ns <= self.clock.now_ns() + EARLY_NS
        job = Job(
            ADVANCE,
            kwargs={"meme_id": meme_id, **telemetry.carried(trace.get_current_span().get_span_context())},
            key=f"{meme_id}:{generation}",
            timeout=self.job_s_max,
            retries=1,
            ttl=-1,
            scheduled=0 if early else math.ceil(due_ns / NS_PER_S),
        )
        try:
            await self.queue.enqueue(job)
        except (RedisError, OSError) as problem:
            log.warning("not queued, the sweep will find it", meme_id=meme_id, problem=type(problem).__name__)


async def _traced(step: Awaitable[None], traceparent: str) -> None:
    """A trace of its own, linked to that of who queued the job: an upload, or the step before."""
    cause = telemetry.context_of(traceparent)
    with telemetry.tracer.start_as_current_span(
        f"process {QUEUE}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        attributes=_MESSAGING,
        links=[Link(cause)] if cause.is_valid else [],
    ):
        await step


@asynccontextmanager
async def open_queue(redis_url: str, name: str = QUEUE) -> AsyncIterator[PatientQueue]:
    """The queue on this Redis. Does not fail when Redis is away."""
    # It tells of every job thrice; the pipeline tells of those that matter.
    logging.getLogger("saq").setLevel(logging.WARNING)
    client = redis.asyncio.Redis.from_url(
        redis_url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
    )
    try:
        yield PatientQueue(client, name=name)
    finally:
        await client.aclose()


async def work(
    queue: PatientQueue, advance: Callable[[MemeId], Awaitable[None]], *, workers: int, grace_s: float
) -> None:
    """Takes jobs from the queue until cancelled; then no more, and those at work get `grace_s` to end."""
    at_work: set[asyncio.Task[None]] = set()

    async def run(_: Any, *, meme_id: str, traceparent: str = "") -> None:
        task = asyncio.ensure_future(_traced(advance(MemeId(meme_id)), traceparent))
        at_work.add(task)
        task.add_done_callback(at_work.discard)
        await task

    worker = QuietWorker(
        queue,
        functions=[(ADVANCE, run)],
        concurrency=workers,
        dequeue_timeout=DEQUEUE_S,
        shutdown_grace_period_s=END_S_MAX,
        timers={"sweep": QUEUE_SWEEP_S},  # type: ignore[arg-type] # the others keep their defaults
    )
    started = asyncio.create_task(worker.start())
    counting = asyncio.create_task(_count(queue))
    try:
        await asyncio.shield(started)
    finally:
        queue.closed = True
        counting.cancel()
        if at_work:
            await asyncio.wait(at_work, timeout=grace_s)
        await worker.end()
        await started


async def _count(queue: PatientQueue) -> None:
    """Tells until cancelled how many jobs there are."""
    while True:
        with suppress(RedisError, OSError):
            for state, count in (await queue.counted()).items():
                _jobs.set(count, {"state": state})
        await asyncio.sleep(COUNT_EVERY_S)
