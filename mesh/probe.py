"""`python -m mesh.probe ledger [--serving]`: does the ledger in this container live, or serve?

The exit code is 0 if so. Kubernetes' own gRPC probe speaks no TLS, and services accept nothing else, so the
container asks itself with the service's certificate. Without `--serving` it asks whether the process answers;
with it, whether calls to `satreel.ledger.v1.LedgerService` should come here, which a standby denies.
It runs every few seconds: it imports nothing of the mesh, whose start costs more than the question.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 2.0
SERVING_FLAG = "--serving"


def asked(service: str, *, serving: bool) -> health_pb2.HealthCheckRequest:
    """The question: the service by its full gRPC name, or the process as a whole."""
    return health_pb2.HealthCheckRequest(
        service=f"satreel.{service}.v1.{service.capitalize()}Service" if serving else ""
    )


def channel(service: str, environment: dict[str, str]) -> grpc.Channel:
    """A channel to where the environment says that the service listens. Raises KeyError when it does not."""
    port = environment[f"SATREEL_{service.upper()}_LISTEN"].rpartition(":")[2]
    address = f"127.0.0.1:{port}"
    folder = environment.get("SATREEL_TLS_DIR")
    if not folder or environment.get("SATREEL_BEHIND_SIDECAR", "").lower() in {"1", "true"}:
        return grpc.insecure_channel(address)
    names = ("ca.pem", f"{service}.key", f"{service}.pem")
    credentials = grpc.ssl_channel_credentials(*((Path(folder) / name).read_bytes() for name in names))
    options = [("grpc.ssl_target_name_override", f"{service}.satreel")]
    return grpc.secure_channel(address, credentials, options)


def main() -> None:
    """Exits with 0 when it is so; otherwise says why not, for the events of the pod."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    service, *flags = sys.argv[1:] or [""]
    if not service or service.startswith("-") or flags not in ([], [SERVING_FLAG]):
        raise SystemExit(f"usage: python -m mesh.probe SERVICE [{SERVING_FLAG}]")
    try:
        with channel(service, dict(os.environ)) as opened:
            check = health_pb2_grpc.HealthStub(opened).Check  # type: ignore[attr-defined] # its stubs lack it
            answer = check(asked(service, serving=bool(flags)), timeout=TIMEOUT_S)
    except KeyError as missing:
        raise SystemExit(f"{missing} is not set") from None
    except grpc.RpcError as error:
        raise SystemExit(f"{error.code().name}: {error.details()}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise SystemExit(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    main()
