"""What an operation costs before it is begun: one walk over the document, each fragment measured once.

The cost is how many values the answer has if all lists are as long as they may be, plus what calls to
services weigh (`declared.py` has the directives). The event loop serves nobody else while an answer is put
together, so the bound on it is also one of time, about 10 microseconds a value. Sizes that variables say stay
open until a request brings them: the walk is done once per document, `Priced.cost` once per request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)

from graphql_gateway.safety.declared import PAGE_SIZE_MAX
from graphql_gateway.safety.rules import Rule, Rules
from mesh.errors import InvalidArgument

# Of lists that nothing is said about.
LIST_SIZE_DEFAULT = 20.0

# A cost is a number, or a sum over what variables will say.
Cost: TypeAlias = "float | OpenCost"


class OperationTooLarge(InvalidArgument):
    """The operation is larger than one may be: ask for less, or in several operations."""

    reason = "OPERATION_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest operation: levels of fields, fields and aliases with fragments written out, cost; and
    characters of its document.
    """

    depth: int = 15
    fields: int = 2_000
    aliases: int = 200
    cost: int = 25_000
    chars: int = 50_000


@dataclass(frozen=True, slots=True)
class Variable:
    """As many items as a variable says; `assumed` when it says nothing."""

    name: str
    assumed: float


@dataclass(frozen=True, slots=True, eq=False)
class OpenCost:
    """A constant and, times what a variable says (or once), other costs."""

    constant: float
    parts: tuple[tuple[Variable | float, Cost], ...]


def _plus(costs: Iterable[Cost]) -> Cost:
    constant, parts = 0.0, []
    for cost in costs:
        if isinstance(cost, OpenCost):
            parts.append((1.0, cost))
        else:
            constant += cost
    return OpenCost(constant, tuple(parts)) if parts else constant


def _times(count: Variable | float, cost: Cost) -> Cost:
    if isinstance(count, Variable) or isinstance(cost, OpenCost):
        return OpenCost(0.0, ((count, cost),))
    return count * cost


@dataclass(frozen=True, slots=True)
class Size:
    """Of the selections on one type. `lists` are lists whose length the field outside may say: name → cost
    of one item.
    """

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    log_ins: int = 0
    max_age_s: float = float("inf")
    cost: Cost = 0.0
    lists: Mapping[str, Cost] = field(default_factory=dict)


_NOTHING = Size()


@dataclass(frozen=True, slots=True)
class Priced:
    """One operation. `max_age_s` is how long an answer without a viewer stays fresh."""

    depth: int
    fields: int
    aliases: int
    log_ins: int
    max_age_s: int
    open_cost: Cost
    defaults: Mapping[str, Any]

    def cost(self, variables: Mapping[str, Any] | None) -> float:
        """In values, with these variables."""
        if not isinstance(self.open_cost, OpenCost):
            return self.open_cost
        return _closed(self.open_cost, {**self.defaults, **(variables or {})}, {})

    def check(self, variables: Mapping[str, Any] | None, bounds: Bounds) -> float:
        """The cost. Raises OperationTooLarge."""
        cost = self.cost(variables)
        for what, found, maximum in (
            ("levels of fields", self.depth, bounds.depth),
            ("fields, fragments written out", self.fields, bounds.fields),
            ("aliases, fragments written out", self.aliases, bounds.aliases),
            ("values if all lists are as long as they may be", cost, bounds.cost),
        ):
            if found > maximum:
                raise OperationTooLarge(f"The operation has more than {maximum} {what}.", maximum=maximum)
        return cost


@dataclass(frozen=True, slots=True)
class Charge:
    """One request's: an operation, and what it costs with the variables given."""

    priced: Priced
    cost: float

    @property
    def told(self) -> dict[str, float]:
        """For the client to see."""
        priced = self.priced
        return {
            "cost": self.cost,
            "depth": priced.depth,
            "fields": priced.fields,
            "aliases": priced.aliases,
        }


