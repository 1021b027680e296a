"""Words of Envoy's configuration that everything generated for it uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_TYPES = "type.googleapis.com/"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3"
HTTP_OPTIONS = f"{_TYPES}envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SPIFFE = "spiffe://satreel/"
_CONNECTIONS = "downstream_connections.v3.DownstreamConnectionsConfig"
_INNER_LISTENERS = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
_HEAP = "fixed_heap.v3.FixedHeapConfig"
# What a request holds counts from 64 KiB on.
_TRACKED_POWER = 16
# Parts of all memory: from the one on something is done, at the other all that can be.
_REFUSES = 0.97
_BREAKS_OFF = {"scaling_threshold": _REFUSES, "saturation_threshold": 1.0}
_SCALED = {"scaling_threshold": 0.8, "saturation_threshold": 0.95}


def typed(type_: str, /, **fields: Any) -> Json:
    """A message that says its own type; names of Envoy's may be given without their prefix."""
    return {"@type": type_ if type_.startswith(_TYPES) else _TYPES + type_, **fields}


def address(place: str) -> Json:
    """Of HOST:PORT."""
    host, _, port = place.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def endpoints(cluster: str, places: tuple[str, ...]) -> Json:
    """What a cluster's calls go to."""
    found = [{"endpoint": {"address": address(place)}} for place in places]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": found}]}


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:g}s"


def certificate_file(name: str, certificate: Path, key: Path) -> Json:
    """A file that tells of a certificate; Envoy reads it again when either of the two is moved in place."""
    secret = typed(
        f"{_TLS}.Secret",
        name=name,
        tls_certificate={
            "certificate_chain": {"filename": str(certificate)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(certificate.parent)},
        },
    )
    return {"resources": [secret]}


def authority_file(name: str, authority: Path) -> Json:
    """A file that tells whose certificates are believed."""
    secret = typed(
        f"{_TLS}.Secret",
        name=name,
        validation_context={
            "trusted_ca": {"filename": str(authority)},
            "watched_directory": {"path": str(authority.parent)},
        },
    )
    return {"resources": [secret]}


def _secret(folder: Path, name: str) -> Json:
    source = {"path_config_source": {"path": str(folder / f"{name}.json")}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _common(folder: Path, *, certificate: str, authority: str, speaks: tuple[str, ...], names: Json) -> Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": list(speaks),
        "tls_certificate_sds_secret_configs": [_secret(folder, certificate)],
        "combined_validation_context": {
            "default_validation_context": names,
            "validation_context_sds_secret_config": _secret(folder, authority),
        },
    }


