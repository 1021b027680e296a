"""Scalars and enums as Python expressions: what graphql-core would give, or `unusual()`."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp
from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
)

from graphql_gateway.execution.calls import Unusual
from graphql_gateway.scalars import JS_SAFE_MAX, serialize_time, serialize_whole

INT_MAX = 2**31 - 1

# Makes a Python name of an object for the source.
Named = Callable[[Any], str]

_FLOATS = {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE}
_WHOLES_32 = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32}
_WHOLES = _WHOLES_32 | {
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}
# Lists as resolvers and messages have them.
_sample = FileDescriptorProto()
LISTS = {list, tuple, type(_sample.dependency), type(_sample.service)}
# Values that a scalar of ours may be given; an awaitable or an exception is not among them.
_PLAIN = {str, int, float, bool, dict, list, tuple, datetime, Timestamp}


def unusual(*_: Any) -> NoReturn:
    """The plan ends here. Raises Unusual."""
    raise Unusual


def in_message(kind: GraphQLLeafType, field: FieldDescriptor, read: str, named: Named) -> str | None:
    """A field of a message, never null, read by the expression `read`; None: it has to be looked at."""
    type_, shown = field.type, None
    if isinstance(kind, GraphQLEnumType) and type_ == FieldDescriptor.TYPE_ENUM:
        shown = f"{named(_names(kind))}[{read}]"
    elif (kind in {GraphQLString, GraphQLID} and type_ == FieldDescriptor.TYPE_STRING) or (
        kind is GraphQLBoolean and type_ == FieldDescriptor.TYPE_BOOL
    ):
        shown = read
    elif kind is GraphQLFloat and type_ in _FLOATS:
        shown = f"(v if {named(math.isfinite)}(v := {read}) else unusual())"
    elif kind is GraphQLInt and type_ in _WHOLES:
        shown = read if type_ in _WHOLES_32 else _whole(read, INT_MAX + 1, INT_MAX)
    elif kind.coerce_output_value is serialize_whole and type_ in _WHOLES:
        shown = _whole(read, JS_SAFE_MAX, JS_SAFE_MAX)
    elif kind.coerce_output_value is serialize_time and field.message_type is Timestamp.DESCRIPTOR:
        shown = f"{named(serialize_time)}({read})"
    return shown


def anywhere(kind: GraphQLLeafType, value: str, named: Named) -> str:
    """A value from anywhere that is not None, called `value`."""
    if isinstance(kind, GraphQLEnumType):
        return f"{named(_names(kind))}[{value}]"
    if kind in (GraphQLString, GraphQLID):
        return f"({value} if {value}.__class__ is str else unusual())"
    if kind is GraphQLBoolean:
        return f"({value} if {value}.__class__ is bool else unusual())"
    if kind is GraphQLInt:
        return (
            f"({value} if {value}.__class__ is int and {-INT_MAX - 1} <= {value} <= {INT_MAX} else unusual())"
        )
    if kind is GraphQLFloat:
        return f"({value} if {value}.__class__ is float and {named(math.isfinite)}({value}) else unusual())"
    return f"{named(_scalar)}({named(kind.coerce_output_value)}, {value})"


def _whole(read: str, below: int, maximum: int) -> str:
    return f"(v if -{below} <= (v := {read}) <= {maximum} else unusual())"


@cache
def _names(kind: GraphQLEnumType) -> dict[Any, str]:
    """Value, as a member of the enum or by itself → name."""
    names: dict[Any, str] = {}
    for value in kind.values.values():
        names[value.value] = kind.coerce_output_value(value.value)
        member = kind.wrapped_cls(value.value)  # type: ignore[attr-defined] # Strawberry's enum type
        names[member] = kind.coerce_output_value(member)
    return names


def _scalar(serialize: Callable[[Any], Any], value: Any) -> Any:
    if value.__class__ not in _PLAIN:
        raise Unusual
    shown = serialize(value)
    if shown.__class__ not in _PLAIN:
        raise Unusual
    return shown
