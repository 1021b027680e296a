"""Scalars of the schema."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from typing import Any, NewType

import strawberry
from google.protobuf.timestamp_pb2 import Timestamp
from graphql import GraphQLError
from strawberry.file_uploads import Upload

INT64_MAX = 2**63 - 1
JS_SAFE_MAX = 2**53 - 1

Sats = NewType("Sats", int)
Long = NewType("Long", int)


def serialize_whole(value: int) -> int:
    """A number that JavaScript reads exactly. Raises ValueError."""
    if not -JS_SAFE_MAX <= value <= JS_SAFE_MAX:
        raise ValueError("a number beyond 2^53 cannot be shown exactly")
    return int(value)


def _parse_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= JS_SAFE_MAX:
        raise GraphQLError("must be a whole number from 0 to 9007199254740991")
    return value


@lru_cache(10_000)
def _second(seconds: int) -> str:
    """A whole second without its zone. Protobuf writes it in Python, and what is shown together is of few."""
    return Timestamp(seconds=seconds).ToJsonString()[:-1]


def serialize_time(value: Timestamp | datetime) -> str:
    """RFC 3339 in UTC. Raises ValueError outside the years 1 to 9999."""
    if value.__class__ is Timestamp:
        nanos = value.nanos
        if not nanos:
            return f"{_second(value.seconds)}Z"
        if 0 < nanos < 1_000_000_000 and not nanos % 1_000_000:
            return f"{_second(value.seconds)}.{nanos // 1_000_000:03}Z"
        return value.ToJsonString()
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _parse_time(value: object) -> datetime:
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        raise GraphQLError("must be a time like 2026-01-31T12:00:00Z") from None
    if parsed.tzinfo is None:
        raise GraphQLError("must name its time zone, for example by a Z at the end")
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise GraphQLError("must be in the years 1 to 9999") from None


def _parse_upload(value: object) -> BytesIO:
    if not isinstance(value, BytesIO):
        raise GraphQLError("must be a file, sent by the GraphQL multipart request specification")
    return value


def timestamp(at: datetime) -> Timestamp:
    """The time as the contracts say it."""
    converted = Timestamp()
    converted.FromDatetime(at)
    return converted


SCALARS: dict[Any, Any] = {
    Upload: strawberry.scalar(
        name="Upload",
        description="A file, sent by the GraphQL multipart request specification.",
        parse_value=_parse_upload,
    ),
    Sats: strawberry.scalar(
        name="Sats",
        description="Whole satoshis, as a JSON number: all coins that there will ever be fit into 2^53.",
        serialize=serialize_whole,
        parse_value=_parse_whole,
    ),
    Long: strawberry.scalar(
        name="Long",
        description="A whole number that may exceed 32 bits, at most 2^53 - 1, as a JSON number.",
        serialize=serialize_whole,
        parse_value=_parse_whole,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A time as RFC 3339 text in UTC, e.g. 2026-01-31T12:00:00.250Z.",
        serialize=serialize_time,
        parse_value=_parse_time,
    ),
}
