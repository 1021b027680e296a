"""What a server reports of its health, by gRPC's Health/Watch, on the first stream of a connection."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from mesh.http2.calls import PREFIX_BYTES
from mesh.http2.frames import ProtocolProblem

HEALTH_PATH = "/grpc.health.v1.Health/Watch"
HEALTH_STREAM = 1
# A report has a few bytes.
_REPORT_BYTES_MAX = 1_000


class Health:
    """Whether a server serves this service, as it said last; without a service it is not asked."""

    def __init__(self, service: str | None) -> None:
        self.serves = service is None
        self._service = service
        self._unread = b""

    @property
    def question(self) -> bytes | None:
        """The message that asks for reports, if they are wanted."""
        if self._service is None:
            return None
        return health_pb2.HealthCheckRequest(service=self._service).SerializeToString()

    def owns(self, stream: int) -> bool:
        """Whether the reports come on this stream."""
        return stream == HEALTH_STREAM and self._service is not None

    def take(self, data: bytes) -> None:
        """Takes reports, or pieces of them. Raises ProtocolProblem."""
        self._unread += data
        while len(self._unread) >= PREFIX_BYTES:
            end = PREFIX_BYTES + int.from_bytes(self._unread[1:PREFIX_BYTES], "big")
            if len(self._unread) < end:
                if end > _REPORT_BYTES_MAX:
                    raise ProtocolProblem("no report of health")
                return
            try:
                told = health_pb2.HealthCheckResponse.FromString(self._unread[PREFIX_BYTES:end])
            except DecodeError as problem:
                raise ProtocolProblem("no report of health") from problem
            self.serves = told.status == health_pb2.HealthCheckResponse.SERVING
            self._unread = self._unread[end:]

    def end(self, fields: Mapping[str, str]) -> None:
        """No more reports, for this reason. Raises ProtocolProblem: who reports no more is left."""
        # As gRPC's channels have it: who reports nothing is believed to serve. 12 is UNIMPLEMENTED.
        if fields.get("grpc-status") != "12":
            raise ProtocolProblem("no more reports of health")
        self.serves = True
