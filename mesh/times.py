"""Times as requests say them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidArgument


def instant_ns(at: Timestamp) -> int:
    """Nanoseconds since 1970 UTC, as clocks give them. Raises InvalidArgument when it is no time."""
    try:
        return int(at.ToNanoseconds())
    except ValueError as problem:
        raise InvalidArgument("a time lies in the years 1 to 9999, its nanoseconds in a second") from problem
