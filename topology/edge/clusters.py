"""Whom the edge calls: the gateway, and each service by mTLS as itself."""

from __future__ import annotations

from topology.edge.places import Places
from topology.edge.waiting import waiting_clusters
from topology.envoy import Json, calls_part, clear_text
from topology.monitor import admin_cluster
from topology.observed import collector
from topology.parts import GATEWAY, PARTS, SERVICES
from topology.upstreams import (
    CONNECTION_S,
    HEALTH_PATH,
    HTTP1,
    HTTP2_WATCHED,
    by_health,
    cluster,
    grpc_health,
    outliers,
)

IDENTITY, AUTHORITY = "identity", "authority"
# WebSockets apart from requests: they last, and who has more of them would be given fewer requests for ever.
SOCKETS = f"{GATEWAY}:sockets"
PICTURES = "pictures"
_CALLS = 1_024


def clusters(places: Places) -> list[Json]:
    """All of them."""
    found = [
        _gateway(GATEWAY, places),
        _gateway(SOCKETS, places),
        *(_service(name, places) for name in SERVICES),
        *waiting_clusters(places),
    ]
    if places.pictures:
        # Each serves the links of all.
        found.append(cluster(PICTURES, places.pictures, http=HTTP1, calls=_CALLS) | outliers())
    if places.otlp:
        found.append(collector(places.otlp))
    if places.monitor:
        found.append(admin_cluster(places.admin))
    return found


def _gateway(name: str, places: Places) -> Json:
    # Every WebSocket is a connection of its own.
    found = cluster(
        name, places.gateway, http=HTTP1, calls=places.limits.connections, connection_s=CONNECTION_S
    )
    # Where all are too busy to say that they are well, turning everybody away would help nobody.
    found |= by_health(
        {"http_health_check": {"path": HEALTH_PATH, "host": f"{GATEWAY}.satreel"}}, else_anybody=True
    )
    found |= outliers()
    # Clear text is said, too: kustomize puts the other in its place (topology/cluster.py).
    found["transport_socket"] = (
        _as_edge(GATEWAY, places, speaks="http/1.1") if places.gateway_has_sidecar else clear_text()
    )
    return found


def _service(name: str, places: Places) -> Json:
    contract = PARTS[name].contract
    assert contract is not None
    # Of several instances only the one that leads reports that it serves.
    return {
        **cluster(name, places.services[name], http=HTTP2_WATCHED, calls=_CALLS, connection_s=CONNECTION_S),
        **by_health(grpc_health(name, contract)),
        "transport_socket": _as_edge(name, places),
    }


def _as_edge(part: str, places: Places, speaks: str = "h2") -> Json:
    return calls_part(part, places.folder, certificate=IDENTITY, authority=AUTHORITY, speaks=speaks)
