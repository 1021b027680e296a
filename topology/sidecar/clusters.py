"""Whom a sidecar calls: its application in clear, and each peer by mTLS as the part that it stands beside."""

from __future__ import annotations

from topology.calls import callers_of
from topology.envoy import Json, calls_part
from topology.monitor import admin_cluster
from topology.observed import collector
from topology.parts import PARTS, Instances, Protocol
from topology.sidecar.places import Places
from topology.upstreams import HTTP1, HTTP2, HTTP2_WATCHED, by_health, cluster, grpc_health, outliers

IDENTITY, AUTHORITY = "identity", "authority"
APPLICATION = "application"


def clusters(places: Places) -> list[Json]:
    """All of them."""
    found = [_application(places)]
    for peer in places.peers:
        kinds = {method.streams for method in callers_of(peer)[places.part]}
        found += [
            _peer(peer, health, streams, places) for health in healths(peer) for streams in sorted(kinds)
        ]
    if places.otlp:
        found.append(collector(places.otlp))
    if places.monitor:
        found.append(admin_cluster(places.admin))
    return found


def healths(peer: str) -> tuple[str, ...]:
    """The names under which instances of a peer report that they answer; the first for all its calls."""
    part = PARTS[peer]
    assert part.contract is not None
    return part.contract, *part.healths


def name_of(peer: str, health: str, streams: bool) -> str:
    """The cluster of the instances that report this name.

    Streams have one of their own: they last, and who has more of them would be given fewer calls for ever.
    """
    name = peer if health == PARTS[peer].contract else f"{peer}:{health.rpartition('/')[2]}"
    return f"{name}:streams" if streams else name


def _application(places: Places) -> Json:
    http = HTTP2 if PARTS[places.part].port.protocol is Protocol.GRPC else HTTP1
    return cluster(APPLICATION, (places.application,), http=http, calls=places.limits.calls)


def _peer(peer: str, health: str, streams: bool, places: Places) -> Json:
    alike = PARTS[peer].instances is Instances.ALIKE or health != PARTS[peer].contract
    return {
        **cluster(
            name_of(peer, health, streams),
            places.peers[peer].replicas,
            http=HTTP2_WATCHED,
            calls=places.limits.calls,
            connection_s=places.limits.connection_s,
        ),
        **by_health(grpc_health(peer, health)),
        **(outliers() if alike else {}),
        "transport_socket": calls_part(peer, places.folder, certificate=IDENTITY, authority=AUTHORITY),
    }
