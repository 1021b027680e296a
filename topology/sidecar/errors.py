"""Envoy's own answers, told as those of services are: a google.rpc.Status with a reason of ours."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mesh.errors import CallerNotAllowed, Code, Overloaded, Unavailable
from mesh.status import DETAILS_KEY, UNSENT_KEY
from topology.edge import errors as edge_errors
from topology.envoy import Json

DOMAIN = "satreel.mesh"


class Told(NamedTuple):
    """How one of Envoy's answers is told: what it is found by, and whether the call has reached nobody."""

    found_by: Json
    code: Code
    reason: str
    message: str
    unsent: bool = False


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"satreel.sidecar.status_{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


ANSWERS = (
    Told(
        _flags("UH", "UF"),
        Code.UNAVAILABLE,
        Unavailable.reason,
        "no instance takes calls at this moment",
        unsent=True,
    ),
    Told(
        edge_errors.OVERLOAD,
        Code.RESOURCE_EXHAUSTED,
        Overloaded.reason,
        "as many calls as a sidecar bears are under way",
        unsent=True,
    ),
    Told(
        _status(403),
        Code.PERMISSION_DENIED,
        CallerNotAllowed.reason,
        "the calling service may not call this method",
    ),
)


def local_replies() -> Json:
    """`local_reply_config`; requests that are not gRPC's are answered as the edge does."""
    return {
        "mappers": [
            *(_mapper(told) for told in ANSWERS),
            *(_http_mapper(told) for told in ANSWERS if told.unsent),
            {"filter": edge_errors.is_grpc(), "body_format_override": edge_errors.AS_IT_IS},
            *edge_errors.told_to_http(),
        ]
    }


def _mapper(told: Told) -> Json:
    # Where Envoy itself would say another code: it fills in what is not there.
    own = {"grpc-status": str(code_pb2.Code.Value(told.code)), DETAILS_KEY: _details(told)}
    if told.unsent:
        own[UNSENT_KEY] = "1"
    return {
        "filter": {"and_filter": {"filters": [edge_errors.is_grpc(), told.found_by]}},
        "body_format_override": {"text_format_source": {"inline_string": told.message}},
        **_headers(own),
    }


def _http_mapper(told: Told) -> Json:
    body = edge_errors.told_as_json(edge_errors.ERRORS[503])
    return {"filter": told.found_by, "body_format_override": body, **_headers({UNSENT_KEY: "1"})}


def _headers(own: dict[str, str]) -> Json:
    added = [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in own.items()
    ]
    return {"headers_to_add": added}


def _details(told: Told) -> str:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=told.reason, domain=DOMAIN))
    status = status_pb2.Status(code=code_pb2.Code.Value(told.code), message=told.message, details=[info])
    return b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")
