"""Answers that are the same for everybody, kept until something changes, and made once however many ask.

What such an answer depends on is the text of the operation, its variables, and what the services said. Which
of them were asked is noted while it is made, with the versions of their news from before: it counts for as
long as none of these has moved. Some changes come without news (names of users, and what only time changes),
so it never counts for longer than `AGE_MAX_S`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from strawberry.types.execution import ExecutionResult

from graphql_gateway.execution.engine import Way
from graphql_gateway.execution.sources import Unplanned
from graphql_gateway.live import Live
from graphql_gateway.live.watch import Watch
from graphql_gateway.services import Services
from mesh.clock import Clock

# Nothing that is older is shown; `@cacheControl` tells caches outside the same.
AGE_MAX_S = 1.0
COUNT_MAX = 5_000
# Of all answers, with what they answer.
BYTES_MAX = 32 * 1024 * 1024
# Of those who have just changed something.
CHANGED_MAX = 10_000

# Text and name of the operation, variables as JSON.
Key: TypeAlias = tuple[str, str | None, bytes]
# News, and their versions when an answer was begun; None: some may have been missed.
Versions: TypeAlias = Sequence[tuple[Watch[Any], int | None]]


class Noted:
    """The services, and which of them were asked."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self._services, name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What everybody is told: JSON of the whole result, or a result with errors, which is not kept."""

    payload: bytes
    failed: ExecutionResult | None = None
    # Services; and how it was made.
    asked: Collection[str] = ()
    way: Way | Unplanned = Way.PLAN


@dataclass(frozen=True, slots=True)
class _Basis:
    """What an answer stands on: news that have not moved, and time that is not over."""

    ends_s: float
    versions: Versions

    def counts(self, now_s: float) -> bool:
        """Whether whoever asks now may be told the answer."""
        return now_s < self.ends_s and all(watch.version == version for watch, version in self.versions)

    def narrowed(self, news: Collection[Watch[Any]]) -> _Basis:
        """For an answer that stands on these alone."""
        return _Basis(self.ends_s, [one for one in self.versions if one[0] in news])

    @property
    def is_told(self) -> bool:
        """Whether all of the news come."""
        return all(version is not None for _, version in self.versions)


@dataclass(slots=True)
class _Making:
    """An answer that is being made, and how many wait for it."""

    basis: _Basis
    task: asyncio.Task[Answer]
    waiting: int = 0


class Memo:
    """Of one process; bounded in number and in bytes, the ones used longest ago go."""

    def __init__(
        self, live: Live, clock: Clock, *, count_max: int = COUNT_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        # Whose news tell of every change of what a service shows, but for those that only time makes. The
        # chain's tell of blocks; identity and insight have none for us.
        self._news: Mapping[str, Watch[Any]] = {
            "rounds": live.rounds,
            "content": live.content,
            "market": live.market,
            "ledger": live.ledger,
            "chain": live.blocks,
        }
        self._clock = clock
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[Key, tuple[_Basis, Answer]] = OrderedDict()
        self._making: dict[Key, _Making] = {}
        self._changed: OrderedDict[str, float] = OrderedDict()

    def find(self, key: Key) -> Answer | None:
        """An answer that still counts."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        basis, answer = kept
        if not basis.counts(self._clock.monotonic_s()):
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return answer

    def makes(self, key: Key) -> bool:
        """Whether the answer is being made."""
        making = self._making.get(key)
        return making is not None and making.basis.counts(self._clock.monotonic_s())

    async def made(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """A new answer, made once for all who ask meanwhile; what it raises, all of them get.

        It is made in a task of its own: who leaves takes it from nobody, and the last one ends it.
        """
        making = self._making.get(key)
        if making is None or not making.basis.counts(self._clock.monotonic_s()):
            basis = self._basis()
            task = asyncio.create_task(self._make(key, basis, make))
            making = self._making[key] = _Making(basis, task)
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()
                if self._making.get(key) is making:
                    del self._making[key]

    def has_changed(self, user_id: str) -> None:
        """This user has just changed something, and expects to see it."""
        self._changed[user_id] = self._clock.monotonic_s() + AGE_MAX_S
        self._changed.move_to_end(user_id)
        while len(self._changed) > CHANGED_MAX:
            self._changed.popitem(last=False)

    def is_for(self, user_id: str) -> bool:
        """Whether this user may be told what was made before."""
        until_s = self._changed.get(user_id)
        return until_s is None or until_s <= self._clock.monotonic_s()

    def _basis(self) -> _Basis:
        ends_s = self._clock.monotonic_s() + AGE_MAX_S
        return _Basis(ends_s, [(watch, watch.version) for watch in self._news.values()])

    async def _make(self, key: Key, basis: _Basis, make: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await make()
        stands_on = basis.narrowed([self._news[name] for name in answer.asked if name in self._news])
        if answer.failed is None and stands_on.is_told and stands_on.counts(self._clock.monotonic_s()):
            self._keep(key, stands_on, answer)
        return answer

    def _keep(self, key: Key, basis: _Basis, answer: Answer) -> None:
        self._drop(key)
        self._kept[key] = basis, answer
        self._bytes += _size(key, answer)
        while self._bytes > self._bytes_max or len(self._kept) > self._count_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            _, answer = self._kept.pop(key)
            self._bytes -= _size(key, answer)


def _size(key: Key, answer: Answer) -> int:
    text, _, variables = key
    return len(text) + len(variables) + len(answer.payload)
