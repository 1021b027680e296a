"""gRPC's own channel to a peer, which can be made anew while calls run on the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc


class _Opened:
    """A channel, and how many calls run on it; retired, it is closed with the last of them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._running = 0
        self._retired = False
        self.closing: asyncio.Task[None] | None = None

    def began(self, call: Any) -> None:
        self._running += 1
        call.add_done_callback(self._ended)

    def retire(self) -> None:
        self._retired = True
        self._close_when_idle()

    def _ended(self, _call: Any) -> None:
        self._running -= 1
        if self._retired:
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._running == 0 and self.closing is None:
            self.closing = asyncio.get_running_loop().create_task(self.channel.close())


class Core:
    """Starts calls on the channel that `open_channel` made last."""

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel]) -> None:
        self._open = open_channel
        self._opened = _Opened(open_channel())
        self._retired: list[_Opened] = []

    @property
    def channel(self) -> grpc.aio.Channel:
        """The one of now."""
        return self._opened.channel

    def callable(self, kind: str, method: str, *codec: Any, **options: Any) -> Callable[..., Any]:
        """Starts calls of a method; `kind` is what gRPC calls its shape, "unary_unary"."""
        made_for: _Opened | None = None
        make: Any = None

        def start(requests: Any, **given: Any) -> Any:
            nonlocal made_for, make
            opened = self._opened
            if made_for is not opened:
                made_for, make = opened, getattr(opened.channel, kind)(method, *codec, **options)
            call = make(requests, **given)
            opened.began(call)
            return call

        return start

    def renew(self) -> None:
        """Makes the channel anew, for calls from now on."""
        before, self._opened = self._opened, _Opened(self._open())
        before.retire()
        self._retired = [*(old for old in self._retired if old.closing is None), before]

    async def close(self, grace: float | None = None) -> None:
        """Ends all calls, after `grace` seconds at most."""
        for opened in (*self._retired, self._opened):
            await opened.channel.close(grace)
