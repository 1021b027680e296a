"""The chain service as it is, killed by SIGKILL at a point of its work.

`python -m tests.chain.mortal "behind txs sent"`: a write of a record of a set in a state, `send` (to the
node) or `post` (of a hold): `before` it is done, or right `behind` it; "never": not at all. It counts from
the first withdrawal asked for in this process, so that what it recovers does not kill it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from mesh.leases import Lease
from mesh.records import Bins, Store, open_store
from mesh.runtime import run
from services.chain import __main__ as program
from services.chain.adapters.ledger import LedgerClient
from services.chain.adapters.node import RpcNode
from services.chain.app.ports import Post
from services.chain.config import ChainSettings

T = TypeVar("T")
LEASE_S = 1.0
"""Who comes after a kill need not wait long for the lease: its timing has tests of its own."""


class Point:
    """Where the process dies."""

    def __init__(self, text: str) -> None:
        self._when, _, self._what = text.partition(" ")
        self._armed = False

    async def passing(self, what: str, work: Awaitable[T]) -> T:
        """Does the work, unless this is where it ends."""
        here = self._armed and what == self._what
        if here and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await work
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        self._armed = self._armed or what == "withdrawals new"
        return done


class MortalStore:
    """The real store, each write of which passes the point."""

    def __init__(self, store: Store, point: Point) -> None:
        self._store = store
        self._point = point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        return await self._point.passing(_named(set_name, bins), self._store.create(set_name, key, bins))

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        return await self._point.passing(
            _named(set_name, bins), self._store.put_if(set_name, key, bins, generation)
        )


def _named(set_name: str, bins: Bins) -> str:
    return f"{set_name} {bins.get('state', '')!s}"


def main(point: Point) -> None:
    """Runs the service with its store, its node and its ledger passing the point."""

    @asynccontextmanager
    async def opened(*given: Any) -> AsyncIterator[MortalStore]:
        async with open_store(*given) as store:
            yield MortalStore(store, point)

    send, move = RpcNode.send, LedgerClient.move

    async def sending(node: RpcNode, *given: Any) -> Any:
        return await point.passing("send", send(node, *given))

    async def moving(ledger: LedgerClient, movements: Any) -> Any:
        what = "post" if any(isinstance(one, Post) for one in movements) else "move"
        return await point.passing(what, move(ledger, movements))

    for where, name, instead in (
        (program, "open_store", opened),
        (program, "Lease", partial(Lease, ttl_s=LEASE_S)),
        (RpcNode, "send", sending),
        (LedgerClient, "move", moving),
    ):
        setattr(where, name, instead)
    run(ChainSettings, program.main)


if __name__ == "__main__":
    main(Point(sys.argv.pop()))
