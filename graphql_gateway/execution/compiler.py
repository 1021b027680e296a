"""An operation as Python source: one function for each object, which reads its source and builds the answer.

A plan knows only how things are meant to be. Whatever else it meets raises, and graphql-core goes on from
there (`fallback`), so a plan needs no rule for errors. Fields are gathered by graphql-core's own functions,
for the values that the variables of `@skip` and `@include` have: no condition is left in the source.

Of `{ currentRound { number leaderboard { standings { rank meme { name } } } } }` the middle is:

    def o8(s, p=None):                                                  # Standing
        if s.__class__ is not g11: unusual()
        d = {"rank": s.rank, "meme": start((p, "meme"), g9(s, info=info), c10)}
        if (v := d["meme"]).__class__ is Call: v.target = d
        return d
    def o7(s, p=None):                                                  # Leaderboard
        if s.__class__ is not g12: unusual()
        return {"standings": [o8(x, ((p, "standings"), i)) for i, x in enumerate(s.standings)]}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

import strawberry
from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLStreamDirective,
    OperationDefinitionNode,
    OperationType,
)
from graphql.execution.collect_fields import (
    CollectedFields,
    FieldDetailsList,
    FragmentDetails,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from strawberry import relay
from strawberry.types.cast import get_strawberry_type_cast
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graphql_gateway.execution import leaves
from graphql_gateway.execution.arguments import Arguments, Constant, arguments_of
from graphql_gateway.execution.calls import Call, Calls
from graphql_gateway.execution.sources import (
    DEFINITION,
    NotPlanned,
    Unplanned,
    classes_of,
    definition_of,
    message_shown_by,
)
from graphql_gateway.execution.values import Values
from graphql_gateway.execution.writing import Source
from graphql_gateway.ids import global_id
from graphql_gateway.proto import message_of, resolve_field

# Fields of all functions of one plan: an operation with more is executed by graphql-core.
FIELDS_MAX = 3_000


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled operation for certain values of its `@skip` and `@include`."""

    source: str
    # Gives the answer, with calls in the places of what is awaited; of a mutation, pairs of key and function.
    function: Callable[[Calls, Any, Any, list[dict[str, Any]]], Any]
    operation_type: OperationType
    arguments: tuple[Arguments, ...]


def compiled(
    schema: strawberry.Schema,
    operation: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    variables: VariableValues,
) -> Plan:
    """The plan of a validated operation. Raises NotPlanned."""
    return _Compiler(schema, operation, fragments, variables).plan()


