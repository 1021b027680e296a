"""Channels to other services: health-checked round robin, careful retries, deadlines, identity.

Stubs work on them as on any gRPC channel, but: a call ends with the current call's deadline, or earlier by
the `timeout=` given or else the contract's (a stream has no time of its own unless given one); the user token
and the trace are sent along; failures arrive as `mesh.errors.RemoteFailure`; a stub whose answer is a single
message gives a plain coroutine. A read with one request and one answer goes by a connection of ours
(`mesh.http2`) when there is one to a server that serves; commands and streams go by gRPC's core.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import grpc
from opentelemetry.trace import SpanContext, SpanKind

from mesh import caller, contracts, deadlines, telemetry, tls, waiting
from mesh.config import MESSAGE_BYTES_MAX
from mesh.contracts import service_of
from mesh.core import Core
from mesh.errors import DeadlineExceeded
from mesh.http2.frames import literal
from mesh.http2.pool import Pool
from mesh.http2.unary import NOT_MADE, unary
from mesh.interceptors.guards import CLAIMED_SERVICE_KEY, USER_TOKEN_KEY
from mesh.interceptors.leading import HEALTH_KEY
from mesh.measured import Measured
from mesh.renewal import Renewal
from mesh.service_config import service_config, target_of
from mesh.status import from_rpc_error
from mesh.streaming import ResponseStream

_USERS_REMEMBERED = 1_000

_said: ContextVar[dict[str, str] | None] = ContextVar("_said", default=None)


def connect(
    *,
    me: str,
    peer: str,
    addresses: str,
    tls_dir: Path | None,
    service: str | None = None,
    health: str = "",
    health_checked: bool = True,
    behind_sidecar: bool = False,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> MeshChannel:
    """A channel on which `me` calls `peer`.

    Behind a sidecar it is in clear, and Envoy looks for servers and repeats what may be repeated.

    `health` is the name under which a server of the peer reports whether it wants these calls, if that is not
    the service's own; the calls carry it, so that the server knows what is expected of it. The peer's stubs
    must have been imported (KeyError otherwise): their contract tells what to retry.
    """
    if behind_sidecar:
        tls_dir, health_checked = None, False
    config = service_config(
        service or service_of(peer), health=health, health_checked=health_checked, repeats=not behind_sidecar
    )
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # Otherwise channels of one process to one address are one connection, whatever their identity.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    target = target_of(addresses)
    pool = Pool(
        addresses, message_bytes_max, (health or service or service_of(peer)) if health_checked else None
    )
    if tls_dir is None:
        core = Core(partial(grpc.aio.insecure_channel, target, options=options))
        return MeshChannel(core, pool, claimed_service=me, health=health, behind_sidecar=behind_sidecar)
    pool.server_name, pool.tls = tls.host_name(peer), partial(tls.client_context, tls_dir, me)
    options.append(("grpc.ssl_target_name_override", pool.server_name))

    def open_channel() -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, tls.channel_credentials(tls_dir, me), options=options)

    return MeshChannel(Core(open_channel), pool, health=health, renewal=Renewal(tls_dir, me))


@contextmanager
def ahead_of_answers() -> Iterator[dict[str, str]]:
    """What servers say ahead of their answers (gRPC's initial metadata): calls made in the block fill it."""
    said: dict[str, str] = {}
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


class MeshChannel(grpc.aio.Channel):
    """A gRPC channel that adds to every call what the mesh adds; `renewal` is of the certificate it uses."""

    def __init__(
        self,
        core: Core,
        pool: Pool,
        *,
        claimed_service: str = "",
        health: str = "",
        renewal: Renewal | None = None,
        behind_sidecar: bool = False,
    ) -> None:
        self._core = core
        self._behind_sidecar = behind_sidecar
        self._pool = pool
        self._renewal = renewal
        # Streams that may still be waiting for a server, looked after as long as there are any.
        self._waiting: list[ResponseStream] = []
        self._looking: asyncio.Task[None] | None = None
        own = {CLAIMED_SERVICE_KEY: claimed_service, HEALTH_KEY: health}
        self._own_metadata = [(key, value) for key, value in own.items() if value]
        self._own_fields = b"".join(literal(*own) for own in self._own_metadata)
        # Of the call before: whose it was, and what it carried.
        self._last_fields: tuple[str, SpanContext | None, bytes] = "", None, b""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **options: Any,
    ) -> Any:
        """A callable for one method, as the generated stubs ask for it."""
        by_grpc = self._core.callable(
            "unary_unary", method, request_serializer, response_deserializer, **options
        )
        if not contracts.method(method).reads:
            return self._answering_once(method, by_grpc)
        return self._answering_once(method, by_grpc, request_serializer, response_deserializer)

    def stream_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """A callable for one method, as the generated stubs ask for it."""
        return self._answering_once(method, self._core.callable("stream_unary", method, *codec, **options))

    def unary_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """A callable for one method, as the generated stubs ask for it."""
        return self._answering_many(method, self._core.callable("unary_stream", method, *codec, **options))

    def stream_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """A callable for one method, as the generated stubs ask for it."""
        return self._answering_many(method, self._core.callable("stream_stream", method, *codec, **options))

    def _answering_once(
        self,
        path: str,
        start: Callable[..., Any],
        serialize: Callable[[Any], bytes] | None = None,
        parse: Callable[[bytes], Any] | None = None,
    ) -> Callable[..., Any]:
        contract = contracts.method(path)

        async def once(requests: Any, measured: Measured) -> Any:
            self._follow_renewal()
            if serialize is not None and parse is not None:
                answer = await unary(
                    self._pool,
                    contract,
                    serialize(requests),
                    self._fields(measured.within),
                    timeout_s=measured.left_s,
                    parse=parse,
                    said=_said.get(),
                )
                if answer is not NOT_MADE:
                    return answer
            metadata = self._metadata(measured.within)
            started = start(requests, timeout=measured.left_s, metadata=metadata, wait_for_ready=True)
            try:
                if (said := _said.get()) is not None:
                    said.update(_texts(await started.initial_metadata()))
                return await started
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error, method=path) from None

        async def call(requests: Any = None, *, timeout: float | None = None) -> Any:
            timeout_s = _time_given_s(contract.timeout_s if timeout is None else timeout)
            with Measured(contract, timeout_s) as measured:
                if contract.streams:  # some of its requests may be gone
                    return await once(requests, measured)
                return await waiting.until_taken(
                    lambda: once(requests, measured),
                    lambda: measured.left_s,
                    repeatable=contract.repeatable,
                    behind_sidecar=self._behind_sidecar,
                )

        return call

    def _answering_many(self, path: str, start: Callable[..., Any]) -> Callable[..., ResponseStream]:
        contract = contracts.method(path)
        repeatable = contract.repeatable and self._behind_sidecar

        def call(requests: Any = None, *, timeout: float | None = None) -> ResponseStream:
            timeout_s = _time_given_s(math.inf if timeout is None else timeout)
            ends_s = time.perf_counter() + timeout_s
            span = telemetry.tracer.start_span(contract.span_name, None, SpanKind.CLIENT, contract.attributes)
            # Long without being slow.
            span.lasts = True
            metadata = self._metadata(span.context)

            def begin() -> Any:
                self._follow_renewal()
                given_s = None if timeout_s == math.inf else max(0.0, ends_s - time.perf_counter())
                return start(requests, timeout=given_s, metadata=metadata, wait_for_ready=True)

            stream = ResponseStream(begin, contract, span, ends_s=ends_s, repeatable=repeatable)
            if self._renewal is not None:
                self._look_after(stream, self._renewal)
            return stream

        return call

    def _follow_renewal(self) -> None:
        """Calls that run end on the connections they run on; others are made with the renewed certificate."""
        if self._renewal is not None and self._renewal.is_due():
            self._core.renew()
            self._pool.renew()
            for stream in self._waiting:
                stream.move()

    def _look_after(self, stream: ResponseStream, renewal: Renewal) -> None:
        self._waiting.append(stream)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look(renewal))

    async def _look(self, renewal: Renewal) -> None:
        """Where nobody makes calls, streams that wait for a server would not follow."""
        while self._waiting:
            await renewal.pause()
            self._waiting = [stream for stream in self._waiting if stream.waits]
            self._follow_renewal()

    def _metadata(self, known: SpanContext) -> list[tuple[str, str]]:
        metadata = list(self._own_metadata)
        if token := caller.user_token():
            metadata.append((USER_TOKEN_KEY, token))
        metadata.extend(telemetry.carried(known).items())
        return metadata

    def _fields(self, known: SpanContext) -> bytes:
        """The same as a piece of a header block; calls of one request have the same."""
        token = caller.user_token()
        if self._last_fields[0] is token and self._last_fields[1] is known:
            return self._last_fields[2]
        fields = self._own_fields + (_user_field(token) if token else b"")
        for key, value in telemetry.carried(known).items():
            fields += literal(key, value)
        self._last_fields = token, known, fields
        return fields

    async def close(self, grace: float | None = None) -> None:
        """Ends all calls, after `grace` seconds at most."""
        if self._looking is not None:
            self._looking.cancel()
        await self._pool.close()
        await self._core.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """How the connection is."""
        return self._core.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the connection is in another state."""
        await self._core.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when a server is connected and serving."""
        await self._core.channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@lru_cache(_USERS_REMEMBERED)
def _user_field(token: str) -> bytes:
    return literal(USER_TOKEN_KEY, token)


def _time_given_s(timeout_s: float) -> float:
    """The given time, or what is left of the current call's if less. Raises DeadlineExceeded at none."""
    left_s = deadlines.remaining_s()
    if left_s is None:
        return timeout_s
    if left_s <= 0:
        raise DeadlineExceeded
    return min(timeout_s, left_s)


def _texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}