@dataclass(frozen=True, slots=True)
class Prices:
    """Of all operations of a document, by name. `steps`: how many selections were looked at."""

    operations: Mapping[str | None, Priced]
    steps: int

    def of(self, name: str | None) -> Priced | None:
        """The operation that a request means; without a name there must be only one."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return self.operations.get(name)


def prices(document: DocumentNode, rules: Rules) -> Prices:
    """Measures a document, which need not be valid: what the schema does not have costs like any field."""
    walk = _Walk(
        rules,
        {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)},
    )
    operations = {
        one.name.value if one.name else None: walk.priced(one)
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode)
    }
    return Prices(operations, walk.steps)


class _Walk:
    def __init__(self, rules: Rules, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._rules = rules
        self._schema: GraphQLSchema = rules.schema
        self._fragments = fragments
        self._known: dict[str, Size] = {}
        self.steps = 0

    def priced(self, node: OperationDefinitionNode) -> Priced:
        size = self._of(node.selection_set, self._schema.get_root_type(node.operation))
        return Priced(
            size.depth,
            size.fields,
            size.aliases,
            size.log_ins,
            int(size.max_age_s) if size.fields and size.max_age_s != float("inf") else 0,
            _ended(size, Rule()),
            {
                one.variable.name.value: _written(one.default_value)
                for one in node.variable_definitions or ()
                if one.default_value is not None
            },
        )

    def _of(self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Size:
        if selections is None:
            return _NOTHING
        return _joined([self._of_selection(one, parent) for one in selections.selections])

    def _of_selection(self, selection: object, parent: GraphQLNamedType | None) -> Size:
        self.steps += 1
        match selection:
            case FieldNode():
                return self._of_field(selection, parent)
            case FragmentSpreadNode():
                return self._of_fragment(selection.name.value)
            case InlineFragmentNode():
                on = selection.type_condition
                return self._of(
                    selection.selection_set, self._schema.get_type(on.name.value) if on else parent
                )
        return _NOTHING

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Size:
        name = node.name.value
        rule = self._rules.of(parent.name if parent else "", name)
        inside = self._of(node.selection_set, rule.type)
        count = _count(node, rule)
        lists: dict[str, Cost] = {}
        if rule.sized_fields:
            items = _ended(inside, rule, count)
        elif rule.is_list and count is None:
            # Whoever is outside may know.
            lists[name], items = _item(inside), 0.0
        else:
            items = _times(
                1.0 if count is None else count, _item(inside) if rule.is_list else _ended(inside, rule)
            )
        return Size(
            # Introspection is as deep as types are wrapped: its cost bounds it.
            0 if name.startswith("__") else inside.depth + 1,
            inside.fields + 1,
            inside.aliases + (node.alias is not None),
            inside.log_ins + rule.counts_as_log_in,
            rule.max_age_s,
            _plus((rule.weight, items)),
            lists,
        )

    def _of_fragment(self, name: str) -> Size:
        if name not in self._known:
            # Unknown fragments and cycles are other rules' business.
            self._known[name] = _NOTHING
            fragment = self._fragments.get(name)
            if fragment is not None:
                on = self._schema.get_type(fragment.type_condition.name.value)
                self._known[name] = self._of(fragment.selection_set, on)
        return self._known[name]


def _joined(sizes: list[Size]) -> Size:
    lists: dict[str, list[Cost]] = {}
    for size in sizes:
        for name, cost in size.lists.items():
            lists.setdefault(name, []).append(cost)
    return Size(
        max((size.depth for size in sizes), default=0),
        sum(size.fields for size in sizes),
        sum(size.aliases for size in sizes),
        sum(size.log_ins for size in sizes),
        min((size.max_age_s for size in sizes), default=float("inf")),
        _plus(size.cost for size in sizes),
        {name: _plus(costs) for name, costs in lists.items()},
    )


def _item(inside: Size) -> Cost:
    """One item of a list: itself, if it is no object, or what is selected of it."""
    return _ended(inside, Rule()) if inside.fields else 1.0


def _ended(inside: Size, rule: Rule, count: Variable | float | None = None) -> Cost:
    """All of the selections, their lists as long as the field outside says, or as lists are."""
    return _plus(
        (
            inside.cost,
            *(
                _times(count if name in rule.sized_fields and count is not None else LIST_SIZE_DEFAULT, cost)
                for name, cost in inside.lists.items()
            ),
        )
    )


def _count(node: FieldNode, rule: Rule) -> Variable | float | None:
    """How many items: as written, as a variable will say, as assumed, or None when nothing is declared."""
    if rule.assumed is None:
        return None
    for argument in node.arguments or ():
        if argument.name.value in rule.slicing_arguments:
            return _sliced(argument.value, rule.assumed)
    return rule.assumed


def _sliced(value: ValueNode, assumed: float) -> Variable | float:
    if isinstance(value, VariableNode):
        return Variable(value.name.value, assumed)
    return _number(_written(value), assumed)


def _written(value: ValueNode) -> Any:
    """A number, or a list as long as the one written; None for anything else."""
    match value:
        case IntValueNode():
            # Of thousands of digits, only their number counts.
            return int(value.value) if len(value.value) < 10 else PAGE_SIZE_MAX + 1
        case ListValueNode():
            return value.values
    return None


def _number(value: Any, assumed: float) -> float:
    """A page out of bounds is refused by its field: until then it is as large as may be."""
    if isinstance(value, list | tuple):
        return float(len(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if 1 <= value <= PAGE_SIZE_MAX else float(PAGE_SIZE_MAX)
    return assumed


def _closed(cost: Cost, variables: Mapping[str, Any], known: dict[int, float]) -> float:
    if not isinstance(cost, OpenCost):
        return cost
    if id(cost) not in known:
        known[id(cost)] = cost.constant + sum(
            (_number(variables.get(count.name), count.assumed) if isinstance(count, Variable) else count)
            * _closed(part, variables, known)
            for count, part in cost.parts
        )
    return known[id(cost)]
