"""What every connection manager of a sidecar has."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.config import HEAD_BYTES_MAX
from topology.envoy import Json, http_filter
from topology.observed import METHOD, PATH, access_log, tracing
from topology.parts import GATEWAY
from topology.sidecar.errors import local_replies
from topology.sidecar.places import Places

COMMON: Json = {"max_headers_count": 100}
_WINDOW_BYTES = 1024 * 1024


def manager(name: str, routes: Json, places: Places, *, filters: Sequence[Json] = (), logged: Json) -> Json:
    """Fields of an HTTP connection manager that sends requests by these routes, through these filters.

    `logged` is a filter of Envoy's that finds what the access log tells.
    """
    found: Json = {
        "stat_prefix": name,
        "codec_type": "AUTO",
        # Where a request comes from is the edge's to say.
        "use_remote_address": False,
        "skip_xff_append": True,
        "server_header_transformation": "PASS_THROUGH",
        # Streams last, and peers see to it that they live.
        "stream_idle_timeout": "0s",
        "request_headers_timeout": "10s",
        "max_request_headers_kb": HEAD_BYTES_MAX // 1024,
        "common_http_protocol_options": COMMON,
        "http2_protocol_options": {
            # Who calls more than may be under way shall hear of it, and not wait in silence.
            "max_concurrent_streams": 2 * places.limits.calls,
            "initial_stream_window_size": _WINDOW_BYTES,
            "initial_connection_window_size": 16 * _WINDOW_BYTES,
            "connection_keepalive": {"interval": "20s", "timeout": "5s"},
        },
        "local_reply_config": local_replies(places.part),
        "access_log": [access_log({"listener": name}, only=logged)],
        "http_filters": [*filters, http_filter("envoy.filters.http.router", "router.v3.Router")],
        "route_config": routes,
    }
    if places.otlp:
        # Whoever begins a trace decides about it, and no trace begins here: looks at health have none.
        operation = METHOD if places.part == GATEWAY and name == "inbound" else PATH
        found["tracing"] = tracing(f"{places.part}-sidecar", 0, operation=operation, upstream_spans=False)
    return found
