"""Where the mesh calls the part: whoever shows a certificate of the mesh, for what contracts allow."""

from __future__ import annotations

import re

from mesh.contracts import MethodContract
from mesh.interceptors.guards import TEAM_KEY
from mesh.status import UNSENT_KEY
from topology.calls import callers_of
from topology.envoy import SPIFFE, Json, http_filter, listener, seconds, takes_parts
from topology.parts import EDGE, PARTS, Protocol
from topology.sidecar.clusters import APPLICATION, AUTHORITY, IDENTITY
from topology.sidecar.manager import COMMON, manager
from topology.sidecar.places import Places
from topology.upstreams import HEALTH_PATH, retries

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_HEALTH = (HEALTH_CHECK, "/grpc.health.v1.Health/Watch")


def inbound(places: Places) -> Json:
    """The listener for calls to the part."""
    speaks = "h2" if _is_service(places) else "http/1.1"
    tls = takes_parts(places.folder, certificate=IDENTITY, authority=AUTHORITY, speaks=speaks)
    own: Json = {
        # The application believes its sidecar alone of who calls.
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        # Callers connect anew so often, with the certificates of then: told ahead, or by an answer of HTTP/1.
        "common_http_protocol_options": {
            **COMMON,
            "max_connection_duration": seconds(places.limits.connection_s),
        },
        "http1_safe_max_connection_duration": True,
    }
    if not _is_service(places):
        own["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    filters = [http_filter("envoy.filters.http.rbac", "rbac.v3.RBAC", rules=_rules(places)), _no_word()]
    found = manager("inbound", _routes(), places, filters=filters, logged=_all_but_health()) | own
    return {
        **listener("inbound", places.listen, found, transport_socket=tls),
        "traffic_direction": "INBOUND",
    }


def _all_but_health() -> Json:
    """Every sidecar of every caller looks every second."""
    looks = "|".join(re.escape(path) for path in (*_HEALTH, HEALTH_PATH))
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": looks}}, "invert_match": True}
    return {"header_filter": {"header": path}}


def _is_service(places: Places) -> bool:
    return PARTS[places.part].port.protocol is Protocol.GRPC


def _routes() -> Json:
    route = {
        "cluster": APPLICATION,
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        "retry_policy": retries(repeatable=False),
    }
    return {
        "name": "inbound",
        "virtual_hosts": [
            {
                "name": "inbound",
                "domains": ["*"],
                "routes": [{"name": "inbound", "match": {"prefix": "/"}, "route": route}],
            }
        ],
    }


def _no_word() -> Json:
    """At the end of an answer nobody may say that the call was not begun: it was."""
    taken = {"response_trailers_mutations": [{"remove": UNSENT_KEY}]}
    return http_filter("satreel.unsent", "header_mutation.v3.HeaderMutation", mutations=taken)


def _rules(places: Places) -> Json:
    if not _is_service(places):
        policies = {
            "health": _policy([_path(HEALTH_PATH)], [_named({"prefix": SPIFFE})]),
            EDGE: _policy([{"any": True}], [_named({"exact": SPIFFE + EDGE})]),
        }
    else:
        policies = {"health": _policy([_path(path) for path in _HEALTH], [_named({"prefix": SPIFFE})])}
        for caller, methods in callers_of(places.part).items():
            policies[caller] = _policy(_paths(methods), _callers(caller))
    return {"action": "ALLOW", "policies": policies}


def _policy(permissions: list[Json], principals: list[Json]) -> Json:
    return {"permissions": permissions, "principals": principals}


def _paths(methods: tuple[MethodContract, ...]) -> list[Json]:
    return [_path(method.path) for method in methods]


def _path(path: str) -> Json:
    return {"url_path": {"path": {"exact": path}}}


def _named(name: Json) -> Json:
    return {"authenticated": {"principal_name": name}}


def _callers(caller: str) -> list[Json]:
    """It itself; or the edge, which says whose certificate it saw at the door."""
    team = {"header": {"name": TEAM_KEY, "string_match": {"exact": SPIFFE + caller}}}
    by_edge = {"and_ids": {"ids": [_named({"exact": SPIFFE + EDGE}), team]}}
    return [_named({"exact": SPIFFE + caller}), by_edge]
