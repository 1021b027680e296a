"""Protobuf messages are the GraphQL objects.

A GraphQL type declares which fields of a message are shown; `proto_type` takes their descriptions from the
comments of the contract and fails at import when the contract has no such field. Resolvers return the
messages themselves: `shown(Listing, message)` says so to the type checker, and `resolve_field` reads their
fields.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import strawberry
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from strawberry import relay
from strawberry.types.field import StrawberryField

from graphql_gateway.ids import BadId

T = TypeVar("T")
E = TypeVar("E", bound=enum.IntEnum)

_DESCRIPTORS = Path(__file__).parent.parent / "gen" / "descriptors.binpb"

# (message class, field) of fields that are null when the message does not have them.
_nullable: set[tuple[type, str]] = set()
# Name of a Relay node's type → the loader that finds it.
_loaders: dict[str, str] = {}
# GraphQL type → the message that it shows.
_messages: dict[type, type[Message]] = {}


def shown(as_type: type[T], message: Message) -> T:  # noqa: ARG001 - read by the type checker
    """The message as the GraphQL type that shows it."""
    return cast("T", message)


def shown_all(as_type: type[T], messages: Iterable[Message]) -> list[T]:  # noqa: ARG001 - as above
    """Messages as the GraphQL type that shows them."""
    return cast("list[T]", list(messages))


def resolve_field(source: Any, name: str) -> Any:
    """Strawberry's default resolver: a field of a message or other object; unset is null where it may be."""
    value = getattr(source, name)
    if (type(source), name) not in _nullable:
        return value
    if isinstance(value, Message):
        return value if source.HasField(name) else None
    return value or None


def message_of(cls: type) -> type[Message] | None:
    """The message that a class made by `proto_type` shows; None for other classes."""
    return _messages.get(cls)


def messages() -> Iterable[type[Message]]:
    """The messages that GraphQL types show."""
    return _messages.values()


def may_be_null(message: type[Message], name: str) -> bool:
    """Whether `resolve_field` gives null for the field where it is not set."""
    return (message, name) in _nullable


def proto_type(
    message: type[Message], *, name: str | None = None, loader: str = ""
) -> Callable[[type[T]], type[T]]:
    """Makes a class the GraphQL type of a message.

    Annotated fields without a resolver of their own are fields of the message; what they are set to declares
    more of them, such as how long a list is. A field that may be null is
    null when the message has no such submessage, an empty text, or an enum of 0. A Relay node names the
    loader that finds it by its id. Raises TypeError at import when the contract does not have a field.
    """

    def decorate(cls: type[T]) -> type[T]:
        _messages[cls] = message
        show_fields(cls, message)
        if issubclass(cls, relay.Node):
            _make_node(cls, message)
            _loaders[name or cls.__name__] = loader
        return strawberry.type(cls, name=name, description=comment(message.DESCRIPTOR))

    return decorate


def show_fields(cls: type, message: type[Message]) -> None:
    """Makes annotated fields of a class fields of the message. Raises TypeError when it has no such field."""
    descriptor = message.DESCRIPTOR
    for field_name, annotation in inspect.get_annotations(cls).items():
        declared = cls.__dict__.get(field_name)
        if isinstance(declared, StrawberryField) and declared.base_resolver is not None:
            continue
        field = descriptor.fields_by_name.get(field_name)
        if field is None:
            raise TypeError(f"{cls.__name__}.{field_name}: {descriptor.full_name} has no such field")
        if _may_be_null(annotation):
            _nullable.add((message, field_name))
        if not (field_name == "id" and issubclass(cls, relay.Node)):
            directives = declared.directives if isinstance(declared, StrawberryField) else ()
            shown_field = strawberry.field(description=comment(field), directives=directives)
            setattr(cls, field_name, shown_field)


def proto_enum(contract_enum: Any, name: str) -> Callable[[type[E]], type[E]]:
    """Documents an IntEnum from the contract's enum and checks that the two are the same, 0 left out."""

    def decorate(cls: type[E]) -> type[E]:
        descriptor: EnumDescriptor = contract_enum.DESCRIPTOR
        prefix = _prefix(descriptor)
        declared = {member.name: member.value for member in cls}
        contract = {v.name.removeprefix(prefix): v for v in descriptor.values if v.number}
        if declared != {key: value.number for key, value in contract.items()}:
            raise TypeError(f"{name} and {descriptor.full_name} differ: {declared} / {sorted(contract)}")
        made = strawberry.enum(cls, name=name, description=comment(descriptor))
        for value in made.__strawberry_definition__.values:  # type: ignore[attr-defined] # set by Strawberry
            value.description = comment(contract[value.name])
        return made

    return decorate


def _prefix(descriptor: EnumDescriptor) -> str:
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")


def loader_of(type_name: str) -> str:
    """The loader that finds objects of a Relay node's type. Raises BadId when there is no such type."""
    if type_name not in _loaders:
        raise BadId("no object has such an id", type=type_name[:64])
    return _loaders[type_name]


def _make_node(cls: type, message: type[Message]) -> None:
    def is_type_of(cls: type, value: object, _info: object) -> bool:
        return isinstance(value, message | cls)

    def resolve_id(_cls: type, root: Any, *, info: object) -> str:  # noqa: ARG001 - Relay's hook passes it
        return str(root.id)

    cls.is_type_of = classmethod(is_type_of)  # type: ignore[attr-defined] # Strawberry looks for it
    cls.resolve_id = classmethod(resolve_id)  # type: ignore[attr-defined] # Relay's hook in Strawberry


def _may_be_null(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.replace(" ", "").endswith("|None")
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)


def comment(descriptor: Any) -> str:
    """The comment of a message, field, enum or enum value in its contract, as one paragraph."""
    return _comments().get(_key(descriptor), "")


def _key(descriptor: Any) -> str:
    if isinstance(descriptor, Descriptor | EnumDescriptor | FieldDescriptor):
        return str(descriptor.full_name)
    return f"{descriptor.type.full_name}/{descriptor.name}"


@cache
def _comments() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        names = _names(file)
        for location in file.source_code_info.location:
            key = names.get(tuple(location.path))
            if key and location.leading_comments:
                found[key] = " ".join(location.leading_comments.split())
    return found


def _names(file: Any) -> dict[tuple[int, ...], str]:
    """Path in the file's descriptor → name; the numbers are those of descriptor.proto."""
    names: dict[tuple[int, ...], str] = {}
    for m, message in enumerate(file.message_type):
        names[4, m] = f"{file.package}.{message.name}"
        for f, field in enumerate(message.field):
            names[4, m, 2, f] = f"{file.package}.{message.name}.{field.name}"
    for e, listed in enumerate(file.enum_type):
        names[5, e] = f"{file.package}.{listed.name}"
        for v, value in enumerate(listed.value):
            names[5, e, 2, v] = f"{file.package}.{listed.name}/{value.name}"
    return names
