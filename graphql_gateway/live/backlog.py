"""What waits for a reader: news in their order, of states the newest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from mesh import telemetry
from mesh.errors import Exhausted

BACKLOG_MAX = 256

_conflated = telemetry.counter(
    "graphql.subscriptions.conflated",
    "States that a subscriber who reads slowly was not told, as a newer one came.",
    unit="{event}",
)
_fell_behind = telemetry.counter(
    "graphql.subscriptions.fell_behind",
    "Subscribers who let more news wait than are kept, and are told FELL_BEHIND.",
    unit="{subscription}",
)

T = TypeVar("T")


class FellBehind(Exhausted):
    """The subscriber does not read as fast as news come; subscribe again."""

    reason = "FELL_BEHIND"


class Backlog(Generic[T]):
    """Items that wait, the one to be read next first.

    An item with a subject takes the place of what waits of the same subject, and goes behind all others. Of
    items without one as many are kept as there is room for; what comes after is lost, and so is all that
    follows: once they were read, `take` raises FellBehind.
    """

    __slots__ = ("_is_overrun", "_items", "_number", "_room", "replaced")

    def __init__(self, items: Iterable[T] = ()) -> None:
        """`items` wait from the beginning, beside the room that there is for others."""
        self._items: OrderedDict[Hashable, T] = OrderedDict(enumerate(items))
        self._number = len(self._items)
        self._room = BACKLOG_MAX + self._number
        self._is_overrun = False
        # How many items another one took the place of, since this was last set to 0.
        self.replaced = 0

    def __bool__(self) -> bool:
        """Whether there is something to take, or to be told that it was lost."""
        return bool(self._items) or self._is_overrun

    def put(self, item: T, subject: Hashable = None) -> None:
        """Lets it wait, if nothing was lost before."""
        if self._is_overrun:
            return
        if subject is not None:
            if self._items.pop(subject, None) is not None:
                self.replaced += 1
                _conflated.add(1)
            self._items[subject] = item
        elif len(self._items) < self._room:
            self._number += 1
            self._items[self._number] = item
        else:
            self._is_overrun = True
            _fell_behind.add(1)

    def put_first(self, item: T) -> None:
        """Lets it wait before all others, whether there is room or not."""
        self._number += 1
        self._items[self._number] = item
        self._items.move_to_end(self._number, last=False)

    def first(self) -> T:
        """The item that is to be taken next. Raises FellBehind when some were lost before it."""
        if not self._items:
            raise FellBehind
        return next(iter(self._items.values()))

    def take(self) -> T:
        """Takes the first. Raises FellBehind when some were lost before it."""
        if not self._items:
            raise FellBehind
        return self._items.popitem(last=False)[1]

    def clear(self) -> None:
        """Nothing waits any more, and nothing was lost."""
        self._items.clear()
        self._is_overrun = False
