"""How a sidecar and its application are, for those who are no part of the mesh: kubelet, and Prometheus."""

from __future__ import annotations

from topology.envoy import Json
from topology.monitor import ANSWER_S, monitor_listener
from topology.parts import PARTS
from topology.sidecar.clusters import APPLICATION
from topology.sidecar.inbound import HEALTH_CHECK
from topology.sidecar.places import Places
from topology.upstreams import HEALTH_PATH


def monitors(places: Places) -> list[Json]:
    """The listener, where there is to be one. It passes on gRPC's health check, or the gateway's path."""
    if places.monitor is None:
        return []
    path = HEALTH_CHECK if PARTS[places.part].contract else HEALTH_PATH
    route = {"cluster": APPLICATION, "timeout": f"{ANSWER_S}s"}
    return [monitor_listener(places.monitor, {"name": "health", "match": {"path": path}, "route": route})]
