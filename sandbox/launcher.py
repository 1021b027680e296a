"""The launcher: starts the outside world and every service as a process of its own, watches and stops them.

Services speak mTLS with certificates of a local authority made under the data folder. What dies is started
again; what keeps dying ends the run with the reason.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sandbox.binaries import require_programs
from sandbox.certificates import Certificates
from sandbox.edge import Edge
from sandbox.environment import inherited
from sandbox.instances import Instance, Layout
from sandbox.outside import require_answers
from sandbox.parts import Parts, Progress
from sandbox.probing import Prober
from sandbox.process import LOOPBACK, sole_run
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.settings import REPLICATED, SandboxSettings
from sandbox.sidecar import Sidecar
from sandbox.surroundings import Surroundings
from sandbox.watches import require_watches

# Envoys ask each second who serves: so long after an instance is up they all know, and another one may go.
NOTICED_S = 2.0


class House:
    """The running mesh. Made by `running`."""

    def __init__(self, settings: SandboxSettings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.node_url = ""
        self.zmq_endpoint = ""
        # The chain was there before; what this run did comes after.
        self.first_height = 0
        self.rpc: NodeRpc
        self.chain: Regtest
        self.edge: Edge | None = None
        # By the instance that each stands beside.
        self.sidecars: dict[str, Sidecar] = {}
        self._data = settings.data_dir.resolve()
        self.parts = Parts(self._data / "logs", progress)
        self.layout = Layout(settings)
        self._prober = Prober(self.layout)
        self._stack = AsyncExitStack()
        self._surroundings = Surroundings(settings, self.parts, self._stack)

    @property
    def url(self) -> str:
        """The edge's address in clear."""
        return f"http://{LOOPBACK}:{self.settings.http_port}"

    @property
    def secure_url(self) -> str:
        """The edge's address with TLS; its certificate is the local authority's."""
        return f"https://localhost:{self.settings.https_port}"

    @property
    def tls_dir(self) -> Path:
        """Folder of the local authority (`ca.pem`) and of everybody's certificates."""
        return self.layout.tls_dir

    async def start(self, *, admin_addresses: list[str]) -> None:
        """Starts everything and waits until it serves. Raises SandboxFailure, naming what is missing."""
        self._stack.enter_context(sole_run(self._data))
        self.layout.require_ports()
        await asyncio.to_thread(require_programs, self.settings)
        require_watches(len(self.layout.instances) if self.settings.sidecars else 0)
        for line in await require_answers(self.settings, os.environ):
            self.progress(line)
        otlp_endpoint = await self._telemetry()
        told = await self._outside_world()
        # On one machine every trace is kept.
        seen = {"SATREEL_OTLP_ENDPOINT": otlp_endpoint, "SATREEL_TRACE_RATIO": "1"} if otlp_endpoint else {}
        self._keep_certificates()
        shared = seen | self.layout.certificates()
        own = self.layout.own_environment(admin_addresses)
        # The second of each start when the first serve: all at once they would only wait for each other.
        for replica in range(1, self.settings.replicas + 1):
            wave = [one for one in self.layout.instances if one.replica == replica]
            if self.settings.sidecars:
                await self._start_sidecars(wave, otlp_endpoint)
            for one in wave:
                environment = inherited(one.part) | shared | told.get(one.part, {}) | own[one.name]
                await self.parts.start(one.name, one.argv, environment)
            await asyncio.gather(*(self.until_up(one) for one in wave))
        self.edge = Edge(self.layout.edge_places(otlp_endpoint))
        await self.edge.start(self.parts)
        self.progress("edge serves")

    def _keep_certificates(self) -> None:
        """Makes them, and renews them as long as it all runs."""
        certificates = Certificates(self.tls_dir)
        certificates.make()
        self._stack.callback(asyncio.create_task(certificates.keep(self.progress)).cancel)

    async def stop(self) -> None:
        """Stops the edge first, then the gateway, then the services, then the outside world."""
        if self.edge is not None:
            await self.edge.drain()
        mesh = [[one.name for one in self.layout.of(part)] for part in reversed(REPLICATED)]
        sidecars = [sidecar.name for sidecar in self.sidecars.values()]
        await self.parts.stop((["edge"], *mesh, sidecars, ["aitubo", "explorers", "viewer"]))
        await self._prober.close()
        await self._stack.aclose()

    async def until_serving(self, part: str) -> Instance:
        """Returns when one of its instances serves (a leader: once it leads): which. Raises StartFailed."""
        found: list[Instance] = []

        async def serving() -> bool:
            found.extend([one for one in self.layout.of(part) if await self._prober.serves(one)])
            return bool(found)

        await self.parts.until(serving, self.layout.of(part)[0].name)
        return found[0]

    async def until_up(self, one: Instance) -> None:
        """Returns when the instance serves, or stands by while another leads. Raises StartFailed."""

        async def up() -> bool:
            return await self._prober.serves(one) or await self._stands_by(one)

        await self.parts.until(up, one.name)
        self.progress(f"{one.name} {'serves' if await self._prober.serves(one) else 'stands by'}")

    async def _stands_by(self, one: Instance) -> bool:
        if not one.leads_alone or not await self._prober.is_well(one):
            return False
        return any([await self._prober.serves(other) for other in self.layout.of(one.part) if other != one])

    async def _start_sidecars(self, wave: list[Instance], otlp_endpoint: str) -> None:
        """Before their applications, which call through them. An Envoy takes a second of a core to start."""
        for one in wave:
            places = self.layout.sidecar_places(one, otlp_endpoint)
            self.sidecars[one.name] = Sidecar(f"{one.name}-sidecar", places)
        await asyncio.gather(*(self.sidecars[one.name].start(self.parts) for one in wave))
        self.progress(f"{len(wave)} sidecars serve")

    async def restart(self, one: Instance) -> None:
        """As a rollout does it: asked to end, it drains and ends, then its sidecar; then both are up again.

        Raises SandboxFailure.
        """
        async with self.parts.ended(one.name):
            if sidecar := self.sidecars.get(one.name):
                await sidecar.drain()
                async with self.parts.ended(sidecar.name):
                    pass
        await self.until_up(one)
        await asyncio.sleep(NOTICED_S)

    async def roll(self, part: str) -> None:
        """Restarts all instances of a part, one after the other. Raises SandboxFailure."""
        for one in self.layout.of(part):
            await self.restart(one)

    async def _outside_world(self) -> dict[str, dict[str, str]]:
        """Starts what no setting names elsewhere; gives what each part is told of it."""
        found = await self._surroundings.start()
        self.node_url, self.zmq_endpoint = found.node_url, found.zmq_endpoint
        self.rpc = await self._stack.enter_async_context(NodeRpc(self.node_url))
        self.chain = Regtest(self.rpc)
        self.first_height = await self.chain.height()
        return found.told

    async def _telemetry(self) -> str:
        """Where traces and metrics go; "" is nowhere."""
        if self.settings.otlp_endpoint or not self.settings.viewer_port:
            return self.settings.otlp_endpoint
        return await self._surroundings.viewer()


@asynccontextmanager
async def running(
    settings: SandboxSettings, *, admin_addresses: list[str], progress: Progress
) -> AsyncIterator[House]:
    """The whole mesh for the length of a `with` block. Raises SandboxFailure when it cannot be started."""
    house = House(settings, progress)
    try:
        await house.start(admin_addresses=admin_addresses)
        yield house
    finally:
        await house.stop()
        if house.parts.failed.done():
            house.parts.failed.exception()
