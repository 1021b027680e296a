"""Values in a plan's source: as a message's field is known to be, or as whatever a resolver returns.

Each is an expression for what graphql-core's `complete_value` would make of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from graphql import (
    GraphQLAbstractType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetailsList

from graphql_gateway.execution import leaves
from graphql_gateway.execution.sources import classes_for
from graphql_gateway.execution.writing import Source
from graphql_gateway.proto import may_be_null


class Values:
    """`function_of` writes the function for the objects of a type, and gives its name; `made` calls it."""

    def __init__(
        self,
        schema: GraphQLSchema,
        source: Source,
        function_of: Callable[[GraphQLObjectType, FieldDetailsList], str],
        made: Callable[[str, str, str], str],
    ) -> None:
        self._schema = schema
        self._source = source
        self._function_of = function_of
        self._made = made

    def in_message(
        self, kind: GraphQLOutputType, group: FieldDetailsList, message: type[Message], name: str, path: str
    ) -> str | None:
        """A field of a message; None when its value has to be looked at."""
        field = cast("FieldDescriptor | None", message.DESCRIPTOR.fields_by_name.get(name))
        nullable = may_be_null(message, name)
        if field is None or (nullable and is_non_null_type(kind)) or _is_map(field):
            return None
        inner = get_nullable_type(kind)
        read = f"s.{name}"
        if field.is_repeated:
            return None if nullable else self._repeated(inner, group, field, read, path)
        shown = self._shown(inner, group, field, read, path)
        if shown is None or not nullable:
            return shown
        is_set = f"s.HasField({name!r})" if field.message_type is not None else read
        return f"({shown} if {is_set} else None)"

    def _repeated(
        self, kind: Any, group: FieldDetailsList, field: FieldDescriptor, read: str, path: str
    ) -> str | None:
        if not isinstance(kind, GraphQLList):
            return None
        name = self._source.new("x")
        item = self._shown(get_nullable_type(kind.of_type), group, field, name, f"({path}, i{name})")
        return None if item is None else _listed(item, name, read)

    def _shown(
        self, kind: Any, group: FieldDetailsList, field: FieldDescriptor, read: str, path: str
    ) -> str | None:
        """A value, never null, of a message's field."""
        if is_leaf_type(kind):
            return leaves.in_message(kind, field, read, self._source.named)
        if field.message_type is not None and isinstance(kind, GraphQLObjectType):
            return self._made(self._function_of(kind, group), read, path)
        return None

    def completed(self, kind: GraphQLOutputType, group: FieldDetailsList, value: str, path: str) -> str:
        """As graphql-core's `complete_value` makes it."""
        name = value if value.isidentifier() else self._source.new("t")
        bound = name if value == name else f"({name} := {value})"
        missing = "unusual()" if is_non_null_type(kind) else "None"
        present = self._present(get_nullable_type(kind), group, name, path)
        return f"({missing} if {bound} is None else {present})"

    def _present(self, kind: Any, group: FieldDetailsList, value: str, path: str) -> str:
        if isinstance(kind, GraphQLList):
            name = self._source.new("x")
            item = self.completed(kind.of_type, group, name, f"({path}, i{name})")
            return _listed(item, name, f"{self._source.named(_items)}({value})")
        if is_leaf_type(kind):
            return leaves.anywhere(kind, value, self._source.named)
        if is_abstract_type(kind):
            return f"{self._abstract(kind, group)}[{value}.__class__]({value}, {path})"
        return self._made(self._function_of(kind, group), value, path)

    def _abstract(self, kind: GraphQLAbstractType, group: FieldDetailsList) -> str:
        """Class of the source → function."""
        functions: dict[str, str] = {}
        pairs = []
        for source, possible in classes_for(kind, self._schema).items():
            if possible.name not in functions:
                functions[possible.name] = self._function_of(possible, group)
            pairs.append(f"{self._source.named(source)}: {functions[possible.name]}")
        return self._source.table(pairs)


def _listed(item: str, name: str, items: str) -> str:
    """A list of `item`, an expression of `name`, and of its index `i<name>` when it asks for it."""
    if f"i{name}" in item:
        return f"[{item} for i{name}, {name} in enumerate({items})]"
    return f"[{item} for {name} in {items}]"


def _items(value: Any) -> Any:
    """A list that holds what it holds: no iterator, no awaitable."""
    return value if value.__class__ in leaves.LISTS else leaves.unusual()


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
