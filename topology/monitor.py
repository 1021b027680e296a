"""What may be asked of an Envoy from other machines, in clear text: is it ready, and what does it count.

Its own pages (`admin`) can stop it and tell what it knows, so they stay on loopback; this listener hands on
two of them and nothing else. That of a sidecar also hands on one question to its application: how it is.
"""

from __future__ import annotations

from topology.envoy import Json, http_filter, listener, seconds, typed
from topology.upstreams import HTTP1, cluster

ADMIN = "admin"
READY_PATH, STATS_PATH = "/ready", "/stats/prometheus"
# Whoever asks keeps a connection: Prometheus, kubelet, and a person.
_CONNECTIONS, _STREAMS = 64, 16
_CONNECTION_LIMIT = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
ANSWER_S = 5


def monitor_listener(place: str, *application: Json) -> Json:
    """At HOST:PORT. `application`: routes of a sidecar to what it stands before."""
    routes = [
        _page(READY_PATH),
        _page(STATS_PATH),
        *application,
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    manager = {
        "stat_prefix": "monitor",
        "codec_type": "AUTO",
        "server_name": "satreel",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "request_headers_timeout": seconds(ANSWER_S),
        "request_timeout": seconds(ANSWER_S),
        "stream_idle_timeout": seconds(3 * ANSWER_S),
        "common_http_protocol_options": {"idle_timeout": "75s", "max_headers_count": 50},
        "http2_protocol_options": {"max_concurrent_streams": _STREAMS},
        "route_config": {
            "name": "monitor",
            "virtual_hosts": [{"name": "monitor", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [http_filter("envoy.filters.http.router", "router.v3.Router")],
    }
    found = listener("monitor", place, manager)
    few = typed(_CONNECTION_LIMIT, stat_prefix="monitor", max_connections=_CONNECTIONS)
    found["filter_chains"][0]["filters"].insert(
        0, {"name": "envoy.filters.network.connection_limit", "typed_config": few}
    )
    # It answers while strangers take all connections that there are, or all memory: who is full is not dead.
    return {**found, "ignore_global_conn_limit": True, "bypass_overload_manager": True}


def admin_cluster(admin: str) -> Json:
    """Envoy's own pages, for the listener to reach."""
    return cluster(ADMIN, (admin,), http=HTTP1, calls=_CONNECTIONS)


def _page(path: str) -> Json:
    reads = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    return {
        "match": {"path": path, "headers": [reads]},
        "route": {"cluster": ADMIN, "timeout": seconds(ANSWER_S)},
    }
