"""What differs between the places that a sidecar runs at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from topology.upstreams import CONNECTION_S

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sidecar bears. Sizes are in bytes, times in seconds."""

    # All open connections; to a gateway every WebSocket is one.
    connections: int = 20_000
    # Calls at once to the application, and to each peer; streams are calls that last.
    calls: int = 11_000
    heap_bytes: int = 512 * MIB
    # Connections with peers, in and out, are made anew so often, with the certificates of then.
    connection_s: float = CONNECTION_S


@dataclass(frozen=True, slots=True)
class Peer:
    """A service that the part calls. Addresses are HOST:PORT."""

    # On loopback, where the application calls it in clear.
    listen: str
    # Where its sidecars listen: addresses, or names that have some.
    replicas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Whose sidecar it is, where it listens, whom it calls, where its files are. Addresses are HOST:PORT."""

    # Name of the part (topology.parts), of which this is one instance.
    part: str
    # Folder of the files that `files` makes.
    folder: Path
    # Where the mesh calls the part.
    listen: str
    # Where the application listens in clear, on loopback.
    application: str
    # Every service that the part calls (topology.calls.called_by).
    peers: Mapping[str, Peer]
    # Envoy's own pages: loopback alone.
    admin: str
    # Folder with `<part>.pem`, `<part>.key` and `ca.pem`.
    tls: Path
    # Where others ask whether it and its application are well, and what it counts; None: nowhere.
    monitor: str | None = None
    # Collector of traces; None: it takes no part in them. Whoever begins one decides whether it is kept.
    otlp: str | None = None
    limits: Limits = field(default_factory=Limits)
