"""The comments of the contracts, out of the compiled set that has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

DESCRIPTORS = Path(__file__).resolve().parents[1] / "gen" / "descriptors.binpb"
# Numbers of fields within descriptors, of which paths in SourceCodeInfo are made.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS, _ONEOFS, _VALUES, _METHODS = 2, 3, 4, 8, 2, 2


def comment_of(described: Any) -> str:
    """What stands before it in its file, as one paragraph; "" for nothing."""
    return comments().get(described.full_name, "")


@cache
def comments() -> Mapping[str, str]:
    """By full name."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
    found: dict[str, str] = {}
    for file in files:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name is not None and location.leading_comments:
                found[name] = " ".join(location.leading_comments.split())
    return found


_Path = tuple[int, ...]


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    for at, message in enumerate(file.message_type):
        yield from _of_message((_MESSAGES, at), file.package, message)
    for at, enum in enumerate(file.enum_type):
        yield from _of_enum((_ENUMS, at), file.package, enum)
    for at, service in enumerate(file.service):
        full = f"{file.package}.{service.name}"
        yield (_SERVICES, at), full
        for number, method in enumerate(service.method):
            yield (_SERVICES, at, _METHODS, number), f"{full}.{method.name}"


def _of_message(
    path: _Path, within: str, message: descriptor_pb2.DescriptorProto
) -> Iterator[tuple[_Path, str]]:
    full = f"{within}.{message.name}"
    yield path, full
    for at, field in enumerate(message.field):
        yield (*path, _FIELDS, at), f"{full}.{field.name}"
    for at, nested in enumerate(message.nested_type):
        yield from _of_message((*path, _NESTED, at), full, nested)
    for at, enum in enumerate(message.enum_type):
        yield from _of_enum((*path, _NESTED_ENUMS, at), full, enum)


def _of_enum(
    path: _Path, within: str, enum: descriptor_pb2.EnumDescriptorProto
) -> Iterator[tuple[_Path, str]]:
    full = f"{within}.{enum.name}"
    yield path, full
    for at, value in enumerate(enum.value):
        yield (*path, _VALUES, at), f"{full}.{value.name}"
