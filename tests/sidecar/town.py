"""Replicas behind real sidecars, and callers behind theirs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh import caller, tls
from mesh.authority import Authority
from mesh.caller import Caller
from mesh.channel import MeshChannel, connect
from mesh.clock import SystemClock
from mesh.config import MeshSettings
from mesh.contracts import service_of
from mesh.errors import NOT_LEADER, Unavailable
from mesh.server import MeshServer
from mesh.status import UNSENT_KEY
from mesh.tokens import UserTokenSigner
from sandbox.environment import inherited
from sandbox.parts import Parts
from sandbox.process import LOOPBACK, free_port
from sandbox.sidecar import Sidecar
from topology.calls import called_by
from topology.parts import PARTS
from topology.sidecar import Limits, Peer, Places

ROOT = Path(__file__).resolve().parents[2]
# So that connections of before a rotation end while a test looks.
LIMITS = Limits(connection_s=2)
READS = PARTS["ledger"].healths[0]
# Longer than sidecars take to see that a replica leaves.
DRAIN_S = 1.5


def place() -> str:
    """One that nobody listens at."""
    return f"{LOOPBACK}:{free_port()}"


@dataclass(frozen=True, slots=True)
class Replica:
    """An instance of a part: where the mesh and where its sidecar find it."""

    name: str
    part: str
    sidecar: Sidecar

    @property
    def listen(self) -> str:
        """Of the sidecar."""
        return self.sidecar.places.listen

    @property
    def application(self) -> str:
        """In clear."""
        return self.sidecar.places.application


class NotLeader(Unavailable):
    """It does not lead any more."""

    reason = NOT_LEADER


class Ledger(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Says which replica answers, as a number, and remembers what reached it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.callers: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.left_s: float | None = None
        # It has lost its lead, and its sidecar's callers do not know it yet.
        self.refuses = False
        # It does what it is told, and cannot say so.
        self.fails = False
        # It says that calls have not reached it.
        self.lies = False
        # A call that locks a round has come, and ends when it may.
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()

    async def GetTotals(self, request: pb.GetTotalsRequest, context: Any) -> pb.GetTotalsResponse:
        self.callers.append(caller.current().service)
        self.metadata = dict(context.invocation_metadata())
        self.left_s = context.time_remaining()
        return pb.GetTotalsResponse(sum_sats=self.number)

    async def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:
        self.callers.append(caller.current().service)
        if self.refuses:
            raise NotLeader
        if self.fails:
            self.begun.set()
            await self.release.wait()
            raise Unavailable
        if self.lies:
            await context.send_initial_metadata(())
            await context.abort(grpc.StatusCode.UNAVAILABLE, "", ((UNSENT_KEY, "1"),))
        return pb.CloseSessionResponse(session=ledger_pb2.Session(id=str(self.number)))

    async def LockRound(self, request: pb.LockRoundRequest, context: Any) -> pb.LockRoundResponse:
        self.callers.append(caller.current().service)
        self.begun.set()
        await self.release.wait()
        return pb.LockRoundResponse()

    async def WatchLedger(
        self, request: pb.WatchLedgerRequest, context: Any
    ) -> AsyncIterator[pb.WatchLedgerResponse]:
        self.callers.append(caller.current().service)
        yield pb.WatchLedgerResponse(cursor=str(self.number))


class LedgerSettings(MeshSettings):
    """Those of every service."""

    service: ClassVar[str] = "ledger"


@dataclass(slots=True)
class Town:
    """All of it. Ledgers run in this process, and one of them leads; identities are processes."""

    folder: Path
    parts: Parts
    authority: Authority
    journal: Path
    identities: list[Replica] = field(default_factory=list)
    ledgers: list[tuple[Replica, Ledger, MeshServer]] = field(default_factory=list)
    gateway: Sidecar | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def tls_dir(self) -> Path:
        """The authority's."""
        return self.folder / "tls"

    def sidecar(
        self, name: str, part: str, peers: dict[str, tuple[str, ...]], limits: Limits = LIMITS
    ) -> Sidecar:
        """One that calls these; nobody is at the others that its part calls."""
        self.authority.issue(part)
        found = {peer: Peer(place(), peers.get(peer, (place(),))) for peer in called_by(part)}
        places = Places(
            part=part,
            folder=self.folder / name,
            listen=place(),
            application=place(),
            peers=found,
            admin=place(),
            tls=self.tls_dir,
            limits=limits,
        )
        return Sidecar(name, places)

    async def start_identity(self, replica: Replica) -> None:
        """The application beside it."""
        command = [sys.executable, "-m", "tests.sidecar.standin", replica.name, str(self.journal)]
        environment = inherited() | {
            "SATREEL_BEHIND_SIDECAR": "true",
            "SATREEL_IDENTITY_LISTEN": replica.application,
            "SATREEL_DRAIN_S": str(DRAIN_S),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        }
        await self.parts.start(replica.name, command, environment)
        await self.parts.until_listening(replica.name, int(replica.application.rpartition(":")[2]))

    async def start_ledger(self, number: int, replica: Replica, *, leads: bool) -> None:
        """The application beside it."""
        ledger = Ledger(number)  # type: ignore[abstract] # the others answer UNIMPLEMENTED
        _, public_key = tls.make_user_token_keys(self.tls_dir)
        settings = LedgerSettings(
            listen=replica.application,
            behind_sidecar=True,
            user_token_key=public_key,
            drain_s=0,
            stop_grace_s=1,
        )
        server = MeshServer(settings)
        await server.add(ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, ledger, serving=leads)
        await server.health.set(READS, True)
        await server.start()
        self.stack.push_async_callback(server.abort)
        self.ledgers.append((replica, ledger, server))

    @contextmanager
    def user(self) -> Iterator[None]:
        """Calls in the block carry a user's token."""
        private_key, _ = tls.make_user_token_keys(self.tls_dir)
        token, _ = UserTokenSigner(private_key.read_bytes(), SystemClock()).sign(
            user_id="u", roles=frozenset(), session_id="s"
        )
        with caller.acting_as(Caller("", "u"), token):
            yield

    async def lead(self, number: int | None) -> None:
        """This ledger leads, or none."""
        for at, (_, _, server) in enumerate(self.ledgers):
            await server.health.set(service_of("ledger"), at == number)

    def channel(self, peer: str, *, health: str = "", by: Sidecar | None = None) -> MeshChannel:
        """As the gateway, or whoever is beside this sidecar, calls it."""
        by = by or self.gateway
        assert by is not None
        address = by.places.peers[peer].listen
        return connect(
            me=by.places.part, peer=peer, addresses=address, tls_dir=None, behind_sidecar=True, health=health
        )

    def direct(self, me: str, peer: str, address: str) -> MeshChannel:
        """As somebody without a sidecar calls one's."""
        self.authority.issue(me)
        return connect(me=me, peer=peer, addresses=address, tls_dir=self.tls_dir, health_checked=False)


