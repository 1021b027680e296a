"""What a member of a group costs by itself: `python -m bench.gateway.fanout [MEMBERS]`.

A group tells events to members whose channels do nothing: CPU µs a member and event, and the longest that the
loop was kept from others meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextvars import copy_context

import uvloop

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.live.groups import Followed, Groups
from graphql_gateway.live.members import Member, Said
from graphql_gateway.live.telling import Delivery, Telling

MEMBERS, EVENTS = 5_000, 200


class Source:
    """The same payload over and over."""

    delivery = Delivery.NEWS
    is_for_all = True

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def said(self, viewers: Callable[[], Collection[Viewer]]) -> AsyncGenerator[Said, None]:  # noqa: ARG002 - as sources are asked
        """EVENTS times."""
        await self.begun.wait()
        for number in range(EVENTS):
            yield Said(b'{"data":{}}', Telling(position=number + 1), None, is_sound=True)
        self.over.set()
        await asyncio.Event().wait()

    async def told_first(self, last: Said) -> Said:
        """Nobody joins late."""
        return last


class Client:
    """A connection of nobody's, which takes everything."""

    viewer: Viewer | None = None
    told = 0

    def tell(self, operation_id: str, payload: bytes) -> bool:  # noqa: ARG002 - it only counts
        """Counted."""
        self.told += 1
        return True

    async def drained(self) -> None:
        """At once."""


class Trusting:
    """Everybody is logged in."""

    def now_s(self) -> float:
        """Any time."""
        return 0.0

    def due_s(self, *, strictly: bool) -> float:  # noqa: ARG002 - never
        """Never."""
        return 0.0

    async def viewer_of(self, access_token: str) -> Viewer:  # noqa: ARG002 - never
        """Nobody's check is ever due."""
        raise AssertionError("nobody is to be checked")


async def main(count: int) -> None:
    """Measures and prints."""
    groups, source, longest_s = Groups(), Source(), 0.0
    clients = [Client() for _ in range(count)]
    members = [Member(client, "1", client, lambda *_: None) for client in clients]
    for member in members:
        groups.join(member, Followed("", "", source, Trusting(), copy_context()))
    await asyncio.sleep(0)
    began_s = time.process_time()
    source.begun.set()
    while not source.over.is_set():
        turn_s = time.perf_counter()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.perf_counter() - turn_s)
    cpu_s = time.process_time() - began_s
    assert all(client.told == EVENTS for client in clients)
    print(
        f"{count:,} members, {EVENTS} events: {cpu_s / count / EVENTS * 1e6:.2f} µs a member and event; "
        f"others waited {longest_s * 1e3:.1f} ms at most"
    )
    for member in members:
        member.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else MEMBERS))
