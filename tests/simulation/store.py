"""The record store as a process sees it: it fails as real ones do.

What is asked travels to the truth and back outside of the process, so that it arrives even when whoever
asked has frozen, given up or died meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from mesh.errors import Failure
from mesh.records import Busy, InDoubt, Record, StoreUnavailable
from mesh.records.port import PAGE_MAX, Bins
from tests.simulation.loop import Process, VirtualLoop, run_now
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth

Result = TypeVar("Result")

# How long a client of the store waits for its answer before it says InDoubt.
PATIENCE_S_MAX = 3.0


@dataclass(slots=True)
class StoreFaults:
    """How often what goes wrong, each from 0 to 1.

    The last four befall writes only: three answer InDoubt; `forgotten` undoes an acknowledged update a little
    later, as Aerospike's Community Edition may when a node dies (creates survive there).
    """

    busy: float = 0.0
    away: float = 0.0
    slow: float = 0.0
    torn: float = 0.0
    lost: float = 0.0
    done: float = 0.0
    late: float = 0.0
    forgotten: float = 0.0


class Connection:
    """A `Store`. A dead process reaches nothing."""

    def __init__(
        self,
        *,
        truth: Truth,
        process: Process,
        loop: VirtualLoop,
        random: Random,
        faults: StoreFaults,
        trace: Trace,
    ) -> None:
        self._truth = truth
        self._process = process
        self._loop = loop
        self._random = random
        self._faults = faults
        self._trace = trace
        # Cut off from these sets until then.
        self._away_until_s = dict.fromkeys(truth.sets, 0.0)

    def cut_off(self, until_s: float, *set_names: str) -> None:
        """Nothing of these sets, or of all, can be reached until then."""
        for name in set_names or self._away_until_s:
            self._away_until_s[name] = until_s

    async def get(self, set_name: str, key: str) -> Record | None:
        return await self._read(set_name, lambda: self._truth.get(set_name, key))

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        if self._random.random() >= self._faults.torn:
            return await self._read(set_name, lambda: self._truth.get_many(set_name, keys))
        self._trace.count("reads at several instants")
        order = self._random.sample(keys, len(keys))
        half = len(order) // 2
        first = await self._read(set_name, lambda: self._truth.get_many(set_name, order[:half]))
        return first | await self._read(set_name, lambda: self._truth.get_many(set_name, order[half:]))

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        return await self._write(set_name, key, lambda: self._truth.create(set_name, key, bins))

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        before = run_now(self._truth.get(set_name, key))
        put = await self._write(set_name, key, lambda: self._truth.put_if(set_name, key, bins, generation))
        if before is not None and self._random.random() < self._faults.forgotten:
            self._loop.outside(self._random.uniform(0, 1), self._truth.forget, set_name, before)
        return put

    async def query_eq(
        self,
        set_name: str,
        bin_name: str,
        value: str | int,
        *,
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        return await self._read(
            set_name,
            lambda: self._truth.query_eq(
                set_name, bin_name, value, after=after, limit=limit, descending=descending
            ),
        )

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        return await self._read(
            set_name,
            lambda: self._truth.scan(
                set_name, prefix=prefix, after=after, limit=limit, descending=descending
            ),
        )

    async def delete(self, set_name: str, key: str) -> None:
        await self._write(set_name, key, lambda: self._truth.delete(set_name, key))

    async def _read(self, set_name: str, act: Callable[[], Awaitable[Result]]) -> Result:
        await self._before(set_name)
        return await self._travel(act, self._hop_s(), self._hop_s())

    async def _write(self, set_name: str, key: str, act: Callable[[], Awaitable[Result]]) -> Result:
        await self._before(set_name)
        name, faults = f"{set_name} {key.lstrip('0')}", self._faults
        patience_s = min(0.05 + self._random.expovariate(2), PATIENCE_S_MAX)
        fate = self._random.random()
        if fate < faults.lost:
            self._befall("lost", name)
            await asyncio.sleep(patience_s)
            raise InDoubt("never arrived")
        if fate < faults.lost + faults.done:
            self._befall("done", name)
            await self._travel(act, self._hop_s(), patience_s)
            raise InDoubt("done, but the answer was lost")
        if fate < faults.lost + faults.done + faults.late:
            self._befall("late", name)
            late_s = patience_s + self._random.expovariate(1 / 3)
            self._travel(act, late_s, 0).add_done_callback(_seen)
            await asyncio.sleep(patience_s)
            raise InDoubt("still on its way")
        return await self._travel(act, self._hop_s(), self._hop_s())

    async def _before(self, set_name: str) -> None:
        if self._process.dead:
            raise StoreUnavailable("its process has died")
        if self._loop.time() < self._away_until_s[set_name]:
            await asyncio.sleep(self._random.uniform(0.01, 0.2))
            raise StoreUnavailable("cut off")
        fate, faults = self._random.random(), self._faults
        if fate < faults.busy:
            self._trace.count("store busy")
            await asyncio.sleep(self._hop_s())
            raise Busy
        if fate < faults.busy + faults.away:
            self._trace.count("store away")
            await asyncio.sleep(self._hop_s())
            raise StoreUnavailable

    def _travel(
        self, act: Callable[[], Awaitable[Result]], there_s: float, back_s: float
    ) -> asyncio.Future[Result]:
        """There, done at one instant, and back; what comes back finds its process as it then is."""
        answer: asyncio.Future[Result] = self._loop.create_future()

        def arrive() -> None:
            try:
                result = run_now(act())
            except Failure as failure:
                self._loop.outside(back_s, fail, failure)
            else:
                self._loop.outside(back_s, settle, result)

        # Whoever asked may have gone.
        def settle(result: Result) -> None:
            if not answer.done():
                answer.set_result(result)

        def fail(failure: Failure) -> None:
            if not answer.done():
                answer.set_exception(failure)

        self._loop.outside(there_s, arrive)
        return answer

    def _hop_s(self) -> float:
        if self._random.random() < self._faults.slow:
            self._trace.count("store slow")
            return self._random.uniform(0.1, 4.0)
        return self._random.uniform(0.0005, 0.004)

    def _befall(self, kind: str, name: str) -> None:
        self._trace.count(f"in doubt, {kind}")
        self._trace.note(self._process.name, f"in doubt ({kind}): {name}")


def _seen(answer: asyncio.Future[Result]) -> None:
    if not answer.cancelled():
        answer.exception()
