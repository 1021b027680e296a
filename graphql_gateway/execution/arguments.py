"""A field's arguments as its resolver takes them, by graphql-core's and Strawberry's own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from graphql import GraphQLField, ListValueNode, ObjectValueNode, ValueNode, VariableNode
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

# Gives keyword arguments for the variables of a request. Raises GraphQLError.
Arguments = Callable[[VariableValues], dict[str, Any]]

_UNCHANGING = (str, int, float, bool, type(None), datetime, Enum)


@dataclass(frozen=True, slots=True)
class Constant:
    """Arguments that are the same in every request."""

    values: dict[str, Any]


def arguments_of(
    schema: strawberry.Schema, definition: GraphQLField, field: StrawberryField, details: FieldDetails
) -> Constant | Arguments:
    """The arguments written at a field. Raises GraphQLError when they are constant and wrong."""
    node = details.node

    def given(variables: VariableValues) -> dict[str, Any]:
        return convert_arguments(
            get_argument_values(definition, node, variables),
            field.arguments,
            scalar_registry=schema.schema_converter.scalar_registry,
            config=schema.config,
        )

    if any(_varies(argument.value) for argument in node.arguments or ()):
        return given
    values = given(VariableValues({}, {}))
    # Nobody changes these for the requests to come.
    return Constant(values) if all(isinstance(value, _UNCHANGING) for value in values.values()) else given


def _varies(value: ValueNode) -> bool:
    match value:
        case VariableNode():
            return True
        case ListValueNode():
            return any(map(_varies, value.values))
        case ObjectValueNode():
            return any(_varies(field.value) for field in value.fields)
    return False
