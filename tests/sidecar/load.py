"""Callers that never rest, and what became of each of their calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from satreel.identity.v1 import identity_service_pb2 as pb
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from mesh import ids
from mesh.errors import RemoteFailure
from mesh.status import from_rpc_error
from tests.sidecar.town import Town

CALL_S = 10.0


class Load:
    """Reads, as any client of gRPC makes them, and commands, as parts of the mesh do."""

    def __init__(self, reads: IdentityServiceStub, commands: IdentityServiceStub) -> None:
        self._reads = reads
        self._commands = commands
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

    async def until_both_answer(self) -> None:
        """Both identities, from now on."""
        async with asyncio.timeout(60):
            seen = len(self.answered_by)
            while len(set(self.answered_by[seen:])) < 2:
                await asyncio.sleep(0.02)

    async def read(self) -> None:
        """One reader."""
        while True:
            await self._read()

    async def command(self) -> None:
        """One who commands."""
        while True:
            await self._command()

    async def _read(self) -> None:
        id_ = ids.uuid7()
        try:
            answer = await self._reads.GetUser(pb.GetUserRequest(user_id=id_), timeout=CALL_S)
            self.answered_by.append(answer.user.display_name)
        except grpc.aio.AioRpcError as error:
            self.lost[id_] = from_rpc_error(error, method="/GetUser")

    async def _command(self) -> None:
        id_ = ids.uuid7()
        request = pb.LogInRequest(
            challenge_id=id_, address="1BoatSLRHtKNngkdXEeobR76b53LETtpyT", signature="s"
        )
        try:
            answer = await self._commands.LogIn(request, timeout=CALL_S)
            self.commands_done.add(id_)
            self.answered_by.append(answer.session.user.display_name)
        except RemoteFailure as failure:
            self.lost[id_] = failure


@asynccontextmanager
async def loaded(town: Town, *, readers: int, commanders: int) -> AsyncIterator[Load]:
    """Load on the identities within the block, which both answer first; the last calls end with it."""
    assert town.gateway is not None
    place = town.gateway.places.peers["identity"].listen
    async with grpc.aio.insecure_channel(place) as plain, town.channel("identity") as channel:
        load = Load(IdentityServiceStub(plain), IdentityServiceStub(channel))
        work = [load.read() for _ in range(readers)] + [load.command() for _ in range(commanders)]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await load.until_both_answer()
            load.lost.clear()
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def times_done(journal: Path) -> Counter[str]:
    """By id of a command, how often it reached a server."""
    lines = (line.split() for line in journal.read_text().splitlines())
    return Counter(id_ for _, method, id_ in lines if method == "LogIn")
