"""Envoy's own errors, told as those of services are: a google.rpc.Status as JSON, with a reason of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mesh.status import DETAILS_KEY
from topology.envoy import Json, headers_to_add
from topology.filters import all_of, any_of, expression, flagged, is_answered_as_grpc, status
from topology.statuses import details

DOMAIN = "satreel.edge"
AS_IT_IS: Json = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
_NOTHING: Json = {"text_format_source": {"inline_string": ""}}
# Another instance is found within it, and a new leader, too, unless the one of before died.
IN_A_SECOND = {"retry-after": "1"}
_NO_HEADERS: Mapping[str, str] = {}
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class Told(NamedTuple):
    """How a status of HTTP is told: number of google.rpc.Code, reason, and words (None: Envoy's)."""

    code: int
    reason: str
    message: str | None = None


# By HTTP status.
ERRORS = {
    400: Told(3, "BAD_REQUEST"),
    401: Told(16, "UNAUTHENTICATED"),
    403: Told(7, "ADDRESS_REFUSED", "this is not for your address, or needs a certificate of the mesh"),
    404: Told(5, "NOT_FOUND", "there is nothing here: see /docs"),
    405: Told(12, "METHOD_NOT_ALLOWED", "this path has other methods: see /docs"),
    408: Told(4, "TOO_SLOW", "the request did not come in time"),
    413: Told(3, "TOO_LARGE", "the request is too large"),
    415: Told(3, "UNSUPPORTED_MEDIA_TYPE"),
    426: Told(3, "UPGRADE_REQUIRED"),
    429: Told(8, "RATE_LIMITED", "too many requests come from your address; try again in a second"),
    431: Told(3, "HEADERS_TOO_LARGE", "the request's head is too large"),
    500: Told(13, "INTERNAL", "this failed through no fault of yours"),
    501: Told(12, "NOT_IMPLEMENTED"),
    502: Told(14, "UNAVAILABLE", "the service did not answer as it should; try again"),
    503: Told(14, "UNAVAILABLE", "the service does not answer; try again"),
    504: Told(4, "DEADLINE_EXCEEDED", "the service did not answer in time"),
}

# The same to gRPC: what it has other words for, and what else may befall it.
_TO_GRPC = {
    404: Told(12, "METHOD_UNKNOWN", "there is no such method"),
    413: Told(8, "TOO_LARGE", "the request is too large"),
    **{number: ERRORS[number] for number in (408, 429, 500, 502, 504)},
}
# It asks for a certificate; who shows one is refused by its address.
_REFUSED = expression("response.code_details.startsWith('rbac_access_denied')")
_UNKNOWN = expression("!connection.mtls")
_NO_CERTIFICATE = Told(
    7, "CERTIFICATE_MISSING", "this needs a certificate of the mesh, or is not for your address"
)

# More is under way than an Envoy bears, or it has no memory left, which has no flag. It would say 503 of it.
OVERLOAD = any_of(flagged("UO", "OM"), expression("response.code_details == 'overload'"))
_OVERLOADED = Told(
    8, "OVERLOADED", "more is asked for than can be done at this moment; try again in a second"
)
# The gateway's refusals are such bodies already.
_BY_GATEWAY = flagged("UAEX")


def local_replies() -> Json:
    """`local_reply_config`. To gRPC clients they are told as gRPC has it."""
    to_grpc = [
        _told_as_grpc(OVERLOAD, _OVERLOADED, IN_A_SECOND),
        _told_as_grpc(all_of(_REFUSED, _UNKNOWN), _NO_CERTIFICATE),
        _told_as_grpc(_REFUSED, ERRORS[403]),
        # Also where the gateway itself does not answer.
        _told_as_grpc(status(503), ERRORS[503], IN_A_SECOND),
        _too_many_for_the_gateway(),
        _mapper(all_of(_BY_GATEWAY, is_answered_as_grpc()), AS_IT_IS),
        *(_told_as_grpc(status(number), told) for number, told in _TO_GRPC.items()),
        _mapper(is_answered_as_grpc(), AS_IT_IS),
    ]
    return {"mappers": [*to_grpc, *told_to_http()]}


def _told_as_grpc(found_by: Json, told: Told, more: Mapping[str, str] = _NO_HEADERS) -> Json:
    """In the head alone, where gRPC and gRPC-Web both look: without memory Envoy passes no filter."""
    message = str(told.message)
    own = {
        "grpc-status": str(told.code),
        "grpc-message": message,
        DETAILS_KEY: details(told.code, told.reason, message, domain=DOMAIN),
    }
    found = _mapper(all_of(found_by, is_answered_as_grpc()), _NOTHING)
    return {**found, "status_code": 200, **headers_to_add({**own, **more})}


def _too_many_for_the_gateway() -> Json:
    """Envoy would say UNAVAILABLE, and whoever calls would do it again at once."""
    found = _mapper(all_of(_BY_GATEWAY, status(429), is_answered_as_grpc()), AS_IT_IS)
    return {**found, **headers_to_add({"grpc-status": str(ERRORS[429].code)})}


def told_to_http() -> list[Json]:
    """Mappers for all other requests."""
    return [
        overloaded(),
        # Also where the gateway itself does not answer.
        unavailable(status(503)),
        _mapper(_BY_GATEWAY, {**AS_IT_IS, "content_type": "application/json"}),
        *(_mapper(status(number), told_as_json(told)) for number, told in ERRORS.items()),
    ]


def overloaded(more: Mapping[str, str] = _NO_HEADERS) -> Json:
    """The mapper for overload, which may say more in its head."""
    headers = headers_to_add({**IN_A_SECOND, **more})
    return {**_mapper(OVERLOAD, told_as_json(_OVERLOADED)), "status_code": 429, **headers}


def unavailable(found_by: Json, more: Mapping[str, str] = _NO_HEADERS) -> Json:
    """The mapper for those whom nobody answers."""
    headers = headers_to_add({**IN_A_SECOND, **more})
    return {**_mapper(found_by, told_as_json(ERRORS[503])), **headers}


def _mapper(filter_: Json, body: Json) -> Json:
    return {"filter": filter_, "body_format_override": body}


def told_as_json(told: Told) -> Json:
    """`body_format_override` of a mapper."""
    message = told.message or "%LOCAL_REPLY_BODY%"
    info = {"@type": _ERROR_INFO, "reason": told.reason, "domain": DOMAIN}
    return {"json_format": {"code": told.code, "message": message, "details": [info]}}
