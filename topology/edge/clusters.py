"""Whom the edge calls: the gateway, and each service by mTLS as itself."""

from __future__ import annotations

from topology.edge.places import Places
from topology.envoy import HTTP_OPTIONS, Json, calls_part, endpoints, seconds, typed
from topology.parts import GATEWAY, PARTS, SERVICES

IDENTITY, AUTHORITY = "identity", "authority"
OTLP = "otlp"
_CONNECT_S = 2
_LOOK_S = 1


def clusters(places: Places) -> list[Json]:
    """All of them."""
    found = [_gateway(places), *(_service(name, places) for name in SERVICES)]
    if places.otlp:
        found.append(_cluster(OTLP, (places.otlp,), http="http2_protocol_options", calls=1_024))
    return found


def _gateway(places: Places) -> Json:
    # Every WebSocket is a connection of its own.
    cluster = _cluster(GATEWAY, places.gateway, http="http_protocol_options", calls=places.limits.connections)
    if places.gateway_has_sidecar:
        cluster["transport_socket"] = _as_edge(GATEWAY, places)
    return cluster


def _service(name: str, places: Places) -> Json:
    cluster = _cluster(name, places.services[name], http="http2_protocol_options", calls=1_024)
    cluster["transport_socket"] = _as_edge(name, places)
    # Of several instances only the one that leads reports that it serves.
    cluster["health_checks"] = [
        {
            "timeout": seconds(_LOOK_S),
            "interval": seconds(_LOOK_S),
            "no_traffic_interval": seconds(_LOOK_S),
            "unhealthy_threshold": 2,
            "healthy_threshold": 1,
            "grpc_health_check": {"service_name": PARTS[name].contract, "authority": f"{name}.satreel"},
        }
    ]
    cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    cluster["ignore_health_on_host_removal"] = True
    return cluster


def _cluster(name: str, places: tuple[str, ...], *, http: str, calls: int) -> Json:
    options = typed(
        HTTP_OPTIONS,
        explicit_http_config={http: {}},
        common_http_protocol_options={"idle_timeout": "60s"},
    )
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 20}
    thresholds = {"max_connections": calls, "max_pending_requests": calls, "max_requests": calls}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": seconds(_CONNECT_S),
        "load_assignment": endpoints(name, places),
        "circuit_breakers": {"thresholds": [{**thresholds, "retry_budget": budget, "track_remaining": True}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
    }


def _as_edge(part: str, places: Places) -> Json:
    return calls_part(part, places.folder, certificate=IDENTITY, authority=AUTHORITY)
