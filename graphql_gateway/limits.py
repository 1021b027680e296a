"""How large an operation may be: one rule, linear in the document, fragments measured once.

Three bounds: levels of fields, fields with all fragments written out, and values: what the answer may hold
if every list is as long as it can be. The event loop serves nobody else while an answer is put together, so
the last bound is also one of time, about 10 microseconds a value; a field that asks a service by itself
counts as 25 of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SchemaMetaFieldDef,
    SelectionNode,
    SelectionSetNode,
    TypeMetaFieldDef,
    ValidationContext,
    ValidationRule,
    ValueNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from graphql_gateway.connections import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX

TOKENS_MAX = 2_000
DEPTH_MAX = 15
FIELDS_MAX = 2_000
VALUES_MAX = 50_000
# Of all series of one field together.
SERIES_POINTS_MAX = 10_000

# Fields of one name are compared pair by pair: graphql-core would do so for a second.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 50_000

_PAGE_ARGUMENTS = ("first", "limit")
_META_FIELDS = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}
# Items of lists that no argument bounds; of introspection, what is found on average in our schema.
_ITEMS = {
    "Leaderboard.standings": 100.0,
    "Me.logIns": 100.0,
    "Query.nodes": 100.0,
    "Query.priceSeries": 1_000.0,
    "Query.series": 100.0,
    "Result.standings": 100.0,
    "Round.entries": 100.0,
    "Series.points": SERIES_POINTS_MAX / 100.0,
    "__Schema.types": 120.0,
    "__Type.fields": 8.0,
    "__Field.args": 1.0,
    # Most types wrap no other.
    "__Type.ofType": 0.5,
}
# Fields beside the paged ones that cost a call each, instead of a place in a batch.
_CALLS = {"Meme.versions", "Round.entries", "Round.result", "Round.rules"}
_CALL_VALUES = 25.0
_ITEMS_DEFAULT, _ITEMS_OF_INTROSPECTION = 20.0, 2.0


class Size(NamedTuple):
    """Levels of fields, fields once all fragments are written out, values in the longest answer."""

    depth: int
    fields: int
    values: float


_NOTHING = Size(0, 0, 0.0)


class _Measure:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._known: dict[tuple[str, bool], Size] = {}

    def of(
        self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None, *, paged: bool = False
    ) -> Size:
        """The selections on a type. `paged`: an argument outside has bounded their lists already."""
        if selections is None:
            return _NOTHING
        sizes = [self._of_selection(selection, parent, paged) for selection in selections.selections]
        return Size(
            max((size.depth for size in sizes), default=0),
            sum(size.fields for size in sizes),
            sum(size.values for size in sizes),
        )

    def _of_selection(self, selection: SelectionNode, parent: GraphQLNamedType | None, paged: bool) -> Size:
        match selection:
            case FieldNode():
                return self._of_field(selection, parent, paged)
            case FragmentSpreadNode():
                return self._of_fragment(selection.name.value, paged)
            case InlineFragmentNode():
                on = selection.type_condition
                kind = self._schema.get_type(on.name.value) if on else parent
                return self.of(selection.selection_set, kind, paged=paged)
        return _NOTHING

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType | None, paged: bool) -> Size:
        name = node.name.value
        place = f"{parent.name if parent else ''}.{name}"
        field = _definition(parent, name)
        page = _page_size(node, field)
        inner = get_named_type(field.type) if field else None
        inside = self.of(node.selection_set, inner, paged=page is not None)
        items = page or (1.0 if paged else _items(place, field))
        own = _CALL_VALUES if page or place in _CALLS else 1.0
        # Introspection is as deep as types are wrapped: its values bound it.
        depth = 0 if name.startswith("__") else inside.depth + 1
        return Size(depth, inside.fields + 1, own + items * inside.values)

    def _of_fragment(self, name: str, paged: bool) -> Size:
        known = name, paged
        if known not in self._known:
            # Unknown fragments and cycles are other rules' business.
            self._known[known] = _NOTHING
            fragment = self._fragments.get(name)
            if fragment is not None:
                kind = self._schema.get_type(fragment.type_condition.name.value)
                self._known[known] = self.of(fragment.selection_set, kind, paged=paged)
        return self._known[known]


def _definition(parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if name in _META_FIELDS:
        return _META_FIELDS[name]
    return parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None


def _page_size(node: FieldNode, field: GraphQLField | None) -> float | None:
    """How many items the field's page has at most; None when no argument says it."""
    if field is None or not any(name in field.args for name in _PAGE_ARGUMENTS):
        return None
    for argument in node.arguments or ():
        if argument.name.value in _PAGE_ARGUMENTS:
            return _written(argument.value)
    return PAGE_SIZE_DEFAULT


def _written(value: ValueNode) -> float:
    """A page's size as written; as large as may be where a variable says it, or it is out of bounds."""
    size = float(value.value) if isinstance(value, IntValueNode) else PAGE_SIZE_MAX
    return size if 1 <= size <= PAGE_SIZE_MAX else PAGE_SIZE_MAX


def _items(place: str, field: GraphQLField | None) -> float:
    if place in _ITEMS:
        return _ITEMS[place]
    if field is None or not is_list_type(get_nullable_type(field.type)):
        return 1.0
    return _ITEMS_OF_INTROSPECTION if place.startswith("__") else _ITEMS_DEFAULT


def size_rule(
    *, depth_max: int, fields_max: int = FIELDS_MAX, values_max: int = VALUES_MAX
) -> type[ValidationRule]:
    """A validation rule that refuses operations beyond the bounds."""

    class SizeRule(ValidationRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            definitions = context.document.definitions
            self._measure = _Measure(
                context.schema,
                {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)},
            )

        def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
            size = self._measure.of(node.selection_set, self.context.schema.get_root_type(node.operation))
            for what, found, maximum in (
                ("levels of fields", size.depth, depth_max),
                ("fields, fragments written out", size.fields, fields_max),
                ("values if all lists are as long as they may be", size.values, values_max),
            ):
                if found > maximum:
                    self.report_error(GraphQLError(f"The operation has more than {maximum} {what}.", node))

    return SizeRule
