"""Groups: all who follow the same hear it from one execution.

A group executes its subscription once, and hands each payload to its members in a plain loop. A member is an
entry, not a task: only who lags has one, until it has caught up or is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Hashable, Iterable
from contextlib import aclosing
from contextvars import Context as Variables
from typing import Any, NamedTuple, Protocol, TypeVar

import opentelemetry.context

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.live.members import Member, Said
from graphql_gateway.live.telling import ITSELF, Delivery

# States are executed at most once in so many seconds: the newest.
PACE_S = 0.1
# How things are is told to who joins within so many seconds; then it is made anew, as names in it may change.
FRESH_S = 1.0
# Members are told for so long before others have a turn.
TURN_S = 0.004

T = TypeVar("T")


class Source(Protocol):
    """What a group executes."""

    delivery: Delivery
    # Whether everybody may hear it, but for events with an audience.
    is_for_all: bool

    def said(self, viewers: Callable[[], Collection[Viewer]]) -> AsyncGenerator[Said, None]:
        """Events without end; `viewers` are those of the members now. Raises what ends the subscription."""

    async def told_first(self, last: Said) -> Said:
        """How things are after the last event, for who joins."""


class LogIns(Protocol):
    """Whether members are still logged in."""

    def now_s(self) -> float:
        """The time of a check."""

    def due_s(self, *, strictly: bool) -> float:
        """A check that is older does not count any more."""

    async def viewer_of(self, access_token: str) -> Viewer:
        """Checks it. Raises a Failure."""


class Followed(NamedTuple):
    """What a client wants to follow."""

    key: Hashable
    # The key without a cursor to go on behind.
    main_key: Hashable
    # Executed if there is no group yet, in the context of who asks for it.
    source: Source
    log_ins: LogIns
    begun_in: Variables


class Group:
    """All who follow the same; it runs from its first member to its last."""

    def __init__(self, groups: Groups, follows: Followed) -> None:
        self.key = follows.key
        self.main_key = follows.main_key
        self.log_ins = follows.log_ins
        self._groups = groups
        self._source = follows.source
        self._members: dict[Member, None] = {}
        self._last: Said | None = None
        # What is told first to who joins, since when; None: it has to be made.
        self._now: tuple[Said, float] | None = None
        # Who waits for it while it is made.
        self._beginners: list[Member] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._run(), follows.begun_in)

    def __len__(self) -> int:
        return len(self._members)

    def due_s(self, said: Said) -> float:
        """Members whose log-in was checked before have to be checked before they hear this."""
        is_for_all = self._source.is_for_all and said.about.audience is None
        return self.log_ins.due_s(strictly=not is_for_all)

    @property
    def has_gone_on(self) -> bool:
        """Whether it began behind a cursor, and who comes with the same cursor has to begin there too."""
        return self.main_key != self.key and self._last is not None

    def join(self, member: Member) -> None:
        """From now on it is told what comes; and first how things are, if that is known and to be told."""
        member.group = self
        member.viewer = member.connection.viewer
        if member.viewer is not None:
            member.checked_s = self.log_ins.now_s()
        self._members[member] = None
        if self._last is None or self._last.now is None:
            return
        member.position = max(self._last.about.position, self._last.about.now_position)
        if self._now is not None and asyncio.get_running_loop().time() - self._now[1] < FRESH_S:
            member.take(self._now[0], self.due_s(self._now[0]))
            return
        member.is_beginning = True
        if not self._beginners:
            self._beginners = []
            # Not in the name of whoever it is begun for.
            self._spawn(self._begin(self._last, self._beginners), Variables())
        self._beginners.append(member)

    def hand_over(self, other: Group) -> bool:
        """The members go on in another group, if it tells all that they have not heard."""
        if self._last is None or other._last is None:
            return False
        position = self._last.about.position
        if other._last.about.position > position:
            return False
        for member in self._members:
            member.position = position
            member.group = other
            other._members[member] = None
        self._members.clear()
        return True

    def leave(self, member: Member) -> None:
        """It is told nothing more. The last one ends the group."""
        self._members.pop(member, None)
        if not self._members:
            self._end()

    def viewers(self) -> Collection[Viewer]:
        """Those of its members, by their tokens as they are now."""
        signed = (member.connection.viewer for member in self._members)
        return {viewer.access_token: viewer for viewer in signed if viewer is not None}.values()

    async def _run(self) -> None:
        problem: Exception | None = None
        try:
            async with aclosing(self._source.said(self.viewers)) as events:
                async for said in events:
                    await self._tell(said)
                    if said.about.is_newest and self._groups.merge(self):
                        break
                    # What began it is over; what follows are traces of their own.
                    opentelemetry.context.attach(opentelemetry.context.Context())
        except Exception as broken:
            problem = broken
        self._groups.forget(self)
        for member in tuple(self._members):
            member.end(problem)

    async def _tell(self, said: Said) -> None:
        began_s = asyncio.get_running_loop().time()
        self._last = said
        is_now = said.about.now is ITSELF and said.is_sound
        self._now = (said, began_s) if is_now else None
        # Who joins from here on has it in what is told first.
        self._beginners = []
        due_s, position = self.due_s(said), said.about.position
        async for member in _in_turns(tuple(self._members)):
            if member.group is self and member.position < position:
                member.take(said, due_s)
        pace_s = PACE_S if self._source.delivery is Delivery.STATES else 0.0
        # Others have a turn at least, however many events there are.
        await asyncio.sleep(began_s + pace_s - asyncio.get_running_loop().time())

    async def _begin(self, last: Said, beginners: list[Member]) -> None:
        try:
            said = await self._source.told_first(last)
        except Exception as problem:
            for member in beginners:
                member.break_off(problem)
            return
        if self._beginners is beginners:
            # Nobody comes to them any more.
            self._beginners = []
            if said.is_sound:
                self._now = (said, asyncio.get_running_loop().time())
        due_s = self.due_s(said)
        async for member in _in_turns(beginners):
            if member.group is self:
                member.begin(said, due_s)

    def _spawn(self, work: Any, variables: Variables) -> None:
        task = asyncio.create_task(work, context=variables)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self) -> None:
        self._groups.forget(self)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()


class Groups:
    """The groups of this process, by what their members follow."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def followers(self) -> int:
        """The members of all of them."""
        return sum(map(len, self._groups.values()))

    def join(self, member: Member, follows: Followed) -> None:
        """Makes it a member of the group that follows this, or of a new one."""
        group = self._groups.get(follows.key)
        if group is None or group.has_gone_on:
            group = self._groups[follows.key] = Group(self, follows)
        group.join(member)

    def merge(self, group: Group) -> bool:
        """After the newest event: who went on behind a cursor need not follow by themselves any more.

        Whether their group is over, as all its members now follow with all others.
        """
        if group.main_key == group.key:
            return False
        main = self._groups.get(group.main_key)
        if main is None:
            self.forget(group)
            group.key = group.main_key
            self._groups[group.key] = group
            return False
        return group.hand_over(main)

    def forget(self, group: Group) -> None:
        """Nobody joins it any more."""
        if self._groups.get(group.key) is group:
            del self._groups[group.key]


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; after some milliseconds of work with them the loop has a turn."""
    now_s = asyncio.get_running_loop().time
    until_s = now_s() + TURN_S
    for item in items:
        if now_s() > until_s:
            await asyncio.sleep(0)
            until_s = now_s() + TURN_S
        yield item
