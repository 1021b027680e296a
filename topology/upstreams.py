"""Whom an Envoy calls, and what it does when nobody answers there: the same for the edge and sidecars."""

from __future__ import annotations

from mesh.status import UNSENT_KEY
from topology.envoy import HTTP_OPTIONS, Json, endpoints, seconds, typed

# What is spoken to a cluster; with parts of the mesh, connections on which nothing comes back are given up.
HTTP1: Json = {"http_protocol_options": {}}
HTTP2: Json = {"http2_protocol_options": {}}
HTTP2_WATCHED: Json = {
    "http2_protocol_options": {"connection_keepalive": {"interval": "20s", "timeout": "5s"}}
}
# Where the gateway says that it is well.
HEALTH_PATH = "/healthz"
# Connections of the mesh are made anew so often, with the certificates of then.
CONNECTION_S = 3600
_CONNECT_S = 2
# An instance that leaves is found so soon, where it does not say so itself; one that comes, or leads, sooner,
# as all wait for a leader. One that is busy gets longer to say that it is well.
_LOOK_S, LOOK_AT_OTHERS_S, _ANSWER_S = 1, 0.25, 3
_RETRIES = 2
# Where others would be called once too few of a cluster are well (`one_after_the_other`).
_ONE_IS_ENOUGH = {"overprovisioning_factor": 100_000}
# An instance that fails at once has the least to do: of two it is picked three times of four.
_PICKS = 30
# Said with an answer: whoever called makes no other attempt.
FINAL_KEY = "x-envoy-ratelimited"
# No service has begun with such a call.
_NOT_BEGUN = ("connect-failure", "refused-stream", "reset-before-request", "retriable-headers")
# One that may be repeated is so also when nobody knows.
_REPEATABLE = (*_NOT_BEGUN, "reset", "unavailable")


def cluster(
    name: str, places: tuple[str, ...], *, http: Json, calls: int, connection_s: float | None = None
) -> Json:
    """A cluster of instances, or of names that have some: who has least to do is called.

    Beyond so many calls at once, and as many that wait, Envoy refuses by itself. After `connection_s` a
    connection takes no more calls, and another is made, with the certificates of then.
    """
    lasts = {} if connection_s is None else {"max_connection_duration": seconds(connection_s)}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": seconds(_CONNECT_S),
        "load_assignment": {**endpoints(name, places), "policy": _ONE_IS_ENOUGH},
        # A smaller budget loses calls.
        "circuit_breakers": _bounds(calls, retries=20),
        **_spoken(http, lasts),
    }


def inner_cluster(name: str, listener: str, *, http: Json, calls: int) -> Json:
    """The cluster of a listener within this Envoy."""
    endpoint = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": listener}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(_CONNECT_S),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": _bounds(calls, retries=calls),
        **_spoken(http, {}),
    }


def one_after_the_other(name: str, clusters: tuple[str, ...], *, retries: int) -> Json:
    """A cluster of clusters: the first in which somebody is well is called."""
    aggregate = typed("envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=list(clusters))
    return {
        "name": name,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": aggregate},
        "connect_timeout": seconds(_CONNECT_S),
        "circuit_breakers": _bounds(retries, retries=retries),
    }


def _bounds(calls: int, *, retries: int) -> Json:
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": retries}
    thresholds = {"max_connections": calls, "max_pending_requests": calls, "max_requests": calls}
    return {"thresholds": [{**thresholds, "retry_budget": budget, "track_remaining": True}]}


def _spoken(http: Json, lasts: Json) -> Json:
    options = typed(
        HTTP_OPTIONS,
        explicit_http_config=http,
        common_http_protocol_options={"idle_timeout": "60s", **lasts},
    )
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {name: options}}


def by_health(check: Json, *, else_anybody: bool = False) -> Json:
    """Fields of a cluster that calls only those whom this check finds, and nobody when it finds none."""
    often = {
        "timeout": seconds(_ANSWER_S),
        "interval": seconds(_LOOK_S),
        "unhealthy_interval": seconds(LOOK_AT_OTHERS_S),
        "no_traffic_interval": seconds(_LOOK_S),
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }
    # What a look finds holds at once: by default Envoy gathers what it finds for a second.
    balancing: Json = {"update_merge_window": "0s"}
    if not else_anybody:
        balancing["healthy_panic_threshold"] = {"value": 0}
    return {
        "health_checks": [{**often, **check}],
        "common_lb_config": balancing,
        "ignore_health_on_host_removal": True,
    }


def grpc_health(part: str, service: str) -> Json:
    """A check of whether an instance of a part serves, by the name under which it reports so."""
    return {"grpc_health_check": {"service_name": service, "authority": f"{part}.satreel"}}


def outliers() -> Json:
    """Fields of a cluster whose instances are alike: one that fails where others do not is left out a while.

    Never so where one leads: nobody could do its work, and by its health is told whether it does.
    """
    detection = {
        "split_external_local_origin_errors": True,
        # It cannot be reached, or breaks off.
        "consecutive_local_origin_failure": 5,
        "consecutive_gateway_failure": 10,
        "enforcing_consecutive_gateway_failure": 100,
        # What a service itself calls an internal error says nothing of where it ran.
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 50,
        # Otherwise the next good look would bring it back at once.
        "successful_active_health_check_uneject_host": False,
    }
    return {"outlier_detection": detection}


def retries(*, repeatable: bool, where: Json | None = None) -> Json:
    """`retry_policy`: a call that no service began is made again: `elsewhere`, unless it is said where."""
    return {
        "retry_on": ",".join(_REPEATABLE if repeatable else _NOT_BEGUN),
        "retriable_headers": [{"name": UNSENT_KEY, "present_match": True}],
        **(elsewhere() if where is None else where),
    }


def elsewhere() -> Json:
    """Fields of a retry policy: so often, and each time at another instance, if there is one."""
    return {
        "num_retries": _RETRIES,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": _PICKS,
    }
