"""Metrics of our Envoys, at the edge and beside each part, that dashboards and alerts ask for.

Prometheus asks Envoy for them (k8s/observability/prometheus.yaml) by Envoy's own names, which a test holds
against a real Envoy. docs/METRICS.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnvoyMetric:
    """As `/stats/prometheus` tells it; a histogram has `_bucket`, `_sum` and `_count` behind its name."""

    name: str
    # As in Prometheus's text format: counter, gauge, histogram.
    kind: str
    unit: str
    meaning: str
    by: tuple[str, ...] = ()


_DOOR, _CLUSTER, _CLASS = "envoy_http_conn_manager_prefix", "envoy_cluster_name", "envoy_response_code_class"
ENVOY_METRICS = (
    EnvoyMetric("envoy_server_live", "gauge", "{state}", "1 while it serves."),
    EnvoyMetric(
        "envoy_server_days_until_first_cert_expiring",
        "gauge",
        "d",
        "Days until the first of its certificates ends.",
    ),
    EnvoyMetric("envoy_server_memory_allocated", "gauge", "By", "Memory in use."),
    EnvoyMetric(
        "envoy_http_downstream_cx_active", "gauge", "{connection}", "Connections that are open.", (_DOOR,)
    ),
    EnvoyMetric(
        "envoy_http_downstream_rq_xx",
        "counter",
        "{request}",
        "Requests answered, by class of status.",
        (_DOOR, _CLASS),
    ),
    EnvoyMetric(
        "envoy_http_downstream_rq_time",
        "histogram",
        "ms",
        "Time from a request's arrival to the end of its answer.",
        (_DOOR,),
    ),
    EnvoyMetric(
        "envoy_http_local_rate_limit_rate_limited",
        "counter",
        "{request}",
        "Requests of addresses that ask too often.",
    ),
    EnvoyMetric(
        "envoy_http_rbac_denied",
        "counter",
        "{request}",
        "Requests refused: by address, for want of a certificate, or as not the caller's to make.",
        (_DOOR,),
    ),
    EnvoyMetric(
        "envoy_overload_envoy_resource_monitors_global_downstream_max_connections_pressure",
        "gauge",
        "%",
        "How much of the connections that may be open is open.",
    ),
    EnvoyMetric(
        "envoy_cluster_membership_healthy", "gauge", "{instance}", "Instances that serve.", (_CLUSTER,)
    ),
    EnvoyMetric(
        "envoy_cluster_membership_total", "gauge", "{instance}", "Instances that there are.", (_CLUSTER,)
    ),
    EnvoyMetric(
        "envoy_cluster_upstream_rq_xx",
        "counter",
        "{request}",
        "Requests that an instance answered, by class of status.",
        (_CLUSTER, _CLASS),
    ),
    EnvoyMetric(
        "envoy_cluster_upstream_rq_time",
        "histogram",
        "ms",
        "Time that an instance took to answer.",
        (_CLUSTER,),
    ),
    EnvoyMetric("envoy_cluster_upstream_rq_active", "gauge", "{request}", "Requests under way.", (_CLUSTER,)),
    EnvoyMetric(
        "envoy_cluster_upstream_cx_active", "gauge", "{connection}", "Connections that are open.", (_CLUSTER,)
    ),
    EnvoyMetric("envoy_cluster_upstream_rq_retry", "counter", "{request}", "Repetitions.", (_CLUSTER,)),
    EnvoyMetric(
        "envoy_cluster_upstream_rq_retry_overflow",
        "counter",
        "{request}",
        "Repetitions not made, as too many were under way.",
        (_CLUSTER,),
    ),
    EnvoyMetric(
        "envoy_cluster_outlier_detection_ejections_active",
        "gauge",
        "{instance}",
        "Instances put aside for a while, as they failed again and again.",
        (_CLUSTER,),
    ),
    EnvoyMetric(
        "envoy_cluster_upstream_rq_pending_overflow",
        "counter",
        "{request}",
        "Requests refused, as too many were under way.",
        (_CLUSTER,),
    ),
)


def names() -> set[str]:
    """As they are asked for."""
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {f"{one.name}{part}" for one in ENVOY_METRICS for part in parts.get(one.kind, ("",))}
