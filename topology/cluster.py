"""The edge's Envoy as a cluster has it: files of k8s/base/edge, which a ConfigMap is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from topology.edge import ADDRESSES_FILE, Limits, Places, files, resource
from topology.parts import GATEWAY, MONITOR_PORT, PARTS, SERVICES

FOLDER = "k8s/base/edge/envoy"
_CONTRACTS = Path("/contracts")
# Names that the cluster resolves; those of services give all instances.
PLACES = Places(
    folder=Path("/etc/envoy"),
    https="0.0.0.0:8443",
    http=None,
    admin="127.0.0.1:9901",
    monitor=f"0.0.0.0:{MONITOR_PORT}",
    tls=Path("/run/satreel/tls"),
    site_certificate=Path("/run/satreel/site/tls.crt"),
    site_key=Path("/run/satreel/site/tls.key"),
    descriptors=_CONTRACTS / "descriptors.binpb",
    openapi=_CONTRACTS / "openapi.json",
    gateway=(f"{GATEWAY}:{PARTS[GATEWAY].port.number}",),
    services={name: (f"{name}:{PARTS[name].port.number}",) for name in SERVICES},
    otlp="collector.observability:4317",
    # As many as a gateway takes before there are more of it, twice over.
    limits=Limits(connections=16_000),
)


def edge_files() -> Mapping[str, Callable[[], str]]:
    """By path in the repository, what makes the file. No address is denied until an overlay says so."""
    names = (*files(PLACES), ADDRESSES_FILE)
    return {f"{FOLDER}/{name}": _maker(name) for name in names}


def _maker(name: str) -> Callable[[], str]:
    return lambda: {**files(PLACES), ADDRESSES_FILE: resource()}[name]
