"""Members of groups: a client's subscription, told at once as long as the client reads fast enough."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.live.backlog import Backlog
from graphql_gateway.live.telling import Telling

if TYPE_CHECKING:
    from graphql_gateway.live.groups import Group


class ClientGone(Exception):  # noqa: N818 - a client that leaves is no error
    """The client hung up, or takes nothing for too long."""


class Said(NamedTuple):
    """An event, or how things are, as all members hear it."""

    payload: bytes
    about: Telling
    # What is executed for who joins after it; None: nothing.
    now: Any
    # Whether nothing failed.
    is_sound: bool


class Outlet(Protocol):
    """Where members are told."""

    def tell(self, operation_id: str, payload: bytes) -> bool:
        """One result, written at once. False, and nothing is written: what it was sent before waits."""

    async def drained(self) -> None:
        """Once `tell` writes again. Raises ClientGone."""


class Signed(Protocol):
    """A connection."""

    viewer: Viewer | None


@dataclass(slots=True, eq=False)
class Member:
    """One subscription of a client."""

    outlet: Outlet
    operation_id: str
    # It may have been given the access token that follows.
    connection: Signed
    # Told what ended it, once; None: there is nothing more.
    on_end: Callable[[Member, Exception | None], None]
    extensions: dict[str, Any] = field(default_factory=dict)
    group: Group | None = None
    # As it was checked last, and when; nobody need not be.
    viewer: Viewer | None = None
    checked_s: float = math.inf
    # It knows what came until there.
    position: int = -1
    # Its first state is being made.
    is_beginning: bool = False
    waiting: Backlog[Said] | None = None
    catching_up: asyncio.Task[None] | None = None
    # What ends it after that.
    ending: tuple[Exception | None] | None = None

    def cancel(self) -> None:
        """Leaves without a word."""
        group, self.group = self.group, None
        if group is not None:
            group.leave(self)
        if self.catching_up is not None and self.catching_up is not asyncio.current_task():
            self.catching_up.cancel()

    def end(self, problem: Exception | None) -> None:
        """Leaves once it has heard all, and the client is told why."""
        if self.waiting is not None or self.is_beginning:
            self.ending = (problem,)
        else:
            self.break_off(problem)

    def break_off(self, problem: Exception | None) -> None:
        """Leaves at once, and the client is told why."""
        if self.group is not None:
            self.cancel()
            self.on_end(self, problem)

    def take(self, said: Said, due_s: float) -> None:
        """Tells it at once, or as soon as it can be."""
        if self.waiting is None and not self.is_beginning and self._tell(said, due_s):
            return
        if self.waiting is None:
            self.waiting = Backlog()
        self.waiting.put(said, said.about.subject)
        self._catch_up_soon()

    def begin(self, said: Said, due_s: float) -> None:
        """How things are; what came meanwhile follows."""
        self.is_beginning = False
        if self.waiting is None:
            self.take(said, due_s)
        else:
            self.waiting.put_first(said)
            self._catch_up_soon()
        if self.ending is not None:
            self.end(*self.ending)

    def _tell(self, said: Said, due_s: float, **more: Any) -> bool:
        if self.checked_s < due_s:
            return False
        audience, payload = said.about.audience, said.payload
        if audience is not None and not audience(self.viewer):
            return True
        if self.extensions or more:
            payload = b'%b,"extensions":%b}' % (payload[:-1], orjson.dumps({**self.extensions, **more}))
        return self.outlet.tell(self.operation_id, payload)

    def _catch_up_soon(self) -> None:
        if self.catching_up is None and not self.is_beginning:
            self.catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self.waiting and self.group is not None:
                due_s = await self._check(self.group, self.waiting.first())
                said, left_out = self.waiting.first(), self.waiting.replaced
                if self._tell(said, due_s, **({"conflated": left_out} if left_out else {})):
                    self.waiting.take()
                    self.waiting.replaced = 0
                else:
                    await self.outlet.drained()
            self.waiting = None
            if self.ending is not None:
                self.break_off(*self.ending)
        except ClientGone:
            self.cancel()
        except Exception as problem:
            self.break_off(problem)
        finally:
            self.catching_up = None

    async def _check(self, group: Group, said: Said) -> float:
        due_s = group.due_s(said)
        signed = self.connection.viewer
        if self.checked_s < due_s and signed is not None:
            self.viewer = await group.log_ins.viewer_of(signed.access_token)
            self.checked_s = group.log_ins.now_s()
        return due_s