def _uri_san(match: Mapping[str, str]) -> Json:
    return {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": dict(match)}]}


def clear_text() -> Json:
    """No TLS."""
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": typed(f"{_RAW}.RawBuffer")}


def calls_part(part: str, folder: Path, *, certificate: str, authority: str, speaks: str = "h2") -> Json:
    """TLS 1.3 to a part of the mesh, which must show a certificate of its name."""
    common = _common(
        folder,
        certificate=certificate,
        authority=authority,
        speaks=(speaks,),
        names=_uri_san({"exact": SPIFFE + part}),
    )
    tls = typed(f"{_TLS}.UpstreamTlsContext", sni=f"{part}.satreel", common_tls_context=common)
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def takes_parts(folder: Path, *, certificate: str, authority: str, speaks: str = "h2") -> Json:
    """TLS 1.3 to those who show a certificate of the mesh, and to nobody else."""
    return _takes(
        _common(
            folder,
            certificate=certificate,
            authority=authority,
            speaks=(speaks,),
            names=_uri_san({"prefix": SPIFFE}),
        ),
        demanded=True,
    )


def takes_strangers(folder: Path, *, certificate: str, authority: str) -> Json:
    """TLS 1.3 to anybody. Who shows a certificate must show one of the mesh's authority.

    No names are demanded here: Envoy would then demand a certificate of everybody.
    """
    common = _common(
        folder, certificate=certificate, authority=authority, speaks=("h2", "http/1.1"), names={}
    )
    return _takes(common, demanded=False)


def _takes(common: Json, *, demanded: bool) -> Json:
    tls = typed(
        f"{_TLS}.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=demanded,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def headers_to_add(own: Mapping[str, str]) -> Json:
    """The field of that name: these, whatever was there."""
    added = [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in own.items()
    ]
    return {"headers_to_add": added}


def http_filter(name: str, type_: str, /, **fields: object) -> Json:
    """One of a connection manager's; `type_` is "router.v3.Router"."""
    return {"name": name, "typed_config": typed(f"envoy.extensions.filters.http.{type_}", **fields)}


def listener(name: str, place: str, manager: Json, **chain: object) -> Json:
    """Hands what comes to an HTTP connection manager; `chain` are more fields of its filter chain."""
    return {**_listens(name, manager, **chain), "address": address(place)}


def inner_listener(name: str, manager: Json) -> Json:
    """The same for what comes from within this Envoy alone."""
    return {**_listens(name, manager), "internal_listener": {}}


def _listens(name: str, manager: Json, **chain: object) -> Json:
    type_ = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    filters = [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed(type_, **manager)}
    ]
    return {
        "name": name,
        "per_connection_buffer_limit_bytes": 256 * 1024,
        "filter_chains": [{"filters": filters, "transport_socket_connect_timeout": "5s", **chain}],
    }


def bootstrap(
    name: str,
    admin: str,
    *,
    listeners: list[Json],
    clusters: list[Json],
    connections: int,
    heap_bytes: int,
) -> Json:
    """What Envoy starts with; beyond so many open connections, or near so much memory, it takes no more.

    Before that, requests over HTTP/2 that hold the most of it are broken off; over HTTP/1 Envoy cannot, so
    those on which nothing moves end the sooner, the less is left, and at last those on which something does.
    """
    overload: Json = {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            _monitor(
                "global_downstream_max_connections",
                _CONNECTIONS,
                max_active_downstream_connections=connections,
            ),
            _monitor("fixed_heap", _HEAP, max_heap_size_bytes=heap_bytes),
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED_POWER},
        "actions": [
            _action("reset_high_memory_stream", **_SCALED),
            {**_action("reduce_timeouts", **_SCALED), "typed_config": _sooner()},
            _action("shrink_heap", 0.9),
            _action("stop_accepting_requests", _REFUSES),
        ],
        "loadshed_points": [
            _at(
                "load_shed_points.http1_server_abort_dispatch",
                scaling_threshold=_REFUSES,
                saturation_threshold=1,
            )
        ],
    }
    within = {"name": "envoy.bootstrap.internal_listener", "typed_config": typed(_INNER_LISTENERS)}
    has_inner = any("internal_listener" in one for one in listeners)
    return {
        "node": {"id": name, "cluster": name},
        "admin": {"address": address(admin)},
        **({"bootstrap_extensions": [within]} if has_inner else {}),
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "overload_manager": overload,
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }


def _monitor(name: str, type_: str, **fields: object) -> Json:
    return {
        "name": f"envoy.resource_monitors.{name}",
        "typed_config": typed(f"envoy.extensions.resource_monitors.{type_}", **fields),
    }


def _sooner() -> Json:
    """Ends what is idle sooner; WebSockets, which are pinged each 20 of their 90 s, are not."""
    timers = ("HTTP_DOWNSTREAM_STREAM_IDLE", "HTTP_DOWNSTREAM_CONNECTION_IDLE")
    factors = [{"timer": timer, "min_scale": {"value": 30}} for timer in timers]
    return typed("envoy.config.overload.v3.ScaleTimersOverloadActionConfig", timer_scale_factors=factors)


def _action(name: str, above: float | None = None, **scaled: float) -> Json:
    return _at(f"overload_actions.{name}", above, **scaled)


def _at(name: str, above: float | None = None, **scaled: float) -> Json:
    """What is done with so much of the memory in use: all from there on, or more and more of it."""
    at = {"scaled": scaled} if above is None else {"threshold": {"value": above}}
    trigger = {"name": "envoy.resource_monitors.fixed_heap", **at}
    return {"name": f"envoy.{name}", "triggers": [trigger]}
