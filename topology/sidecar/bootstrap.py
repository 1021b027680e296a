"""All files that a sidecar's Envoy reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

from topology.calls import called_by
from topology.envoy import Json, authority_file, bootstrap, certificate_file
from topology.sidecar.clusters import AUTHORITY, IDENTITY, clusters
from topology.sidecar.inbound import inbound
from topology.sidecar.monitor import monitors
from topology.sidecar.outbound import outbound
from topology.sidecar.places import Places

BOOTSTRAP_FILE = "envoy.json"


def files(places: Places) -> Mapping[str, str]:
    """By name in `places.folder`, what stands in it. Start Envoy with BOOTSTRAP_FILE.

    Raises ValueError when `places.peers` are not those that the part calls.
    """
    if wrong := places.peers.keys() ^ set(called_by(places.part)):
        raise ValueError(f"{places.part} calls others than told: {', '.join(sorted(wrong))}")
    tls, part = places.tls, places.part
    found = {
        BOOTSTRAP_FILE: _bootstrap(places),
        f"{IDENTITY}.json": certificate_file(IDENTITY, tls / f"{part}.pem", tls / f"{part}.key"),
        f"{AUTHORITY}.json": authority_file(AUTHORITY, tls / "ca.pem"),
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in found.items()}


def _bootstrap(places: Places) -> Json:
    return bootstrap(
        f"{places.part}-sidecar",
        places.admin,
        listeners=[
            inbound(places),
            *(outbound(peer, places) for peer in places.peers),
            *monitors(places),
        ],
        clusters=clusters(places),
        connections=places.limits.connections,
        heap_bytes=places.limits.heap_bytes,
    )
