"""The map between `Failure` and google.rpc.Status as gRPC carries it."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from mesh.errors import Code, Failure, FieldViolation, RemoteFailure

DETAILS_KEY = "grpc-status-details-bin"
# Nobody has begun with the call, which may be made anew, whatever it does: said by an Envoy on the way, where
# it has reached no instance, or by one that leads no more.
UNSENT_KEY = "satreel-unsent"
# Has an Envoy leave out who says it until a look at its health finds it well.
LEAVES_KEY = "x-envoy-immediate-health-check-fail"
NOT_BEGUN = ((UNSENT_KEY, "1"), (LEAVES_KEY, "1"))


def domain_of(service: str) -> str:
    """The error domain of a gRPC service: "satreel.ledger" of "satreel.ledger.v1.LedgerService"."""
    return service.rsplit(".", 2)[0]


def to_status(failure: Failure, *, domain: str) -> grpc.Status:
    """Renders a failure for the wire; a passed-on failure keeps the domain that it came from."""
    origin = failure.domain if isinstance(failure, RemoteFailure) and failure.domain else domain
    details: list[any_pb2.Any] = [
        _packed(error_details_pb2.ErrorInfo(reason=failure.reason, domain=origin, metadata=failure.metadata))
    ]
    if failure.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in failure.violations
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    status = status_pb2.Status(
        code=code_pb2.Code.Value(failure.code), message=failure.message, details=details
    )
    return rpc_status.to_status(status)


def from_rpc_error(error: grpc.aio.AioRpcError, *, method: str) -> RemoteFailure:
    """Reads what another service, or the way to it, answered."""
    behind = dict(error.trailing_metadata() or ())
    details = behind.get(DETAILS_KEY, b"")
    assert isinstance(details, bytes)  # as gRPC has it of keys that end so
    return remote_failure(
        Code(error.code().name), error.details() or "", details, method=method, unsent=UNSENT_KEY in behind
    )


def remote_failure(
    code: Code, message: str, details: bytes, *, method: str, unsent: bool = False
) -> RemoteFailure:
    """What another service answered: `details` are a google.rpc.Status, or nothing."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(details).details:
        # Unpack leaves a message of another type alone.
        detail.Unpack(info)
        detail.Unpack(bad_request)
    return RemoteFailure(
        code,
        info.reason or code.name,
        message,
        domain=info.domain,
        method=method,
        metadata=info.metadata,
        violations=[FieldViolation(bad.field, bad.description) for bad in bad_request.field_violations],
        unsent=unsent,
    )


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
