"""Connections that last: WebSockets and event streams, and what ends them from our side."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from aiohttp import WSCloseCode

from graphql_gateway.context import Context

CLOSE_FORBIDDEN = 4403


class Connection(Protocol):
    """Something that a client holds open."""

    @property
    def context(self) -> Context:
        """Who is at the other end."""

    async def close(self, code: int, reason: str) -> None:
        """Ends it; may be called twice."""


class Connected:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """It is open until the block ends."""
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)

    def end_sessions(self, session_ids: Collection[str]) -> None:
        """Closes what these sessions signed in."""
        for one in tuple(self._open):
            viewer = one.context.viewer
            if viewer is not None and viewer.session_id in session_ids:
                closing = asyncio.create_task(one.close(CLOSE_FORBIDDEN, "The session was ended"))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def send_away(self) -> None:
        """Closes all, as the process is about to end."""
        await asyncio.gather(
            *(one.close(WSCloseCode.GOING_AWAY, "The gateway is stopping") for one in tuple(self._open))
        )
