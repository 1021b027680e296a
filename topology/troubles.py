"""What an Envoy tells of failed and slow requests whose trace is not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.telemetry.spans import ERRORS, KEPT_PER_S
from topology.envoy import Json, seconds, typed
from topology.filters import all_of, any_of, expression, is_answered_as_grpc, status
from topology.observed import ACCESS, METHOD, OPERATION, OTLP, OTLP_S, PATH

TROUBLES = "troubles"
_TOLD = {
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


def troubles(service: str, slow_s: float, *, unary: Sequence[str], folder: Path) -> Json:
    """Access log for OTLP of what failed, or was slow, in traces that are not kept.

    On the routes of these names answers are over when they are there; on others they may last, so that the
    time until they begin is looked at.

    Envoy tells no spans of those. Who gets the records makes them (viewer.troubles): they have a span's
    attributes, in its words, and `span_id` is that of the span that Envoy would have told. They are as many
    a second as parts tell such spans, at most, by what `troubles_file` says in the folder.
    """
    log = typed(
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        log_name=TROUBLES,
        grpc_service={"envoy_grpc": {"cluster_name": OTLP}, "timeout": seconds(OTLP_S)},
        disable_builtin_labels=True,
        resource_attributes=_texts({"service.name": service}),
        body={"string_value": OPERATION},
        attributes=_texts(_TOLD),
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
