"""All files that an edge's Envoy reads, but for the address lists, which are the operator's."""

from __future__ import annotations

import json
from collections.abc import Mapping

from topology.edge.clusters import AUTHORITY, IDENTITY, clusters
from topology.edge.listeners import SITE, listeners
from topology.edge.places import Places
from topology.envoy import Json, authority_file, bootstrap, certificate_file
from topology.parts import EDGE
from topology.troubles import TROUBLES, troubles_file

BOOTSTRAP_FILE = "envoy.json"


def files(places: Places) -> Mapping[str, str]:
    """By name in `places.folder`, what stands in it. Start Envoy with BOOTSTRAP_FILE."""
    tls = places.tls
    found: dict[str, Json] = {
        BOOTSTRAP_FILE: _bootstrap(places),
        f"{IDENTITY}.json": certificate_file(IDENTITY, tls / f"{EDGE}.pem", tls / f"{EDGE}.key"),
        f"{SITE}.json": certificate_file(SITE, places.site_certificate, places.site_key),
        f"{AUTHORITY}.json": authority_file(AUTHORITY, tls / "ca.pem"),
    }
    if places.otlp:
        found[f"{TROUBLES}.json"] = troubles_file()
    return {name: json.dumps(content, indent=1) + "\n" for name, content in found.items()}


def _bootstrap(places: Places) -> Json:
    return bootstrap(
        EDGE,
        places.admin,
        listeners=listeners(places),
        clusters=clusters(places),
        connections=places.limits.connections,
        heap_bytes=places.limits.heap_bytes,
    )
