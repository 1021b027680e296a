"""Where the edge listens, and what a request passes on its way in."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.interceptors.guards import CLIENT_ADDRESS_KEY, TEAM_KEY, TRUSTED_KEYS, USER_TOKEN_KEY
from mesh.status import UNSENT_KEY
from mesh.tokens import CHALLENGE
from topology.edge.addresses import ADDRESSES_FILE, FILTER, RBAC_TYPE
from topology.edge.clusters import AUTHORITY
from topology.edge.cors import CORS
from topology.edge.errors import local_replies
from topology.edge.heads import taken_heads
from topology.edge.places import Limits, Places
from topology.edge.routes import (
    AUTHORIZER,
    BODYLESS,
    BUFFER,
    CERTIFICATES,
    OPENAPI_PATH,
    PAGES_PATH,
    TRANSCODER,
    WEBSOCKETS,
    route_configuration,
    unary_routes,
)
from topology.edge.waiting import waiting_listeners
from topology.envoy import Json, http_filter, listener, seconds, takes_strangers
from topology.monitor import monitor_listener
from topology.observed import OPERATION, access_log, tracing
from topology.parts import EDGE, GATEWAY, PARTS, SERVICES
from topology.troubles import troubles
from topology.upstreams import elsewhere

SITE = "site"
# Where the gateway is asked who a client is; no route leads there.
AUTHORIZE_PATH = "/authorize"
_AUTHORIZE_S = 3
# Sixteen bytes in base64, as the key of a WebSocket must be (RFC 6455).
_SOCKET_KEY = "c2F0cmVlbC5lZGdlLmtleQ=="
# Whoever has one IPv6 address has all of its network.
_ADDRESS, _NETWORK = "masked_remote_address", {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}
# Of a request that is transcoded, as the transcoder says later; logs and spans name it.
_METHOD_BEFORE = "x-envoy-original-method"
# What bodies are large by: five digits, or no word of their length where one may be.
_LARGE = {"descriptor_key": "body", "descriptor_value": "large"}
_LENGTH = "content-length"
_SIZES: tuple[list[Json], ...] = (
    [{"name": _LENGTH, "string_match": {"safe_regex": {"regex": "[0-9]{5,}"}}}],
    [
        {"name": _LENGTH, "present_match": True, "invert_match": True},
        {**BODYLESS, "invert_match": True},
        # gRPC never says it, and nothing of it is kept.
        {"name": ":path", "string_match": {"prefix": "/satreel."}, "invert_match": True},
    ],
)
# Of what the edge itself answers, what is large.
_PAGE = {"descriptor_key": "answer", "descriptor_value": "page"}
_PAGES = (OPENAPI_PATH, f"{PAGES_PATH}/swagger-ui")


def listeners(places: Places) -> list[Json]:
    """https, clear text where there is to be some, what monitors ask, and where requests wait."""
    tls = takes_strangers(places.folder, certificate=SITE, authority=AUTHORITY)
    found = [listener("https", places.https, _manager("https", places), transport_socket=tls)]
    if places.http is not None:
        found.append(listener("http", places.http, _manager("http", places)))
    if places.monitor is not None:
        found.append(monitor_listener(places.monitor))
    return [*found, *waiting_listeners()]


def _manager(name: str, places: Places) -> Json:
    limits = places.limits
    found: Json = {
        "stat_prefix": name,
        "codec_type": "AUTO",
        "server_name": "satreel",
        "use_remote_address": True,
        "xff_num_trusted_hops": places.proxies_before,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "generate_request_id": True,
        "request_headers_timeout": seconds(limits.head_s),
        "request_timeout": seconds(limits.request_s),
        "stream_idle_timeout": seconds(limits.quiet_s),
        "max_request_headers_kb": limits.headers_kib,
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.idle_s),
            "max_connection_duration": seconds(limits.connection_s),
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        # Over HTTP/1 an answer tells it.
        "http1_safe_max_connection_duration": True,
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
            # WebSockets within HTTP/2 (RFC 8441).
            "allow_connect": True,
        },
        # Off, but for the one route that says otherwise: what they pass does not ask who comes.
        "upgrade_configs": [{**WEBSOCKETS, "enabled": False, "filters": _for_sockets(places)}],
        "local_reply_config": local_replies(),
        "access_log": [access_log()],
        "http_filters": _filters(places),
        "route_config": route_configuration(places),
    }
    if places.otlp:
        found["tracing"] = tracing(
            EDGE,
            places.trace_ratio,
            operation=OPERATION,
            upstream_spans=True,
        )
        found["access_log"].append(
            troubles(EDGE, places.trace_slow_s, unary=unary_routes(), folder=places.folder)
        )
    return found


def _filters(places: Places) -> list[Json]:
    """In the order that requests pass them."""
    return [
        http_filter("satreel.word", "header_mutation.v3.HeaderMutation", mutations=_word()),
        http_filter("satreel.challenge", "header_mutation.v3.HeaderMutation", mutations=_challenge()),
        _addresses(places),
        # Before whatever refuses: pages may read refusals, too.
        http_filter(CORS, "cors.v3.Cors"),
        http_filter("envoy.filters.http.grpc_web", "grpc_web.v3.GrpcWeb"),
        http_filter(
            "envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit", **_rate(places.limits)
        ),
        # Asks for a certificate where a route says so.
        http_filter(CERTIFICATES, "rbac.v3.RBAC"),
        http_filter(BUFFER, "buffer.v3.Buffer", max_request_bytes=places.limits.body_bytes),
        http_filter(AUTHORIZER, "ext_authz.v3.ExtAuthz", **_authorizer()),
        http_filter(TRANSCODER, "grpc_json_transcoder.v3.GrpcJsonTranscoder", **_transcoder(places)),
        http_filter("envoy.filters.http.router", "router.v3.Router"),
    ]


def _for_sockets(places: Places) -> list[Json]:
    """Those for a WebSocket, which has no end to wait for."""
    not_for_them = {CERTIFICATES, BUFFER, CORS, AUTHORIZER, TRANSCODER, "envoy.filters.http.grpc_web"}
    passed = [one for one in _filters(places) if one["name"] not in not_for_them]
    # Within HTTP/2 a WebSocket has no key (RFC 8441), and Envoy gives it none; but a gateway, asked over
    # HTTP/1.1, wants one. It keeps nothing secret, and nobody reads the answer to it.
    key = {"header": {"key": "sec-websocket-key", "value": _SOCKET_KEY}, "append_action": "ADD_IF_ABSENT"}
    named = http_filter(
        "satreel.key", "header_mutation.v3.HeaderMutation", mutations={"request_mutations": [{"append": key}]}
    )
    return [named, *passed]


def _word() -> Json:
    """What only the mesh may say is taken from whoever says it; then the edge gives its own word."""
    own = {
        CLIENT_ADDRESS_KEY: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        TEAM_KEY: "%DOWNSTREAM_PEER_URI_SAN%",
    }
    said = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in own.items()
    ]
    taken = (*TRUSTED_KEYS, _METHOD_BEFORE)
    return {"request_mutations": [*({"remove": key} for key in taken), *taken_heads(), *said]}


def _challenge() -> Json:
    """Every 401 says what is asked for (RFC 9110, 11.6.1): the gateway does, services know no HTTP."""
    value = f"%CEL(response.headers[':status'] == '401' ? '{CHALLENGE}' : '')%"
    header = {"key": "www-authenticate", "value": value}
    return {"response_mutations": [{"append": {"header": header, "append_action": "ADD_IF_ABSENT"}}]}


def _addresses(places: Places) -> Json:
    folder = str(places.addresses or places.folder)
    # Kubelet moves a link beside the file, not the file.
    source = {"path": f"{folder}/{ADDRESSES_FILE}", "watched_directory": {"path": folder}}
    return {
        "name": FILTER,
        "config_discovery": {
            "config_source": {"path_config_source": source, "resource_api_version": "V3"},
            "type_urls": [RBAC_TYPE],
        },
    }


def _rate(limits: Limits) -> Json:
    def bucket(per_s: int, at_once: int) -> Json:
        return {"max_tokens": at_once, "tokens_per_fill": per_s, "fill_interval": "1s"}

    def of(kind: Mapping[str, str], per_s: int, at_once: int) -> Json:
        entry = {"key": kind["descriptor_key"], "value": kind["descriptor_value"]}
        return {"entries": [{"key": _ADDRESS}, entry], "token_bucket": bucket(per_s, at_once)}

    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    address = {_ADDRESS: _NETWORK}
    pages = [[{"name": ":path", "string_match": {"prefix": path}}] for path in _PAGES]
    found = [(_LARGE, size) for size in _SIZES] + [(_PAGE, page) for page in pages]
    apart = [{"actions": [address, {"header_value_match": {**kind, "headers": by}}]} for kind, by in found]
    return {
        "stat_prefix": "addresses",
        # Of all together: what the connections that may be open can ask for at most.
        "token_bucket": bucket(limits.connections, limits.connections),
        "filter_enabled": always,
        "filter_enforced": always,
        "rate_limits": [{"actions": [address]}, *apart],
        "descriptors": [
            {
                "entries": [{"key": _ADDRESS}],
                "token_bucket": bucket(limits.requests_per_s, limits.requests_at_once),
            },
            of(_LARGE, limits.large_per_s, limits.large_at_once),
            of(_PAGE, limits.pages_per_s, limits.pages_at_once),
        ],
        "max_dynamic_descriptors": limits.connections,
        "response_headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
    }


def _authorizer() -> Json:
    """The gateway says who a client is, by its access token, and counts its requests."""
    told = ("x-forwarded-for", "user-agent", "traceparent", "tracestate")
    limits = {"prefix": "ratelimit", "ignore_case": True}
    refusals = [{"exact": name} for name in ("www-authenticate", "retry-after", "content-type")]
    return {
        "transport_api_version": "V3",
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
        "allowed_headers": {"patterns": [{"exact": name} for name in told]},
        "http_service": {
            "server_uri": {
                "uri": f"http://{GATEWAY}",
                "cluster": GATEWAY,
                "timeout": seconds(_AUTHORIZE_S),
            },
            "path_prefix": AUTHORIZE_PATH,
            # What no gateway has begun with, as the sidecar of one says that bears no more. In the request:
            # the policy here has no word for it. Envoy takes it out again.
            "authorization_request": {
                "headers_to_add": [{"key": "x-envoy-retriable-header-names", "value": UNSENT_KEY}]
            },
            # Who asks twice is counted twice, and nothing else.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset,gateway-error,retriable-headers",
                # As routes have it; here Envoy would wait for seconds.
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
                **elsewhere(),
            },
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"exact": USER_TOKEN_KEY}]},
                "allowed_client_headers": {"patterns": [limits, *refusals]},
                "allowed_client_headers_on_success": {"patterns": [limits]},
            },
        },
    }


def _transcoder(places: Places) -> Json:
    return {
        "proto_descriptor": str(places.descriptors),
        "services": [PARTS[name].contract for name in SERVICES],
        "convert_grpc_status": True,
        "print_options": {"always_print_primitive_fields": True},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
        },
        "max_request_body_size": places.limits.body_bytes,
    }
