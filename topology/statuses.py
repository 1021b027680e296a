"""google.rpc.Status as an Envoy can say it: a text that never changes, in a header."""

from __future__ import annotations

from base64 import b64encode

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2


def details(code: int, reason: str, message: str, *, domain: str) -> str:
    """What `grpc-status-details-bin` says; `code` is a number of google.rpc.Code."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    status = status_pb2.Status(code=code, message=message, details=[info])
    return b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")
