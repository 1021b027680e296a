"""The gRPC server of a service: its interceptors, health, reflection, TLS, and a drain that loses no call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh import logs, renewal, tls
from mesh.clock import Clock, SystemClock
from mesh.config import HEAD_BYTES_MAX, MeshSettings, variable_name
from mesh.interceptors import around, guards, validation
from mesh.interceptors.bounds import Bounds
from mesh.interceptors.leading import LeadersCalls
from mesh.interceptors.pipeline import Pipeline
from mesh.revocations import Revocations
from mesh.tokens import UserTokenVerifier

log = logs.logger(__name__)

# While it drains: how often it looks whether calls still come.
_LOOKS = 4
LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")
Servicer = TypeVar("Servicer")


class Health:
    """What this server reports for each of its gRPC services, to load balancers and clients."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._serving: set[str] = set()
        self._leaving = False

    def serves(self, service: str) -> bool:
        """Whether calls to the service should come here, as was reported last."""
        return service in self._serving and not self._leaving

    async def set(self, service: str, serving: bool) -> None:
        """Reports whether calls to the service (by its full gRPC name) should come here."""
        reply = health_pb2.HealthCheckResponse
        (self._serving.add if serving else self._serving.discard)(service)
        await self.servicer.set(service, reply.SERVING if serving else reply.NOT_SERVING)

    async def leave(self) -> None:
        """Reports NOT_SERVING for everything, for good."""
        self._leaving = True
        await self.servicer.enter_graceful_shutdown()


class _Registrar:
    """Stands in for the server while a servicer is added, to learn the names of its services."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        self.names.append(name)
        self._server.add_registered_method_handlers(name, handlers)


class MeshServer:
    """One listening address with any number of gRPC services. Needs a running event loop."""

    def __init__(
        self,
        settings: MeshSettings,
        clock: Clock | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self.health = Health()
        self.port = 0
        self._streams = around.OpenStreams()
        self._leaders_calls = LeadersCalls(self.health.serves)
        self._bounds = Bounds(
            calls_max=settings.calls_max,
            streams_max=settings.streams_max,
            wait_max_s=settings.call_wait_max_s,
        )
        self._settings = settings
        self.services: list[str] = []
        self._server = grpc.aio.server(
            interceptors=[
                _pipeline(
                    settings,
                    clock or SystemClock(),
                    (self._leaders_calls, self._bounds, self._streams),
                    revocations,
                )
            ],
            options=[
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.max_send_message_length", settings.message_bytes_max),
                # Between two different bounds it refuses by chance.
                ("grpc.max_metadata_size", HEAD_BYTES_MAX),
                ("grpc.absolute_max_metadata_size", HEAD_BYTES_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                *_connections(settings),
            ],
        )

    async def add(
        self, adder: Callable[[Servicer, Any], None], servicer: Servicer, *, serving: bool = True
    ) -> None:
        """Adds a servicer with its generated `add_…_to_server`; where one instance leads, with serving=False.

        Calls to that one are then refused until its health says that it serves, and while it does not.
        """
        registrar = _Registrar(self._server)
        adder(servicer, registrar)
        for name in registrar.names:
            self.services.append(name)
            if not serving:
                self._leaders_calls.services.add(name)
            await self.health.set(name, serving)

    async def start(self) -> int:
        """Listens; answers the port. Raises RuntimeError when the address is taken or may not be used."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection([*self.services, health.SERVICE_NAME], self._server)
        _warm(self.services)
        try:
            self.port = self._listen(self._settings)
        except RuntimeError as problem:
            listen = variable_name(type(self._settings), "listen")
            raise RuntimeError(f"cannot listen on {self._settings.listen} ({listen}): {problem}") from problem
        await self._server.start()
        log.info("listening", address=self._settings.listen, port=self.port, services=self.services)
        return self.port

    def _listen(self, settings: MeshSettings) -> int:
        if settings.tls_dir is not None and not settings.behind_sidecar:
            credentials = tls.server_credentials(settings.tls_dir, settings.service)
            return self._server.add_secure_port(settings.listen, credentials)
        if not settings.listen.startswith(LOOPBACK):
            raise RuntimeError("without TLS only loopback is served: set SATREEL_TLS_DIR")
        return self._server.add_insecure_port(settings.listen)

    async def resign(self) -> None:
        """Reports NOT_SERVING for good, takes no more calls for a leader, and waits for those that run.

        For `drain_s` at most: what still runs then learns that it has no leader any more.
        """
        await self.health.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._leaders_calls.none_run()

    async def stop(self) -> None:
        """Drains: reports NOT_SERVING, lets callers turn away, then waits for running calls and stops."""
        await self.health.leave()
        await asyncio.sleep(self._settings.drain_s)
        await self._until_calls_stay_away()
        self._streams.end()
        await self._server.stop(self._settings.stop_grace_s)

    async def _until_calls_stay_away(self) -> None:
        """For `drain_s` more at most: gRPC's core cancels what comes in the moment when it stops."""
        for _ in range(_LOOKS):
            seen = self._bounds.begun
            await asyncio.sleep(self._settings.drain_s / _LOOKS)
            if self._bounds.begun == seen:
                return

    async def abort(self) -> None:
        """Stops now; after `stop` it does nothing more."""
        await self._server.stop(None)


def _pipeline(
    settings: MeshSettings,
    clock: Clock,
    own: tuple[LeadersCalls, Bounds, around.OpenStreams],
    revocations: Revocations | None,
) -> Pipeline:
    verifier = None
    if settings.user_token_key is None:
        log.warning("user tokens are not accepted: SATREEL_USER_TOKEN_KEY is not set")
    else:
        verifier = UserTokenVerifier(settings.user_token_key.read_bytes(), clock, revocations)
    return Pipeline(
        arounds=(around.measured, around.failures_rendered, *own),
        guards=(
            guards.CallerIdentified(_identity_source(settings), verifier),
            guards.deadline_entered,
            guards.access_enforced,
        ),
        check=validation.validated,
    )


def _connections(settings: MeshSettings) -> list[tuple[str, int]]:
    """Those with a certificate are made anew so often, with that of then; calls under way end."""
    if settings.tls_dir is None or settings.behind_sidecar:
        return []
    return [("grpc.max_connection_age_ms", int(renewal.CONNECTION_S * 1_000))]


def _identity_source(settings: MeshSettings) -> guards.IdentitySource:
    if settings.behind_sidecar:
        return guards.from_sidecar
    return guards.as_claimed if settings.tls_dir is None else guards.from_tls_peer


def _warm(services: list[str]) -> None:
    pool = descriptor_pool.Default()
    found = [pool.FindServiceByName(name) for name in services]
    validation.warm([method.input_type for service in found for method in service.methods])