async def until_leads(stub: ledger_service_pb2_grpc.LedgerServiceStub, number: int) -> None:
    """Calls go to this ledger: each tells its own number as the sum."""
    async with asyncio.timeout(60):
        while (await stub.GetTotals(pb.GetTotalsRequest(), timeout=30)).sum_sats != number:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Town]:
    """Two identities, two ledgers of which the first leads, and the gateway's sidecar, which calls them."""
    town = Town(folder, Parts(folder / "logs", print), Authority.open(folder / "tls"), folder / "journal.txt")
    town.journal.touch()
    try:
        for number in (0, 1):
            name = f"identity-{number}"
            replica = Replica(name, "identity", town.sidecar(f"{name}-sidecar", "identity", {}))
            town.identities.append(replica)
        ledgers = [
            Replica(f"ledger-{number}", "ledger", town.sidecar(f"ledger-{number}-sidecar", "ledger", {}))
            for number in (0, 1)
        ]
        town.gateway = town.sidecar(
            "gateway-sidecar",
            "gateway",
            {
                "identity": tuple(replica.listen for replica in town.identities),
                "ledger": tuple(replica.listen for replica in ledgers),
            },
        )
        for number, replica in enumerate(ledgers):
            await town.start_ledger(number, replica, leads=number == 0)
        sidecars = [*(replica.sidecar for replica in (*town.identities, *ledgers)), town.gateway]
        async with asyncio.TaskGroup() as group:
            for replica in town.identities:
                group.create_task(town.start_identity(replica))
            for sidecar in sidecars:
                group.create_task(sidecar.start(town.parts))
        yield town
    finally:
        await town.stack.aclose()
        # Who would drain first: nobody calls any more.
        for part in town.parts.running.values():
            part.wanted = False
            if part.child is not None and part.child.exit_code is None:
                part.child.process.kill()
        await town.parts.stop([town.parts.running])
