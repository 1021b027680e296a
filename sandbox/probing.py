"""How the launcher sees who serves: by the health that each instance reports, asked as a part of the mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from mesh import tls
from mesh.contracts import service_of
from mesh.core import Core
from mesh.renewal import Renewal
from sandbox.instances import Instance, Layout
from topology.parts import GATEWAY
from topology.upstreams import HEALTH_PATH

TIMEOUT_S = 2.0
_ME = "launcher"
_CHECK = "/grpc.health.v1.Health/Check"
# What a server reports of itself as a whole.
_ITSELF = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An instance that is asked: by which channel, with which certificate, and the method."""

    core: Core
    renewal: Renewal
    check: Callable[..., Any]


class Prober:
    """Asks, and keeps the connections."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._asked: dict[str, _Asked] = {}

    async def serves(self, one: Instance) -> bool:
        """Whether calls should go there."""
        if one.part == GATEWAY:
            return await self._answers(one)
        return await self._reports(one, service_of(one.part))

    async def is_well(self, one: Instance) -> bool:
        """Whether the server of a service is there, though another may lead."""
        return await self._reports(one, _ITSELF)

    async def close(self) -> None:
        """Ends the connections."""
        for asked in self._asked.values():
            await asked.core.close()

    async def _reports(self, one: Instance, service: str) -> bool:
        asked = self._line_to(one)
        if asked.renewal.is_due():
            asked.core.renew()
        try:
            answer = await asked.check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _answers(self, one: Instance) -> bool:
        secure, place = self._layout.has_sidecars, self._layout.entrance(one)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        context = tls.client_context(self._layout.tls_dir, _ME) if secure else False
        name = tls.host_name(one.part) if secure else None
        url = f"{'https' if secure else 'http'}://{place}{HEALTH_PATH}"
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.get(url, ssl=context, server_hostname=name) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _line_to(self, one: Instance) -> _Asked:
        if one.name not in self._asked:
            core = Core(lambda: self._channel(one))
            request, answer = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
            check = core.callable("unary_unary", _CHECK, request.SerializeToString, answer.FromString)
            self._asked[one.name] = _Asked(core, Renewal(self._layout.tls_dir, _ME), check)
        return self._asked[one.name]

    def _channel(self, one: Instance) -> grpc.aio.Channel:
        options = [
            ("grpc.ssl_target_name_override", tls.host_name(one.part)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        credentials = tls.channel_credentials(self._layout.tls_dir, _ME)
        return grpc.aio.secure_channel(self._layout.entrance(one), credentials, options=options)