class _Compiler:
    def __init__(
        self,
        schema: strawberry.Schema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> None:
        self._strawberry = schema
        self._schema = schema._schema  # noqa: SLF001 - Strawberry's way to graphql-core's schema
        self._operation = operation
        self._fragments = {name: FragmentDetails(node) for name, node in fragments.items()}
        self._variables = variables
        self._source = Source(Call=Call, unusual=leaves.unusual)
        self._values = Values(self._schema, self._source, self._object, self._made)
        # Functions that make no calls do not ask where they stand.
        self._pathless: set[str] = set()
        self._arguments: list[Arguments] = []
        self._fields = 0

    def plan(self) -> Plan:
        kind = self._operation.operation
        root = self._schema.get_root_type(kind)
        if root is None:
            raise NotPlanned(Unplanned.TYPE)
        fields = self._gathered(
            collect_fields(self._schema, self._fragments, self._variables, root, self._operation)
        )
        match kind:
            case OperationType.QUERY:
                result = f"{self._object_function(root, fields)}(root)"
            case OperationType.MUTATION:
                result = f"({''.join(self._mutation(root, key, group) for key, group in fields.items())})"
            case _:
                result = self._event(root, fields)
        text, function = self._source.compiled(result, len(self._arguments))
        return Plan(text, function, kind, tuple(self._arguments))

    def _gathered(self, collected: CollectedFields) -> dict[str, FieldDetailsList]:
        if collected.new_defer_usages:
            raise NotPlanned(Unplanned.DEFER)
        self._fields += len(collected.grouped_field_set)
        if self._fields > FIELDS_MAX:
            raise NotPlanned(Unplanned.SIZE)
        return collected.grouped_field_set

    # Roots

    def _mutation(self, root: GraphQLObjectType, key: str, group: FieldDetailsList) -> str:
        name = self._source.new("m")
        self._source.function(name, "", ["p = s = None", f"return {self._field(root, key, group)}"])
        return f"({key!r}, {name}), "

    def _event(self, root: GraphQLObjectType, fields: dict[str, FieldDetailsList]) -> str:
        """A subscription's field shows the event itself."""
        key, group = next(iter(fields.items()), ("", []))
        if len(fields) != 1 or group[0].node.name.value == "__typename":
            raise NotPlanned(Unplanned.EVENT)
        name = self._source.new("c")
        shown = self._values.completed(self._definition(root, group).type, group, "v", f"(None, {key!r})")
        self._source.function(name, "v", [f"return {{{key!r}: {shown}}}"])
        return f"{name}(root)"

    # Functions

    def _object(self, kind: GraphQLObjectType, group: FieldDetailsList) -> str:
        collected = collect_subfields(
            self._schema, self._fragments, self._variables, self._operation, kind, group
        )
        return self._object_function(kind, self._gathered(collected))

    def _object_function(self, kind: GraphQLObjectType, fields: dict[str, FieldDetailsList]) -> str:
        """Source object and path → the object in the answer."""
        name = self._source.new("o")
        entries, waiting = [], []
        for key, group in fields.items():
            value = self._field(kind, key, group)
            entries.append(f"{key!r}: {value}")
            if value.startswith("start("):
                waiting.append(f"if (v := d[{key!r}]).__class__ is Call: v.target = d")
        answer = f"{{{', '.join(entries)}}}"
        made = [f"d = {answer}", *waiting, "return d"] if waiting else [f"return {answer}"]
        self._source.function(name, "s, p=None", [self._guard(kind), *made])
        if "(p, " not in answer:
            self._pathless.add(name)
        return name

    def _guard(self, kind: GraphQLObjectType) -> str:
        if kind is self._schema.get_root_type(self._operation.operation):
            return "if s is not None: unusual()"
        classes = classes_of(kind)
        if message_shown_by(kind) is not None:
            return f"if s.__class__ is not {self._source.named(*classes)}: unusual()"
        cast_of = self._source.named(get_strawberry_type_cast)
        return f"if s.__class__ not in {self._source.named(classes)} or {cast_of}(s) is not None: unusual()"

    def _made(self, function: str, value: str, path: str) -> str:
        """What a function of `_object_function` makes of a value."""
        return f"{function}({value})" if function in self._pathless else f"{function}({value}, {path})"

    # Fields

    def _definition(self, parent: GraphQLObjectType, group: FieldDetailsList) -> GraphQLField:
        node = group[0].node
        if any(one.name.value == GraphQLStreamDirective.name for one in node.directives or ()):
            raise NotPlanned(Unplanned.STREAM)
        field = parent.fields.get(node.name.value)
        if field is None:
            raise NotPlanned(Unplanned.INTROSPECTION)
        return field

    def _field(self, parent: GraphQLObjectType, key: str, group: FieldDetailsList) -> str:
        """The completed value of a field of `s`, whose path is `p`, as an expression."""
        if group[0].node.name.value == "__typename":
            return repr(parent.name)
        definition = self._definition(parent, group)
        field = definition.extensions.get(DEFINITION)
        if not isinstance(field, StrawberryField) or field.extensions:
            raise NotPlanned(Unplanned.FIELD)
        path = f"(p, {key!r})"
        if field.base_resolver is None:
            return self._read(parent, definition, field, group, path)
        if field.python_name == "_id" and field.origin is relay.Node:
            return self._node_id(parent)
        return self._resolved(definition, field, field.base_resolver, group, path)

    def _read(
        self,
        parent: GraphQLObjectType,
        definition: GraphQLField,
        field: StrawberryField,
        group: FieldDetailsList,
        path: str,
    ) -> str:
        """What the default resolver finds."""
        if definition.args or field.default_resolver not in {resolve_field, getattr}:
            raise NotPlanned(Unplanned.FIELD)
        name, message = field.python_name, message_shown_by(parent)
        if message is None:
            return self._values.completed(definition.type, group, f"s.{name}", path)
        read = f"{self._source.named(field.default_resolver)}(s, {name!r})"
        known = self._values.in_message(definition.type, group, message, name, path)
        return known or self._values.completed(definition.type, group, read, path)

    def _node_id(self, parent: GraphQLObjectType) -> str:
        origin: Any = definition_of(parent).origin
        if message_of(origin) is None or "resolve_typename" in vars(origin):
            raise NotPlanned(Unplanned.FIELD)
        return f"{self._source.named(global_id)}({parent.name!r}, s.id)"

    def _resolved(
        self,
        definition: GraphQLField,
        field: StrawberryField,
        resolver: StrawberryResolver[Any],
        group: FieldDetailsList,
        path: str,
    ) -> str:
        sources = [one.name for one in (resolver.parent_parameter, resolver.root_parameter) if one]
        given = [*(["s"] if resolver.self_parameter else []), *(f"{name}=s" for name in sources)]
        if resolver.info_parameter:
            given.append(f"{resolver.info_parameter.name}=info")
        if definition.args:
            given.append(self._given_arguments(definition, field, group))
        called = self._source.named(resolver.wrapped_func)
        if not field.is_async:
            return self._values.completed(
                definition.type, group, f"ask({', '.join([path, called, *given])})", path
            )
        if not iscoroutinefunction(resolver.wrapped_func):
            raise NotPlanned(Unplanned.FIELD)
        name = self._source.new("c")
        self._source.function(
            name, "v, p", [f"return {self._values.completed(definition.type, group, 'v', 'p')}"]
        )
        return f"start({path}, {called}({', '.join(given)}), {name})"

    def _given_arguments(
        self, definition: GraphQLField, field: StrawberryField, group: FieldDetailsList
    ) -> str:
        match arguments_of(self._strawberry, definition, field, group[0]):
            case Constant(values):
                return ", ".join(f"{name}={self._source.named(value)}" for name, value in values.items())
            case arguments:
                self._arguments.append(arguments)
                return f"**a{len(self._arguments) - 1}"
