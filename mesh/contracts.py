"""What contracts say about their methods: who may call, how long it may take, whether it may be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from satreel.mesh.v1 import access_pb2

# Longer than it takes until somebody else leads, when a leader is killed (mesh.leases: up to 5.5 s).
TIMEOUT_S_DEFAULT = 8.0

_MethodOptions = descriptor_pb2.MethodOptions
_REPEATABLE = (_MethodOptions.NO_SIDE_EFFECTS, _MethodOptions.IDEMPOTENT)


_VERBS = ("get", "put", "post", "delete", "patch")


class Rest(NamedTuple):
    """A place of HTTP that stands for a method (google.api.http)."""

    verb: str
    # With fields of the request in braces, "/v1/rounds/{round_id}".
    path: str
    # Whether the other fields are the body; else they are the query.
    has_body: bool


@dataclass(frozen=True)
class MethodContract:
    """One method as its contract describes it; `access` None means that nobody may call it."""

    service: str
    name: str
    access: access_pb2.Access | None
    repeatable: bool
    # Has no side effects.
    reads: bool
    timeout_s: float
    streams: bool
    answers_many: bool
    # Has one request, rather than a stream of them.
    asks_once: bool
    # The main one first.
    rest: tuple[Rest, ...] = ()

    @cached_property
    def path(self) -> str:
        """The method as gRPC names it, "/satreel.ledger.v1.LedgerService/GetRound"."""
        return f"/{self.service}/{self.name}"

    @cached_property
    def span_name(self) -> str:
        """The method as traces name it."""
        return f"{self.service}/{self.name}"

    @cached_property
    def attributes(self) -> dict[str, str]:
        """What spans and metrics say of every call of it."""
        return {"rpc.system.name": "grpc", "rpc.method": self.span_name}

    @cached_property
    def _by_code(self) -> dict[str, dict[str, str]]:
        return {}

    def attributes_with(self, code: str) -> dict[str, str]:
        """The same with how a call ended."""
        found = self._by_code.get(code)
        if found is None:
            found = self._by_code[code] = {**self.attributes, "rpc.response.status_code": code}
        return found


def service_of(peer: str) -> str:
    """The gRPC service of a peer: "satreel.ledger.v1.LedgerService" of "ledger"."""
    return f"satreel.{peer}.v1.{peer.capitalize()}Service"


@cache
def service_methods(service: str) -> tuple[MethodContract, ...]:
    """All methods of a service by its full name. Raises KeyError when no such contract is loaded."""
    found: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(service)
    return tuple(_read(method) for method in found.methods)


@cache
def method(path: str) -> MethodContract:
    """One method by its gRPC path. Raises KeyError when no loaded contract has it."""
    service, _, name = path.removeprefix("/").partition("/")
    return next((found for found in service_methods(service) if found.name == name), None) or _unknown(path)


def descriptor(method: MethodContract) -> MethodDescriptor:
    """What protobuf knows of it: its messages, above all."""
    found: MethodDescriptor = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
    return found


def _unknown(path: str) -> MethodContract:
    raise KeyError(f"no contract has the method {path}")


def _read(method: MethodDescriptor) -> MethodContract:
    options = method.GetOptions()
    access = options.Extensions[access_pb2.access] if options.HasExtension(access_pb2.access) else None
    timeout_ms = access.timeout_ms if access is not None else 0
    return MethodContract(
        service=method.containing_service.full_name,
        name=method.name,
        access=access,
        repeatable=options.idempotency_level in _REPEATABLE,
        reads=options.idempotency_level == _MethodOptions.NO_SIDE_EFFECTS,
        timeout_s=timeout_ms / 1000 if timeout_ms else TIMEOUT_S_DEFAULT,
        streams=method.client_streaming or method.server_streaming,
        answers_many=method.server_streaming,
        asks_once=not method.client_streaming,
        rest=_rest(method),
    )


def _rest(method: MethodDescriptor) -> tuple[Rest, ...]:
    options: Any = method.GetOptions()  # its types do not know extensions of untyped packages
    if not options.HasExtension(annotations_pb2.http):
        return ()
    first = options.Extensions[annotations_pb2.http]
    rules = [first, *first.additional_bindings]
    return tuple(
        Rest(verb.upper(), getattr(rule, verb), bool(rule.body))
        for rule in rules
        for verb in _VERBS
        if getattr(rule, verb)
    )
