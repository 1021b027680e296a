"""Filters of Envoy's that find requests, for access logs and for its own answers.

Words of `expression`: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
"""

from __future__ import annotations

from topology.envoy import Json, typed


def all_of(*filters: Json) -> Json:
    """What each of them finds."""
    return {"and_filter": {"filters": list(filters)}}


def any_of(*filters: Json) -> Json:
    """What one of them finds."""
    return {"or_filter": {"filters": list(filters)}}


def flagged(*flags: str) -> Json:
    """What Envoy says one of these response flags of."""
    return {"response_flag_filter": {"flags": list(flags)}}


def status(value: int, op: str = "EQ") -> Json:
    """By the status of HTTP; `op` is EQ, GE or LE."""
    compared = {"default_value": value, "runtime_key": f"satreel.status_{value}"}
    return {"status_code_filter": {"comparison": {"op": op, "value": compared}}}


def expression(cel: str) -> Json:
    """By an expression; what it speaks of and is not there finds nothing."""
    found = typed("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=cel)
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": found}}


def is_grpc() -> Json:
    """Requests of gRPC."""
    header = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {"header_filter": {"header": header}}


def is_answered_as_grpc() -> Json:
    """The same without REST's requests, which are gRPC's once they are transcoded."""
    transcoded = {"name": "x-envoy-original-path", "present_match": True, "invert_match": True}
    return all_of(is_grpc(), {"header_filter": {"header": transcoded}})
