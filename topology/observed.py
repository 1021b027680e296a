"""What an Envoy tells of the requests that pass it: access log and traces."""

from __future__ import annotations

from collections.abc import Mapping

from topology.envoy import Json, seconds, typed
from topology.upstreams import HTTP2, cluster

OTLP = "otlp"
_OTLP_CALLS = 1_024
OTLP_S = 2
_PATH_TAG_CHARS = len("/")

# Paths are told without their query, which may hold a film ticket. What clients write is cut: a line is not
# as long as a head may be.
METHOD, PATH = "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):16%", "%PATH(NQ):300%"
ACCESS = {
    "time": "%START_TIME%",
    "method": METHOD,
    "path": PATH,
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "certificate": "%DOWNSTREAM_PEER_URI_SAN%",
    "certificate_serial": "%DOWNSTREAM_PEER_SERIAL%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "instance": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "traceparent": "%REQ(TRACEPARENT):55%",
}


# How spans at the edge are called, in the words of an access log.
OPERATION = f"{METHOD} %ROUTE_NAME%"


def access_log(more: Mapping[str, str] | None = None, *, only: Json | None = None) -> Json:
    """JSON on standard output, a line a request; `only` is a filter of Envoy's."""
    log = typed(
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": {**ACCESS, **(more or {})}},
    )
    found: Json = {"name": "envoy.access_loggers.stdout", "typed_config": log}
    return found if only is None else {**found, "filter": only}


def collector(place: str) -> Json:
    """The cluster that `tracing` sends to."""
    return cluster(OTLP, (place,), http=HTTP2, calls=_OTLP_CALLS)


def tracing(service: str, ratio: float, *, operation: str, upstream_spans: bool) -> Json:
    """`tracing` of a connection manager: of traces that begin here this part is kept.

    `operation` names the spans, in the words of an access log.
    """
    provider = typed(
        "envoy.config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": OTLP}, "timeout": seconds(OTLP_S)},
        service_name=service,
        sampler=_sampler(
            "parent_based.ParentBased",
            wrapped_sampler=_sampler(
                "trace_id_ratio_based.TraceIdRatioBased",
                sampling_percentage={"numerator": round(ratio * 1_000_000), "denominator": "MILLION"},
            ),
        ),
    )
    return {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
        "operation": operation,
        "upstream_operation": operation,
        "spawn_upstream_span": upstream_spans,
        # Envoy's own tag of the address has its query, which may hold a film ticket or a document: it is cut
        # before any query can begin.
        "max_path_tag_length": _PATH_TAG_CHARS,
        "custom_tags": [
            {"tag": "url.path", "value": PATH},
            {"tag": "http.route", "value": "%ROUTE_NAME%"},
        ],
    }


def _sampler(kind: str, **fields: object) -> Json:
    name, _, type_ = kind.partition(".")
    typed_config = typed(f"envoy.extensions.tracers.opentelemetry.samplers.v3.{type_}SamplerConfig", **fields)
    return {"name": f"envoy.tracers.opentelemetry.samplers.{name}", "typed_config": typed_config}
