"""The schema's directives on cost as the walk over a document needs them, read once."""

from __future__ import annotations

from dataclasses import dataclass

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from strawberry.types.unset import UNSET

from graphql_gateway.safety.declared import CALL_WEIGHT, CacheControl, Cost, CountsAsLogIn, ListSize

_STRAWBERRY = "strawberry-definition"
# Lists of introspection, as long as is found on average in our schema; most types wrap no other.
_BUILT_IN = {
    "__Schema.types": 120.0,
    "__Type.fields": 8.0,
    "__Field.args": 1.0,
    "__Type.ofType": 0.5,
}
_ITEMS_OF_INTROSPECTION = 2.0
# It is read from memory: no service is asked, and no resolver of ours.
_WEIGHT_OF_INTROSPECTION = 0.5
# Federation's field for objects that other subgraphs name: as many as they ask for.
_ENTITIES, _REPRESENTATIONS = "_entities", "representations"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is declared of one field. `assumed` is None when nothing says how long its list is."""

    type: GraphQLNamedType | None = None
    is_list: bool = False
    weight: float = 1.0
    assumed: float | None = None
    slicing_arguments: frozenset[str] = frozenset()
    sized_fields: frozenset[str] = frozenset()
    max_age_s: int = 0
    counts_as_log_in: bool = False


UNKNOWN = Rule()


class Rules:
    """Of all fields of a schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
        self._rules = {
            (name, field_name): _rule(name, field_name, field, is_root=kind in roots)
            for name, kind in schema.type_map.items()
            if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
            for field_name, field in kind.fields.items()
        }
        for name, field in (("__schema", SchemaMetaFieldDef), ("__type", TypeMetaFieldDef)):
            self._rules["Query", name] = _rule("Query", name, field, is_root=False)

    def of(self, parent: str, name: str) -> Rule:
        """The field's; a plain value's when the schema has no such field."""
        return self._rules.get((parent, name), UNKNOWN)

    def undeclared(self) -> list[str]:
        """Lists whose length nothing says: neither they themselves nor a field outside."""
        sized = {name for rule in self._rules.values() for name in rule.sized_fields}
        return [
            f"{parent}.{name}"
            for (parent, name), rule in self._rules.items()
            if rule.is_list and rule.assumed is None and name not in sized
        ]


def _rule(parent: str, name: str, field: GraphQLField, *, is_root: bool) -> Rule:
    declared = {type(one): one for one in _directives(field)}
    cost, size = declared.get(Cost), declared.get(ListSize)
    kept = declared.get(CacheControl)
    is_list = is_list_type(get_nullable_type(field.type))
    plain = _WEIGHT_OF_INTROSPECTION if parent.startswith("__") else 1.0
    return Rule(
        type=get_named_type(field.type),
        is_list=is_list or f"{parent}.{name}" in _BUILT_IN,
        weight=float(cost.weight) if isinstance(cost, Cost) else CALL_WEIGHT if is_root else plain,
        assumed=float(size.assumed_size) if isinstance(size, ListSize) else _assumed(parent, name, is_list),
        slicing_arguments=_names(size.slicing_arguments)
        if isinstance(size, ListSize)
        else frozenset({_REPRESENTATIONS} if name == _ENTITIES else ()),
        sized_fields=_names(size.sized_fields) if isinstance(size, ListSize) else frozenset(),
        max_age_s=kept.max_age if isinstance(kept, CacheControl) else 0,
        counts_as_log_in=CountsAsLogIn in declared,
    )


def _directives(field: GraphQLField) -> list[object]:
    return list(getattr(field.extensions.get(_STRAWBERRY), "directives", ()))


def _assumed(parent: str, name: str, is_list: bool) -> float | None:
    if name == _ENTITIES:
        return 1.0
    if not parent.startswith("__"):
        return None
    return _BUILT_IN.get(f"{parent}.{name}", _ITEMS_OF_INTROSPECTION if is_list else None)


def _names(given: object) -> frozenset[str]:
    return frozenset() if given is UNSET or not isinstance(given, list) else frozenset(given)
