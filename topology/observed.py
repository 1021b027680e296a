"""What an Envoy tells of the requests that pass it: access log and traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.telemetry.spans import ERRORS, KEPT_PER_S
from topology.envoy import Json, seconds, typed
from topology.filters import all_of, any_of, expression, is_answered_as_grpc, status
from topology.upstreams import HTTP2, cluster

OTLP = "otlp"
TROUBLES = "troubles"
_OTLP_CALLS = 1_024
_OTLP_S = 2
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
TROUBLE = {
    "component": "proxy",
    "http.method": METHOD,
    "http.status_code": "%RESPONSE_CODE%",
    "grpc.status_code": "%GRPC_STATUS_NUMBER%",
    "http.route": "%ROUTE_NAME%",
    "url.path": PATH,
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "upstream_cluster.name": "%UPSTREAM_CLUSTER%",
    "upstream_address": "%UPSTREAM_HOST%",
    "traceparent": ACCESS["traceparent"],
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
}


def access_log(more: Mapping[str, str] | None = None, *, only: Json | None = None) -> Json:
    """JSON on standard output, a line a request; `only` is a filter of Envoy's."""
    log = typed(
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": {**ACCESS, **(more or {})}},
    )
    found: Json = {"name": "envoy.access_loggers.stdout", "typed_config": log}
    return found if only is None else {**found, "filter": only}


def troubles(service: str, slow_s: float, *, unary: Sequence[str], folder: Path) -> Json:
    """Access log for OTLP of what failed, or was slow, in traces that are not kept.

    On the routes of these names answers are over when they are there; on others they may last, so that the
    time until they begin is looked at.

    At most as many a second as parts tell spans, by `troubles_file` in the folder. Envoy tells no spans of
    those. Who gets the records makes them (viewer.troubles): they have a span's
    attributes, in its words, and `span_id` is that of the span that Envoy would have told.
    """
    log = typed(
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        log_name=TROUBLES,
        grpc_service={"envoy_grpc": {"cluster_name": OTLP}, "timeout": seconds(_OTLP_S)},
        disable_builtin_labels=True,
        resource_attributes=_texts({"service.name": service}),
        body={"string_value": OPERATION},
        attributes=_texts(TROUBLE),
    )
    slow = f"duration('{seconds(slow_s)}')"
    begins_late = expression(f"response.backend_latency >= {slow}")
    # With the wait for somebody who takes it.
    ends_late = expression(f"request.duration >= {slow} && xds.route_name in {list(unary)}")
    found = all_of(
        _not_sampled(), any_of(status(500, "GE"), _is_fault(), begins_late, ends_late), _few(folder)
    )
    return {"name": "envoy.access_loggers.open_telemetry", "typed_config": log, "filter": found}


def troubles_file() -> Json:
    """How many troubles are told."""
    bucket = typed(
        "envoy.type.v3.TokenBucket",
        max_tokens=KEPT_PER_S,
        tokens_per_fill=KEPT_PER_S,
        fill_interval="1s",
    )
    return {"resources": [typed("envoy.service.discovery.v3.Resource", name=TROUBLES, resource=bucket)]}


def _few(folder: Path) -> Json:
    source = {"path_config_source": {"path": str(folder / f"{TROUBLES}.json")}, "resource_api_version": "V3"}
    limit = typed(
        "envoy.extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter",
        dynamic_config={"resource_name": TROUBLES, "config_source": source},
    )
    name = "envoy.access_loggers.extension_filters.process_ratelimit"
    return {"extension_filter": {"name": name, "typed_config": limit}}


def _texts(told: Mapping[str, str]) -> Json:
    return {"values": [{"key": key, "value": {"string_value": value}} for key, value in told.items()]}


def _not_sampled() -> Json:
    """By the header with which the next in line is called; without one nobody was, and nobody knows."""
    sampled = {"name": "traceparent", "string_match": {"suffix": "-01"}}
    return {
        "header_filter": {"header": {**sampled, "invert_match": True, "treat_missing_header_as_empty": True}}
    }


def _is_fault() -> Json:
    """Of gRPC, what services count as errors."""
    return all_of(is_answered_as_grpc(), {"grpc_status_filter": {"statuses": sorted(ERRORS)}})


def collector(place: str) -> Json:
    """The cluster that `tracing` sends to."""
    return cluster(OTLP, (place,), http=HTTP2, calls=_OTLP_CALLS)


def tracing(service: str, ratio: float, *, operation: str, upstream_spans: bool) -> Json:
    """`tracing` of a connection manager: of traces that begin here this part is kept.

    `operation` names the spans, in the words of an access log.
    """
    provider = typed(
        "envoy.config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": OTLP}, "timeout": seconds(_OTLP_S)},
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
