"""Spans and points out of OTLP: what comes is cut to what can be kept, or left out; nothing is trusted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

from viewer.store import Point, Span

TEXT_MAX = 500
ATTRIBUTES_MAX = 64
LINKS_MAX = 32
INT_MAX = 2**63 - 1
# A clock that is wrong by more than this belongs to nobody here.
FUTURE_NS = 3600 * 10**9
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
TRACE_BYTES, SPAN_BYTES = 16, 8

# Words of failures, which Envoy tells and nobody else does: they may hold an amount.
LEFT_OUT = {"grpc.message"}
# Statuses of gRPC that are faults, as Envoy tells them: the others are refusals.
FAULTS = {"2", "4", "12", "13", "14", "15"}


def text(value: object) -> str:
    """At most TEXT_MAX characters."""
    return str(value)[:TEXT_MAX]


def attributes(found: Any) -> dict[str, Any]:
    """The first ATTRIBUTES_MAX; lists and maps as text."""
    return {text(one.key): _value(one.value) for one in found[:ATTRIBUTES_MAX]}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind in ("int_value", "bool_value"):
        return getattr(value, kind)
    if kind == "double_value":
        return value.double_value if math.isfinite(value.double_value) else None
    return text(getattr(value, kind)) if kind else None


def spans_of(request: Any) -> Iterator[Span]:
    """Those that can be kept."""
    latest = time.time_ns() + FUTURE_NS
    for group in request.resource_spans:
        service = text(attributes(group.resource.attributes).get("service.name") or "unknown")
        for span in (span for scope in group.scope_spans for span in scope.spans):
            if len(span.trace_id) != TRACE_BYTES or len(span.span_id) != SPAN_BYTES:
                continue
            began, ended = span.start_time_unix_nano, span.end_time_unix_nano
            if not 0 < began <= ended <= latest:
                continue
            told = attributes(span.attributes)
            yield Span(
                trace=span.trace_id.hex(),
                span=span.span_id.hex(),
                parent=span.parent_span_id.hex() if len(span.parent_span_id) == SPAN_BYTES else "",
                service=service,
                name=text(span.name),
                kind=KINDS.get(span.kind, "internal"),
                began_ns=began,
                ended_ns=ended,
                failed=_is_failed(span.status.code == 2, told),
                attributes={name: value for name, value in told.items() if name not in LEFT_OUT},
                links=[
                    link.trace_id.hex()
                    for link in span.links[:LINKS_MAX]
                    if len(link.trace_id) == TRACE_BYTES
                ],
            )


def _is_failed(is_marked: bool, told: dict[str, object]) -> bool:
    """Envoy marks refusals, too, of those whom it calls: they are answers, and no faults."""
    if told.get("component") != "proxy" or not is_marked:
        return is_marked
    if status := told.get("grpc.status_code"):
        return status in FAULTS
    return not str(told.get("http.status_code", "")).startswith("4")


def points_of(request: Any) -> Iterator[Point]:
    """Those that can be kept: numbers and histograms."""
    latest = time.time_ns() + FUTURE_NS
    for group in request.resource_metrics:
        said = attributes(group.resource.attributes)
        service = text(said.get("service.name") or "unknown")
        instance = text(said.get("service.instance.id") or "")
        for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
            kind = metric.WhichOneof("data")
            if kind not in ("gauge", "sum", "histogram"):
                continue
            if kind == "sum" and not metric.sum.is_monotonic:
                told = "gauge"
            else:
                told = {"sum": "counter"}.get(kind, kind)
            for point in getattr(metric, kind).data_points:
                value, count = _numbers(point, kind)
                if not math.isfinite(value) or not 0 < point.time_unix_nano <= latest:
                    continue
                by = json.dumps(attributes(point.attributes), sort_keys=True)
                yield Point(
                    point.time_unix_nano,
                    service,
                    instance,
                    text(metric.name),
                    text(metric.unit),
                    told,
                    by,
                    value,
                    count,
                )


def _numbers(point: Any, kind: str) -> tuple[float, float]:
    if kind == "histogram":
        return float(point.sum), float(point.count)
    return float(point.as_double if point.WhichOneof("value") == "as_double" else point.as_int), 1.0
