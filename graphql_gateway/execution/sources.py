"""Which Python objects stand for which GraphQL types: a plan takes those that surely do, and no others."""

from __future__ import annotations

from enum import StrEnum

from google.protobuf.message import Message
from graphql import GraphQLAbstractType, GraphQLObjectType, GraphQLSchema
from strawberry.types.base import StrawberryObjectDefinition

from graphql_gateway.proto import message_of, messages

DEFINITION = "strawberry-definition"


class Unplanned(StrEnum):
    """What an operation has that plans do not do, as metrics and spans tell it."""

    INTROSPECTION = "introspection"
    DEFER = "@defer"
    STREAM = "@stream"
    # More fields than a plan may have.
    SIZE = "size"
    # More combinations of `@skip` and `@include` than a document may have plans.
    CONDITIONS = "conditions"
    # A field that is resolved in a way of its own.
    FIELD = "field"
    # A type that is told from others in a way of its own.
    TYPE = "type"
    # A subscription that shows more than its event.
    EVENT = "event"
    # Fields that graphql-core does not gather either.
    INVALID = "invalid"


class NotPlanned(Exception):  # noqa: N818 - graphql-core executes the operation, that is all
    """The operation has something that plans do not do."""

    def __init__(self, why: Unplanned) -> None:
        super().__init__(why)
        self.why = why


def definition_of(kind: GraphQLObjectType) -> StrawberryObjectDefinition:
    """Strawberry's definition of a type. Raises NotPlanned for types that are not Strawberry's."""
    definition = kind.extensions.get(DEFINITION)
    if not isinstance(definition, StrawberryObjectDefinition):
        raise NotPlanned(Unplanned.TYPE)
    return definition


def message_shown_by(kind: GraphQLObjectType) -> type[Message] | None:
    """The message that a type shows."""
    return message_of(definition_of(kind).origin)


def is_of_type(message: type[Message], kind: GraphQLObjectType) -> bool:
    """Whether graphql-core would ask such a message for its type, and hear yes."""
    return kind.is_type_of is not None and kind.is_type_of(message(), None) is True  # type: ignore[arg-type]


def classes_of(kind: GraphQLObjectType) -> set[type]:
    """Classes whose objects are of a type wherever it is expected. Raises NotPlanned."""
    message = message_shown_by(kind)
    definition = definition_of(kind)
    if message is not None:
        if kind.is_type_of and not is_of_type(message, kind):
            raise NotPlanned(Unplanned.TYPE)
        return {message}
    if definition.is_type_of:
        raise NotPlanned(Unplanned.TYPE)
    return {definition.origin, *([definition.concrete_of.origin] if definition.concrete_of else [])}


def classes_for(kind: GraphQLAbstractType, schema: GraphQLSchema) -> dict[type, GraphQLObjectType]:
    """Classes whose objects are surely of a possible type of an abstract one: the first that takes them."""
    found: dict[type, GraphQLObjectType] = {}
    possible = schema.get_possible_types(kind)
    for message in messages():
        one = next((one for one in possible if is_of_type(message, one)), None)
        if one is not None:
            found[message] = one
    for one in possible:
        definition = definition_of(one)
        if message_shown_by(one) is None and not definition.concrete_of and not definition.is_type_of:
            found[definition.origin] = one
    return found
