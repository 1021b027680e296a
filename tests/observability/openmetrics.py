"""What parts told over OTLP, as Prometheus reads it when it asks: OpenMetrics, exemplars too.

In a cluster Prometheus takes OTLP itself; the one that can be had here is too old for that. So names are
given here as `tools.metrics` says Prometheus gives them, and that it does is not proved by this.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric

from mesh.telemetry import Kind
from tests.mesh.collector import Collector, read
from tools.metrics import declared, prometheus_name

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# Found before anything runs: it imports all parts, for seconds, and whoever answers a scrape has no second.
KNOWN = declared()


def page(collector: Collector) -> str:
    """All that has come so far; a metric's samples stand together."""
    families: dict[str, list[str]] = {}
    for (service, name), metric in sorted(collector.metrics.items()):
        called = prometheus_name(KNOWN[name])
        kind = metric.WhichOneof("data")
        family = called.removesuffix("_total") if KNOWN[name].kind is Kind.COUNTER else called
        lines = families.setdefault(family, [f"# TYPE {family} {_type(KNOWN[name].kind)}"])
        if kind == "histogram":
            for point in metric.histogram.data_points:
                lines += _histogram(called, _labels(service, point.attributes), point)
        else:
            lines += _values(called, service, metric)
    return "\n".join([*(line for lines in families.values() for line in lines), "# EOF", ""])


def _type(kind: Kind) -> str:
    return {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}.get(kind, "gauge")


def _values(name: str, service: str, metric: Metric) -> Iterator[str]:
    points = metric.gauge.data_points or metric.sum.data_points
    for point in points:
        value = point.as_double if point.HasField("as_double") else point.as_int
        yield f"{name}{_braces(_labels(service, point.attributes))} {value}"


def _histogram(name: str, labels: dict[str, str], point: HistogramDataPoint) -> Iterator[str]:
    bounds = [*map(float, point.explicit_bounds), float("inf")]
    total = 0
    for at, bound in enumerate(bounds):
        total += point.bucket_counts[at]
        below = bounds[at - 1] if at else float("-inf")
        exemplar = next(
            (one for one in point.exemplars if one.trace_id and below < one.as_double <= bound), None
        )
        told = ""
        if exemplar is not None:
            ids = {"trace_id": exemplar.trace_id.hex(), "span_id": exemplar.span_id.hex()}
            told = f" # {_braces(ids)} {exemplar.as_double} {exemplar.time_unix_nano / 1e9:.3f}"
        le = "+Inf" if bound == float("inf") else f"{bound:g}" if bound % 1 else f"{bound:.1f}"
        yield f"{name}_bucket{_braces({**labels, 'le': le})} {total}{told}"
    yield f"{name}_sum{_braces(labels)} {point.sum}"
    yield f"{name}_count{_braces(labels)} {point.count}"


def _labels(service: str, attributes: Iterable[object]) -> dict[str, str]:
    own = {name.replace(".", "_"): str(value) for name, value in read(attributes).items()}
    return {"service_name": service, "service_instance_id": "1", **own}


def _braces(labels: dict[str, str]) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
