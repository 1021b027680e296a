"""Connections that last: WebSockets and event streams, how many somebody may have, and what ends them."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from aiohttp import WSCloseCode

from graphql_gateway.context import Context
from graphql_gateway.safety.budget import network_of
from mesh import telemetry
from mesh.errors import Exhausted, Unavailable

CLOSE_FORBIDDEN = 4403
_connections = telemetry.up_down(
    "gateway.connections", "WebSockets and event streams that are open.", unit="{connection}"
)


class TooManyConnections(Exhausted):
    """As many WebSockets and event streams are open from there as may be."""

    reason = "TOO_MANY_CONNECTIONS"


class Connection(Protocol):
    """Something that a client holds open."""

    @property
    def context(self) -> Context:
        """Who is at the other end."""

    async def close(self, code: int, reason: str) -> None:
        """Ends it; may be called twice."""


class Member:
    """An open connection, and under whose names it is counted."""

    __slots__ = ("_connected", "connection", "counted", "session_id")

    def __init__(self, connected: Connected, connection: Connection) -> None:
        self._connected = connected
        self.connection = connection
        self.counted: list[str] = []
        self.session_id: str | None = None

    def sign_in(self) -> None:
        """Its viewer is known. Raises TooManyConnections."""
        viewer = self.connection.context.viewer
        if viewer is not None:
            self._connected.count(self, f"user:{viewer.id}")
            self._connected.follow(self, viewer.session_id)

    def leave(self) -> None:
        """It is not open any more."""
        self._connected.leave(self)


class Connected:
    """Those that are open."""

    def __init__(self, *, per_address_max: int, per_user_max: int) -> None:
        self._maxima = {"address": per_address_max, "user": per_user_max}
        self._open: set[Connection] = set()
        self._counts: Counter[str] = Counter()
        self._of_session: defaultdict[str, set[Connection]] = defaultdict(set)
        self._closing: set[asyncio.Task[None]] = set()
        self._sends_away = False

    def join(self, connection: Connection) -> Member:
        """It is open until it leaves. Raises TooManyConnections; Unavailable once all are sent away."""
        if self._sends_away:
            raise Unavailable("the gateway is stopping")
        member = Member(self, connection)
        try:
            self.count(member, f"address:{network_of(connection.context.client_address)}")
            self._open.add(connection)
            _connections.add(1)
            member.sign_in()
        except TooManyConnections:
            member.leave()
            raise
        return member

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[Member]:
        """It is open until the block ends. Raises as `join` does."""
        member = self.join(connection)
        try:
            yield member
        finally:
            member.leave()

    def count(self, member: Member, whose: str) -> None:
        """Raises TooManyConnections."""
        maximum = self._maxima[whose.partition(":")[0]]
        if self._counts[whose] >= maximum:
            raise TooManyConnections(maximum=maximum)
        self._counts[whose] += 1
        member.counted.append(whose)

    def follow(self, member: Member, session_id: str) -> None:
        """It ends with this session."""
        member.session_id = session_id
        self._of_session[session_id].add(member.connection)

    def end_sessions(self, session_ids: Collection[str]) -> None:
        """Closes what these sessions signed in."""
        for session_id in session_ids:
            for one in tuple(self._of_session.get(session_id, ())):
                closing = asyncio.create_task(one.close(CLOSE_FORBIDDEN, "The session was ended"))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def send_away(self) -> None:
        """Closes all, as the process is about to end; there will be no others."""
        self._sends_away = True
        await asyncio.gather(
            *(one.close(WSCloseCode.GOING_AWAY, "The gateway is stopping") for one in tuple(self._open))
        )

    def leave(self, member: Member) -> None:
        """It is not open any more."""
        if member.connection in self._open:
            self._open.discard(member.connection)
            _connections.add(-1)
        for whose in member.counted:
            self._counts[whose] -= 1
            if not self._counts[whose]:
                del self._counts[whose]
        if member.session_id is not None:
            followers = self._of_session[member.session_id]
            followers.discard(member.connection)
            if not followers:
                del self._of_session[member.session_id]
