"""The parts of the mesh: their ports, how their instances share the work, what they stand on.

Who calls which method, for how long and whether it may be repeated stands in the contracts (`protos/`), and
is read from there (`topology.calls`). A new service is an entry here and a contract; the rest is derived.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mesh.contracts import service_of

GATEWAY, EDGE = "gateway", "edge"
# Of every Envoy in a cluster, the edge's and those of sidecars (topology.monitor).
MONITOR_PORT = 9902


class Instances(StrEnum):
    """How the instances of a part share its work."""

    # Each does what comes.
    ALIKE = "alike"
    # One leads and answers; the others follow, and one of them takes over.
    LEADER = "leader"


class Backing(StrEnum):
    """What a part stands on beside other parts; all of it may be somebody else's."""

    RECORDS = "records"
    REDIS = "redis"
    FILES = "files"
    NODE = "node"
    AITUBO = "aitubo"
    # WhatsOnChain and ARC, where they are used.
    EXPLORERS = "explorers"


class From(StrEnum):
    """Who connects to a port."""

    PARTS = "parts"
    EDGE = "edge"
    # Anybody.
    CLIENTS = "clients"
    # AITubo fetches pictures, ARC tells of transactions.
    AITUBO = "aitubo"
    ARC = "arc"
    # Prometheus; and kubelet, whom no policy keeps out.
    MONITORS = "monitors"


class Protocol(StrEnum):
    """What is spoken on a port."""

    GRPC = "grpc"
    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a part listens on; its name is unique within the part, and at most 15 letters."""

    name: str
    number: int
    protocol: Protocol
    connects: From


@dataclass(frozen=True, slots=True)
class Part:
    """A service of the mesh, the gateway in front of them, or the edge, which is an Envoy (topology.edge)."""

    name: str
    ports: tuple[Port, ...]
    instances: Instances
    stands_on: frozenset[Backing]
    # Names beside its contract's under which instances report that they answer some of its calls.
    healths: tuple[str, ...] = ()

    @property
    def port(self) -> Port:
        """The port that it does its work on."""
        return self.ports[0]

    @property
    def contract(self) -> str | None:
        """Full name of its gRPC service; None: other parts do not call it."""
        return service_of(self.name) if self.port.protocol is Protocol.GRPC else None

    @property
    def module(self) -> str:
        """What `python -m` starts. Raises ValueError for the edge."""
        if self.name == EDGE:
            raise ValueError("the edge is an Envoy")
        return "graphql_gateway" if self.name == GATEWAY else f"services.{self.name}"


def _service(
    name: str,
    number: int,
    instances: Instances,
    *stands_on: Backing,
    more: tuple[Port, ...] = (),
    healths: tuple[str, ...] = (),
) -> Part:
    own = Port("grpc", number, Protocol.GRPC, From.PARTS)
    return Part(name, (own, *more), instances, frozenset(stands_on), healths)


_RECORDS, _REDIS, _FILES = Backing.RECORDS, Backing.REDIS, Backing.FILES
_MEDIA = Port("media", 7112, Protocol.HTTP, From.AITUBO)
_CALLBACKS = Port("callbacks", 7116, Protocol.HTTP, From.ARC)

# Standbys of the ledger answer reads.
_LEDGER_READS = f"{service_of('ledger')}/reads"

_ALL = (
    _service("identity", 7101, Instances.ALIKE, _RECORDS, _REDIS),
    _service("content", 7102, Instances.ALIKE, _RECORDS, _REDIS, _FILES, Backing.AITUBO, more=(_MEDIA,)),
    _service("rounds", 7103, Instances.LEADER, _RECORDS, _REDIS),
    _service("ledger", 7104, Instances.LEADER, _RECORDS, _REDIS, _FILES, healths=(_LEDGER_READS,)),
    _service("market", 7105, Instances.ALIKE, _RECORDS, _REDIS),
    _service(
        "chain", 7106, Instances.LEADER, _RECORDS, _REDIS, Backing.NODE, Backing.EXPLORERS, more=(_CALLBACKS,)
    ),
    _service("insight", 7107, Instances.LEADER, _RECORDS, _REDIS),
    Part(
        GATEWAY,
        (Port("http", 8080, Protocol.HTTP, From.EDGE),),
        Instances.ALIKE,
        frozenset({_REDIS}),
    ),
    Part(
        EDGE,
        (
            Port("https", 8443, Protocol.HTTPS, From.CLIENTS),
            Port("monitor", MONITOR_PORT, Protocol.HTTP, From.MONITORS),
        ),
        Instances.ALIKE,
        frozenset(),
    ),
)  # fmt: skip

PARTS = MappingProxyType({part.name: part for part in _ALL})
# Teams that contracts may name beside parts; they come in by the edge. None needs more than it offers to all.
TEAMS: frozenset[str] = frozenset()
# Those that other parts call.
SERVICES = tuple(part.name for part in _ALL if part.contract is not None)


def load_contracts() -> None:
    """Loads the contracts of all services, so that they can be read."""
    for name in SERVICES:
        importlib.import_module(f"satreel.{name}.v1.{name}_service_pb2")
