"""Answers that are the same for everybody, kept until something changes, and made once however many ask.

What such an answer depends on is the text of the operation, its variables, and what the services said. Which
of them were asked is noted while it is made, with the versions of their news from before: it counts for as
long as none of these has moved. Some changes come without news (names of users, and what only time changes),
so it never counts for longer than `AGE_MAX_S`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
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
Versions: TypeAlias = Iterable[tuple[Watch[Any], int | None]]


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


_UNMADE = Answer(b"")


class _Kept:
    """An answer, or one that is being made; what it stands on, and who waits for it."""

    __slots__ = ("answer", "ends_s", "task", "versions", "waiting")

    def __init__(self, ends_s: float, versions: Versions, answer: Answer = _UNMADE) -> None:
        self.ends_s = ends_s
        self.versions = versions
        self.answer = answer
        self.task: asyncio.Task[Answer]
        self.waiting = 0

    @property
    def stands_on_news(self) -> bool:
        """Whether all of its news come."""
        return all(version is not None for _, version in self.versions)

    def counts(self, now_s: float) -> bool:
        """Whether whoever asks now may be told it."""
        return now_s < self.ends_s and all(watch.version == version for watch, version in self.versions)


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
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._making: dict[Key, _Kept] = {}
        self._changed: OrderedDict[str, float] = OrderedDict()

    def find(self, key: Key) -> Answer | None:
        """An answer that still counts."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if not kept.counts(self._clock.monotonic_s()):
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.answer

    def makes(self, key: Key) -> bool:
        """Whether the answer is being made."""
        making = self._making.get(key)
        return making is not None and making.counts(self._clock.monotonic_s())

    async def made(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """A new answer, made once for all who ask meanwhile; what it raises, all of them get.

        It is made in a task of its own: who leaves takes it from nobody, and the last one ends it.
        """
        making = self._making.get(key)
        if making is None or not making.counts(self._clock.monotonic_s()):
            making = self._making[key] = self._begun()
            making.task = asyncio.create_task(self._make(key, making, make))
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

    def _begun(self) -> _Kept:
        ends_s = self._clock.monotonic_s() + AGE_MAX_S
        return _Kept(ends_s, [(watch, watch.version) for watch in self._news.values()])

    async def _make(self, key: Key, making: _Kept, make: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await make()
        asked = [self._news[name] for name in answer.asked if name in self._news]
        kept = _Kept(making.ends_s, [one for one in making.versions if one[0] in asked], answer)
        if answer.failed is None and kept.stands_on_news and kept.counts(self._clock.monotonic_s()):
            self._keep(key, kept)
        return answer

    def _keep(self, key: Key, kept: _Kept) -> None:
        self._drop(key)
        self._kept[key] = kept
        self._bytes += _size(key, kept)
        while self._bytes > self._bytes_max or len(self._kept) > self._count_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(key, kept)


def _size(key: Key, kept: _Kept) -> int:
    text, _, variables = key
    return len(text) + len(variables) + len(kept.answer.payload)
