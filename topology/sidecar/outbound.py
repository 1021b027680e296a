"""Where the application calls a peer, in clear on loopback."""

from __future__ import annotations

from mesh.contracts import MethodContract
from mesh.interceptors.leading import HEALTH_KEY
from topology.calls import callers_of
from topology.envoy import Json, listener
from topology.parts import PARTS
from topology.sidecar.clusters import healths, name_of
from topology.sidecar.manager import manager
from topology.sidecar.places import Places
from topology.upstreams import retries

# What ends well is told by the other side.
_ENDED_BADLY: Json = {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}


def outbound(peer: str, places: Places) -> Json:
    """The listener for calls to one peer: those that the part may make, and no others."""
    routes = [
        _route(method, health, peer)
        for method in callers_of(peer)[places.part]
        for health in reversed(healths(peer))
    ]
    refused = {"name": "refused", "match": {"prefix": "/"}, "direct_response": {"status": 403}}
    configuration = {
        "name": peer,
        "virtual_hosts": [
            {
                "name": peer,
                "domains": ["*"],
                "routes": [*routes, refused],
                "retry_policy": retries(repeatable=False),
            }
        ],
    }
    return {
        **listener(
            peer, places.peers[peer].listen, manager(peer, configuration, places, logged=_ENDED_BADLY)
        ),
        "traffic_direction": "OUTBOUND",
    }


def _route(method: MethodContract, health: str, peer: str) -> Json:
    match: Json = {"path": method.path}
    if health != PARTS[peer].contract:
        match["headers"] = [{"name": HEALTH_KEY, "string_match": {"exact": health}}]
    # As long as the call itself says; streams last as long as they will.
    route: Json = {
        "cluster": name_of(peer, health, method.streams),
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
    }
    if method.repeatable and not method.streams:
        route["retry_policy"] = retries(repeatable=True)
    return {"name": method.span_name, "match": match, "route": route}
