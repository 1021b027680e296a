"""An identity service that knows nobody, as a process behind a sidecar: it says who answered.

    python -m tests.sidecar.standin NAME JOURNAL

What reached it is written to the journal, a line a call, before it answers: "NAME LogIn <challenge id>".
While a file NAME.broken is beside the journal, it says that it serves, and fails all reads.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

from satreel.identity.v1 import identity_pb2, identity_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2 as pb

from mesh import caller
from mesh.config import MeshSettings
from mesh.errors import Unavailable
from mesh.server import MeshServer

# How long a command takes.
WORK_S = 0.05


class StandInSettings(MeshSettings, env_prefix="SATREEL_IDENTITY_"):
    """Those of every service."""

    service: ClassVar[str] = "identity"


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    """A read, and a command that may not be repeated."""

    def __init__(self, name: str, journal: Path) -> None:
        self._name = name
        self._journal = journal.open("a", buffering=1)
        self._broken = broken_file(journal, name)

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        self._write("GetUser", request.user_id)
        if self._broken.exists():
            raise Unavailable
        user = identity_pb2.User(id=caller.current().service, display_name=self._name)
        return pb.GetUserResponse(user=user)

    async def LogIn(self, request: pb.LogInRequest, context: Any) -> pb.LogInResponse:
        self._write("LogIn", request.challenge_id)
        await asyncio.sleep(WORK_S)
        user = identity_pb2.User(id=caller.current().service, display_name=self._name)
        return pb.LogInResponse(session=identity_pb2.Session(user=user))

    def _write(self, method: str, id_: str) -> None:
        self._journal.write(f"{self._name} {method} {id_}\n")


def broken_file(journal: Path, name: str) -> Path:
    """While it is there, this one is broken."""
    return journal.with_name(f"{name}.broken")


async def main(name: str, journal: Path) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = MeshServer(StandInSettings())
    identity = Identity(name, journal)  # type: ignore[abstract] # the others answer UNIMPLEMENTED
    await server.add(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, identity)
    await server.start()
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
