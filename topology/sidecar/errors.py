"""Envoy's own answers, told as those of services are: a google.rpc.Status with a reason of ours."""

from __future__ import annotations

from typing import NamedTuple

from google.rpc import code_pb2

from mesh.errors import CallerNotAllowed, Code, Overloaded, Unavailable
from mesh.status import DETAILS_KEY, LEAVES_KEY, UNSENT_KEY
from topology.edge import errors as edge_errors
from topology.envoy import Json, headers_to_add
from topology.filters import all_of, flagged, is_grpc, status
from topology.parts import PARTS, Instances
from topology.statuses import details
from topology.upstreams import FINAL_KEY

DOMAIN = "satreel.mesh"


class Told(NamedTuple):
    """How one of Envoy's answers is told: what it is found by, and whether the call has reached nobody."""

    found_by: Json
    code: Code
    reason: str
    message: str
    unsent: bool = False
    # The application cannot be reached: those who call look elsewhere until it says that it is well.
    leaves: bool = False


_NOBODY = flagged("UH", "UF")
_UNSENT = {UNSENT_KEY: "1"}
ANSWERS = (
    Told(
        _NOBODY,
        Code.UNAVAILABLE,
        Unavailable.reason,
        "no instance takes calls at this moment",
        unsent=True,
        leaves=True,
    ),
    Told(
        edge_errors.OVERLOAD,
        Code.RESOURCE_EXHAUSTED,
        Overloaded.reason,
        "as many calls as a sidecar bears are under way",
        unsent=True,
    ),
    Told(
        status(403),
        Code.PERMISSION_DENIED,
        CallerNotAllowed.reason,
        "the calling service may not call this method",
    ),
)


def local_replies(part: str) -> Json:
    """`local_reply_config`; requests that are not gRPC's are answered as the edge does."""
    return {
        "mappers": [
            *(_mapper(told, leads=PARTS[part].instances is Instances.LEADER) for told in ANSWERS),
            edge_errors.overloaded(_UNSENT),
            edge_errors.unavailable(_NOBODY, _UNSENT),
            {"filter": is_grpc(), "body_format_override": edge_errors.AS_IT_IS},
            *edge_errors.told_to_http(),
        ]
    }


def _mapper(told: Told, *, leads: bool) -> Json:
    # Where Envoy itself would say another code: it fills in what is not there.
    code = code_pb2.Code.Value(told.code)
    own = {"grpc-status": str(code), DETAILS_KEY: details(code, told.reason, told.message, domain=DOMAIN)}
    if told.unsent:
        own |= _UNSENT
    if told.leaves:
        own[LEAVES_KEY] = "1"
    if told.code is Code.RESOURCE_EXHAUSTED and leads:
        # Nobody else would do it, and whoever waits for a leader would ask for it all the time.
        own[FINAL_KEY] = "true"
    return {
        "filter": all_of(is_grpc(), told.found_by),
        "body_format_override": {"text_format_source": {"inline_string": told.message}},
        **headers_to_add(own),
    }
