"""Calls to Satreel's services: as whom, for how long, what is made again, and why a call failed.

The generated stubs work on any gRPC channel; this makes one with your team's certificate, with the time and
the repetitions that the contracts give, and reads the errors that services send.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import error_details_pb2, status_pb2
from satreel.mesh.v1 import access_pb2

# What a unary call gets when neither the caller nor its contract says.
TIMEOUT_S_DEFAULT = 8.0
# The same as the mesh's own: up to four attempts, within a budget, only where the contract allows it.
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_RETRY_BUDGET = {"maxTokens": 100, "tokenRatio": 0.5}
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 30_000, 10_000
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
_Code = grpc.StatusCode
_OUTCOME_UNKNOWN = frozenset(
    {
        _Code.CANCELLED, _Code.UNKNOWN, _Code.DEADLINE_EXCEEDED,
        _Code.INTERNAL, _Code.UNAVAILABLE, _Code.DATA_LOSS,
    }
)  # fmt: skip
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Identity:
    """Your team, as its certificate names it, and whom it believes; all in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes

    @classmethod
    def read(cls, folder: Path, name: str) -> Identity:
        """From `<name>.pem`, `<name>.key` and `ca.pem`. Raises OSError."""
        files = (f"{name}.pem", f"{name}.key", "ca.pem")
        return cls(*((folder / file).read_bytes() for file in files))


def as_user(access_token: str) -> tuple[tuple[str, str]]:
    """A call's `metadata` when it is made for a signed-in user, through the edge."""
    return (("authorization", f"Bearer {access_token}"),)


def new_id() -> str:
    """An id for what you create (RFC 9562, version 7). Whoever repeats a call gives the same id again."""
    milliseconds, noise = time.time_ns() // 1_000_000, secrets.randbits(74)
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def channel(
    address: str, identity: Identity, *contracts: FileDescriptor, server: str = "", public: bool = False
) -> grpc.aio.Channel:
    """A channel on which `identity` calls the services of these contracts (`…_service_pb2.DESCRIPTOR`).

    `address` is "HOST:PORT": of the edge, or of a service that names you among its callers; then `server` is
    that service ("chain"). `public`: the edge shows a certificate that browsers trust, not one of the mesh's.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(*contracts))),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ]
    if server:
        options.append(("grpc.ssl_target_name_override", f"{server}.satreel"))
    credentials = grpc.ssl_channel_credentials(
        None if public else identity.authority, identity.key, identity.certificate
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


def service_config(*contracts: FileDescriptor) -> dict[str, Any]:
    """gRPC's service config: each unary method has its contract's time; those that may be repeated, are."""
    methods = [method for contract in contracts for method in _methods(contract)]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": _RETRY_BUDGET,
        "methodConfig": [_method(method) for method in methods],
    }


def _methods(contract: FileDescriptor) -> Iterator[MethodDescriptor]:
    for service in contract.services_by_name.values():
        yield from service.methods


def _method(method: MethodDescriptor) -> dict[str, Any]:
    options = method.GetOptions()
    told: dict[str, Any] = {"name": [{"service": method.containing_service.full_name, "method": method.name}]}
    if not (method.client_streaming or method.server_streaming):
        told["timeout"] = f"{options.Extensions[access_pb2.access].timeout_ms / 1000 or TIMEOUT_S_DEFAULT}s"
    if options.idempotency_level in _REPEATABLE:
        told["retryPolicy"] = _RETRY
    return told


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed; each contract lists its reasons."""

    code: grpc.StatusCode
    # Of the contract's ErrorReason, without its prefix ("ROUND_NOT_FOUND"); the code's name when it was the
    # way to the service that failed.
    reason: str
    # Who failed: "satreel.rounds", "satreel.edge"; "" when it was the way.
    domain: str
    # For people.
    message: str
    metadata: Mapping[str, str]
    # Fields of the request that break a rule, with what is wrong.
    violations: Mapping[str, str]

    @property
    def may_be_done(self) -> bool:
        """Whether a command may have been carried out all the same: make the same call again, id and all."""
        return self.code in _OUTCOME_UNKNOWN

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Failure:
        """Reads what a stub raised."""
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        status = _status(error)
        for detail in status.details:
            # Unpack leaves a message of another type alone.
            detail.Unpack(info)
            detail.Unpack(request)
        return cls(
            error.code(),
            info.reason or error.code().name,
            info.domain,
            status.message or error.details() or "",
            dict(info.metadata),
            {broken.field: broken.description for broken in request.field_violations},
        )


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    found = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), b"")
    if isinstance(found, bytes) and found:
        return status_pb2.Status.FromString(found)
    # Where an access token is refused at the edge, the status stands in the message, as JSON.
    told = error.details() or ""
    try:
        return json_format.Parse(told if told.startswith("{") else "{}", status_pb2.Status())
    except json_format.ParseError:
        return status_pb2.Status()
