"""Moves memes along: lease, step, record; what a crash leaves undone is found in the records and done again.

Whoever works on a meme first takes a lease by compare-and-set, and writes the outcome under the generation
that the lease gave: an outcome that comes too late (the lease ran out, an administrator decided) is dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, replace

from mesh import telemetry
from mesh.clock import Clock
from mesh.errors import Failure
from mesh.logs import logger
from mesh.records import Stale
from services.content.app.ports import Memes, News, Queue
from services.content.app.rendering import NOTHING_ORDERED, KeyRefused, retry_after_s
from services.content.app.steps import Steps
from services.content.domain.memes import IN_PIPELINE, Meme, MemeState, Task
from services.content.domain.values import NEVER, InstantNs, MemeId, later

LEASE_MARGIN_S = 15.0
# A job that comes this much early is done all the same: queues count in whole seconds.
EARLY_S = 1.0
RETRY_S_MIN, RETRY_S_MAX = 1.0, 60.0
DONE_MAX = 100_000
FIGURES_WINDOW_S = 60.0
OVERDUE_S = 2.0

log = logger(__name__)
_stages = telemetry.counter(
    "content.stages", "Stages that memes reached, by state.", unit="{meme}", by=("state",)
)
_steps = telemetry.counter(
    "content.steps",
    "Background steps, by state and outcome.",
    unit="{step}",
    by=(
        "state",
        "outcome",
    ),
)
_alarms = telemetry.counter("content.aitubo.key_refused", "Answers 401 of AITubo.", unit="{answer}")


@dataclass(frozen=True, slots=True)
class Figures:
    """The pipeline's load."""

    queued: int
    running: int
    done_last_minute: int
    unfinished_memes: int


class Pipeline:
    """Background work on memes."""

    def __init__(
        self,
        *,
        memes: Memes,
        steps: Steps,
        queue: Queue,
        news: News,
        clock: Clock,
        step_s_max: float,
        instance: str,
        chance: random.Random,
    ) -> None:
        self._memes = memes
        self._steps = steps
        self._queue = queue
        self._news = news
        self._clock = clock
        self._step_s_max = step_s_max
        self._instance = instance
        self._chance = chance
        self._done: deque[float] = deque(maxlen=DONE_MAX)

    async def advance(self, meme_id: MemeId) -> None:
        """Does the meme's next step, if it is due and nobody else is at it. Raises failures of the store."""
        kept = await self._memes.get(meme_id)
        if kept is None or kept.meme.task is None or not self._free(kept.meme.task, EARLY_S):
            return
        leased = kept.meme.with_task(self._leased(kept.meme, kept.meme.task))
        try:
            generation = await self._memes.put(leased, kept.generation)
        except Stale:
            return
        outcome = await self._outcome(leased)
        try:
            generation = await self._memes.put(outcome, generation)
        except Stale:
            log.info("outcome dropped, the meme was changed meanwhile", meme_id=meme_id, state=leased.state)
            return
        self._done.append(self._clock.monotonic_s())
        await self.follow_up(outcome, generation, told=outcome.last_stage is not leased.last_stage)

    async def follow_up(self, meme: Meme, generation: int, *, told: bool) -> None:
        """Publishes a change that was recorded, and queues what is due next."""
        if told:
            self._news.tell(meme, meme.last_stage)
            self._steps.told(meme)
            _stages.add(1, {"state": meme.state})
            log.info("stage", meme_id=meme.id, state=meme.state, detail=meme.last_stage.detail)
        if meme.task is not None:
            await self._queue.enqueue(meme.id, generation, meme.task.due_ns)

    async def recover(self) -> int:
        """At start: what this instance had in hand when it died is free again at once; returns how much."""
        freed = 0
        async for kept in self._memes.unfinished():
            task = kept.meme.task
            if task is None or task.leased_by != self._instance or task.leased_until_ns == NEVER:
                continue
            try:
                await self._memes.put(
                    kept.meme.with_task(replace(task, leased_until_ns=NEVER)), kept.generation
                )
                freed += 1
            except Stale:
                continue
        return freed

    async def sweep(self, overdue_s: float = OVERDUE_S) -> int:
        """Queues what should have been done already; returns how many. At start with `overdue_s` 0."""
        found = 0
        async for kept in self._memes.unfinished():
            if kept.meme.task is not None and self._free(kept.meme.task, -overdue_s):
                found += 1
                await self._queue.enqueue(kept.meme.id, kept.generation, kept.meme.task.due_ns)
        return found

    async def figures(self) -> Figures:
        """How much is queued, running and done."""
        now, running, unfinished, in_pipeline = self._clock.now_ns(), 0, 0, 0
        async for kept in self._memes.unfinished():
            unfinished += 1
            in_pipeline += kept.meme.state in IN_PIPELINE
            running += kept.meme.task is not None and kept.meme.task.leased_until_ns > now
        since = self._clock.monotonic_s() - FIGURES_WINDOW_S
        return Figures(unfinished - running, running, sum(done >= since for done in self._done), in_pipeline)

    def _free(self, task: Task, early_s: float) -> bool:
        now = InstantNs(self._clock.now_ns())
        return task.due_ns <= later(now, early_s) and task.leased_until_ns <= now

    def _leased(self, meme: Meme, task: Task) -> Task:
        # An order counts before it is sent: after a crash nobody knows whether it was.
        orders = task.orders + (meme.state is MemeState.UPLOADED)
        until = later(InstantNs(self._clock.now_ns()), self._step_s_max + LEASE_MARGIN_S)
        return replace(task, leased_until_ns=until, leased_by=self._instance, orders=orders)

    async def _outcome(self, meme: Meme) -> Meme:
        try:
            async with asyncio.timeout(self._step_s_max):
                outcome = await self._steps.of(meme.state)(meme)
        except Failure as failure:
            _steps.add(1, {"state": meme.state, "outcome": failure.reason})
            return self._postponed(meme, failure)
        except TimeoutError:
            _steps.add(1, {"state": meme.state, "outcome": "TIMEOUT"})
            return self._postponed(meme, Failure(f"the step took longer than {self._step_s_max:.0f} s"))
        _steps.add(1, {"state": meme.state, "outcome": "DONE"})
        return outcome

    def _postponed(self, meme: Meme, failure: Failure) -> Meme:
        """The same meme, to be tried again; or given up where trying again cannot help for ever."""
        task = meme.task or Task(InstantNs(self._clock.now_ns()))
        if isinstance(failure, KeyRefused):
            _alarms.add(1)
            log.error("ALARM: AITubo refuses the key (401); set SATREEL_CONTENT_AITUBO_KEY", meme_id=meme.id)
        else:
            log.warning("step postponed", meme_id=meme.id, state=meme.state, problem=str(failure))
        nothing_ordered = isinstance(failure, NOTHING_ORDERED)
        failures = task.failures + 1
        given_up = self._steps.given_up(meme, failure, failures)
        if given_up is not None:
            return given_up
        wait_s = retry_after_s(failure) or self._backoff_s(failures)
        # The time that a job may take stands still while AITubo cannot be asked about it.
        unasked_s = wait_s if nothing_ordered and task.job else 0.0
        return meme.with_task(
            replace(
                task,
                due_ns=later(InstantNs(self._clock.now_ns()), wait_s),
                leased_until_ns=NEVER,
                job_since_ns=later(task.job_since_ns, unasked_s),
                failures=failures,
                orders=task.orders - (nothing_ordered and meme.state is MemeState.UPLOADED),
            )
        )

    def _backoff_s(self, failures: int) -> float:
        longest = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(failures - 1, 10))
        return longest * self._chance.uniform(0.5, 1.0)
