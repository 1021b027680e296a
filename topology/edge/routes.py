"""Where requests go: GraphQL and media to the gateway, REST and gRPC to the services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mesh.contracts import MethodContract
from mesh.status import LEAVES_KEY, UNSENT_KEY
from topology.calls import all_calls
from topology.edge.clusters import PICTURES, SOCKETS
from topology.edge.cors import for_pages
from topology.edge.heads import unreadable_heads
from topology.edge.places import Places
from topology.edge.waiting import LEADERS, enters, patient
from topology.envoy import Json, seconds, typed
from topology.parts import GATEWAY
from topology.upstreams import FINAL_KEY, retries

REST_PREFIX = "/v1/"
PICTURES_PREFIX = "/pictures/"
OPENAPI_PATH, PAGES_PATH = "/openapi.json", "/docs"

# Filters that are not for every request, by their names in the chain (topology.edge.listeners).
TRANSCODER: Final = "envoy.filters.http.grpc_json_transcoder"
AUTHORIZER: Final = "envoy.filters.http.ext_authz"
BUFFER: Final = "envoy.filters.http.buffer"
CERTIFICATES: Final = "satreel.certificates"

# What a connection may become, on the route that allows it.
WEBSOCKETS: Final = {"upgrade_type": "websocket"}

# Requests that come without a body. Of one that comes with some, no more is kept than this.
BODYLESS: Final = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
_NO_BODY = typed(
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": 1_024}
)

_OFF = typed("envoy.config.route.v3.FilterConfig", disabled=True)
_HTML, _CSS, _SCRIPT = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_NO_HEADERS: Mapping[str, str] = {}
_PICTURE_S = 30
_PAGE_BYTES_MAX = 4 * 1024 * 1024
# The page loads nothing but its own files, and nobody may frame it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def route_configuration(places: Places) -> Json:
    """`route_config`, the same on all ports."""
    routes = [
        *(_refusal("unreadable", match, 400) for match in unreadable_heads()),
        *_gateway(places),
        *_pictures(places),
        *_documentation(places),
        *_bodies_apart(_rest(places)),
        *_methods(places),
        _refusal("nothing", {"prefix": "/"}, 404),
    ]
    return {
        "name": "edge",
        # Words of Envoys to each other.
        "response_headers_to_remove": [UNSENT_KEY, LEAVES_KEY, FINAL_KEY],
        "max_direct_response_body_size_bytes": _PAGE_BYTES_MAX,
        "virtual_hosts": [
            {"name": "edge", "domains": ["*"], "routes": routes, "retry_policy": retries(repeatable=False)}
        ],
    }


def _gateway(places: Places) -> list[Json]:
    to_gateway = {
        "cluster": GATEWAY,
        # Subscriptions last; the gateway keeps them alive, and has times of its own for what comes in.
        "timeout": "0s",
        "idle_timeout": seconds(places.limits.quiet_s),
    }
    off = dict.fromkeys((TRANSCODER, AUTHORIZER), _OFF)
    own = {"route": to_gateway, "typed_per_filter_config": off}
    matches: list[Json] = [
        {"path": "/graphql"},
        {"path": "/graphql/stream"},
        {"prefix": "/media/"},
        {"prefix": "/graphiql/"},
        {"path": "/healthz"},
        {"path": "/"},
    ]
    socket = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
    sockets = {"name": "/graphql", "match": {"path": "/graphql", "headers": [socket]}, **own}
    sockets["route"] = {**to_gateway, "cluster": SOCKETS, "upgrade_configs": [WEBSOCKETS]}
    form = {"prefix": "multipart/form-data", "ignore_case": True}
    multipart = {"name": "content-type", "string_match": form}
    uploads = {"name": "/graphql", "match": {"path": "/graphql", "headers": [multipart]}, **own}
    uploads["typed_per_filter_config"] = {**off, BUFFER: _OFF}
    requests = [{"name": next(iter(match.values())), "match": match, **own} for match in matches]
    return [sockets, uploads, *(way for one in requests for way in _bodies_apart(one))]


def _bodies_apart(route: Json) -> list[Json]:
    """One way for requests that have no body, and one for others."""
    match, own = route["match"], route["typed_per_filter_config"]
    without = {**match, "headers": [*match.get("headers", []), BODYLESS]}
    return [{**route, "match": without, "typed_per_filter_config": {**own, BUFFER: _NO_BODY}}, route]


def _pictures(places: Places) -> list[Json]:
    if not places.pictures:
        return []
    route = {"cluster": PICTURES, "timeout": seconds(_PICTURE_S), "retry_policy": retries(repeatable=True)}
    off = dict.fromkeys((TRANSCODER, AUTHORIZER), _OFF)
    return [
        {
            "name": PICTURES_PREFIX,
            "match": {"prefix": PICTURES_PREFIX},
            "route": route,
            "typed_per_filter_config": off,
        }
    ]


def _documentation(places: Places) -> list[Json]:
    # Everybody's pages may read what REST there is.
    everybody = {"access-control-allow-origin": "*"}
    found = [_file(OPENAPI_PATH, str(places.openapi), "application/json", everybody)]
    if places.pages is not None:
        found += [
            _file(PAGES_PATH, str(places.page / "index.html"), _HTML),
            _file(f"{PAGES_PATH}/page.js", str(places.page / "page.js"), _SCRIPT),
            _file(f"{PAGES_PATH}/swagger-ui.css", str(places.pages / "swagger-ui.css"), _CSS),
            _file(f"{PAGES_PATH}/swagger-ui-bundle.js", str(places.pages / "swagger-ui-bundle.js"), _SCRIPT),
        ]
    return found


def _file(path: str, filename: str, content_type: str, more: Mapping[str, str] = _NO_HEADERS) -> Json:
    headers = {
        **more,
        "content-type": content_type,
        "cache-control": "public, max-age=300",
        "x-content-type-options": "nosniff",
        "content-security-policy": _PAGE_POLICY,
    }
    return {
        "name": "documentation",
        "match": {
            "path": path,
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
        },
        "direct_response": {"status": 200, "body": {"filename": filename}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
        "typed_per_filter_config": dict.fromkeys((TRANSCODER, AUTHORIZER), _OFF),
    }


def _rest(places: Places) -> Json:
    """For as long as a path is not yet the method that it stands for: the transcoder refuses what is none."""
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {
        "name": "rest",
        # The transcoder would let pass what says that it is gRPC already.
        "match": {
            "prefix": REST_PREFIX,
            "headers": [{**grpc, "invert_match": True, "treat_missing_header_as_empty": True}],
        },
        # Never taken, but CORS heeds no other kind of route.
        "route": {"cluster": GATEWAY},
        "typed_per_filter_config": for_pages(places),
    }


def unary_routes() -> list[str]:
    """Names of those to methods with one answer, by REST or gRPC."""
    return [call.method.span_name for call in all_calls() if not call.method.streams]


def _methods(places: Places) -> list[Json]:
    """gRPC's own paths: REST comes here too, once it is transcoded."""
    return [_method(call.service, call.method, places) for call in all_calls()]


