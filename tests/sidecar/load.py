"""Callers that never rest, and what became of each of their calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from satreel.identity.v1 import identity_service_pb2 as pb
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from mesh import ids
from mesh.errors import RemoteFailure

CALL_S = 10.0


class Load:
    """Reads and commands in turn."""

    def __init__(self, stub: IdentityServiceStub, *, reads_only: bool) -> None:
        self._stub = stub
        self._reads_only = reads_only
        self.answered_by: list[str] = []
        self.commands_done: set[str] = set()
        # Those that failed, by the ids they carried.
        self.lost: dict[str, RemoteFailure] = {}

    async def until(self, count: int) -> None:
        """So many calls have been answered."""
        while len(self.answered_by) < count:
            await asyncio.sleep(0.01)

    async def more(self, count: int) -> None:
        """So many more."""
        await self.until(len(self.answered_by) + count)

    async def run(self, worker: int) -> None:
        """One caller."""
        is_command = worker % 2 == 1 and not self._reads_only
        while True:
            await (self._command() if is_command else self._read())

    async def _read(self) -> None:
        id_ = ids.uuid7()
        try:
            answer = await self._stub.GetUser(pb.GetUserRequest(user_id=id_), timeout=CALL_S)
            self.answered_by.append(answer.user.display_name)
        except RemoteFailure as failure:
            self.lost[id_] = failure

    async def _command(self) -> None:
        id_ = ids.uuid7()
        request = pb.LogInRequest(
            challenge_id=id_, address="1BoatSLRHtKNngkdXEeobR76b53LETtpyT", signature="s"
        )
        try:
            answer = await self._stub.LogIn(request, timeout=CALL_S)
            self.commands_done.add(id_)
            self.answered_by.append(answer.session.user.display_name)
        except RemoteFailure as failure:
            self.lost[id_] = failure


@asynccontextmanager
async def loaded(stub: IdentityServiceStub, *, workers: int, reads_only: bool = False) -> AsyncIterator[Load]:
    """Load within the block; the last calls end with it."""
    load = Load(stub, reads_only=reads_only)
    tasks = [asyncio.create_task(load.run(number)) for number in range(workers)]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def times_done(journal: Path) -> Counter[str]:
    """By id of a command, how often it reached a server."""
    lines = (line.split() for line in journal.read_text().splitlines())
    return Counter(id_ for _, method, id_ in lines if method == "LogIn")
