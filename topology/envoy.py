"""Words of Envoy's configuration that everything generated for it uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_TYPES = "type.googleapis.com/"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
HTTP_OPTIONS = f"{_TYPES}envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SPIFFE = "spiffe://satreel/"


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


def calls_part(part: str, folder: Path, *, certificate: str, authority: str) -> Json:
    """TLS 1.3 to a part of the mesh, which must show a certificate of its name."""
    common = _common(
        folder,
        certificate=certificate,
        authority=authority,
        speaks=("h2",),
        names=_uri_san({"exact": SPIFFE + part}),
    )
    tls = typed(f"{_TLS}.UpstreamTlsContext", sni=f"{part}.satreel", common_tls_context=common)
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def takes_strangers(folder: Path, *, certificate: str, authority: str) -> Json:
    """TLS 1.3 to anybody. Who shows a certificate must show one of the mesh's authority.

    No names are demanded here: Envoy would then demand a certificate of everybody.
    """
    tls = typed(
        f"{_TLS}.DownstreamTlsContext",
        common_tls_context=_common(
            folder, certificate=certificate, authority=authority, speaks=("h2", "http/1.1"), names={}
        ),
        require_client_certificate=False,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}