def _method(service: str, method: MethodContract, places: Places) -> Json:
    timeout_s = 0 if method.streams else method.timeout_s
    # A stream would keep its place where it waited for as long as it lasts.
    waits = service in LEADERS and not method.streams
    route: Json = {
        "cluster": patient(service) if waits else service,
        "timeout": seconds(timeout_s),
        "idle_timeout": seconds(places.limits.quiet_s),
    }
    repeatable = method.repeatable and not method.streams
    if waits:
        route["retry_policy"] = retries(repeatable=repeatable, where=enters())
    elif repeatable:
        route["retry_policy"] = retries(repeatable=True)
    found: Json = {
        "name": method.span_name,
        "match": {"path": method.path},
        "route": route,
        "typed_per_filter_config": {BUFFER: _OFF, CERTIFICATES: _with_certificate()},
    }
    if timeout_s:
        # A client's own deadline may be shorter.
        route["max_stream_duration"] = {"grpc_timeout_header_max": seconds(timeout_s)}
        found["request_headers_to_add"] = [
            {
                "header": {"key": "grpc-timeout", "value": f"{int(timeout_s * 1000)}m"},
                "append_action": "ADD_IF_ABSENT",
            }
        ]
    return found


def _with_certificate() -> Json:
    """Clients must have shown a certificate of the mesh (over TLS, so never on the clear port)."""
    shown = {"authenticated": {"principal_name": {"prefix": "spiffe://satreel/"}}}
    policy = {"permissions": [{"any": True}], "principals": [shown]}
    rules = {"action": "ALLOW", "policies": {"certificate": policy}}
    return typed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _refusal(name: str, match: Json, status: int) -> Json:
    return {
        "name": name,
        "match": match,
        "direct_response": {"status": status},
        "typed_per_filter_config": dict.fromkeys((TRANSCODER, AUTHORIZER, BUFFER), _OFF),
    }
