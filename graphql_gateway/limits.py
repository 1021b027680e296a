"""How large an operation may be: one rule, linear in the document, fragments measured once."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphql import (
    ASTValidationRule,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValidationContext,
)

TOKENS_MAX = 2_000
DEPTH_MAX = 15
FIELDS_MAX = 2_000


class Size(NamedTuple):
    """Levels of fields, and fields once all fragments are written out."""

    depth: int
    fields: int


_NOTHING = Size(0, 0)


class _Measure:
    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, Size] = {}

    def of(self, selections: SelectionSetNode | None) -> Size:
        sizes = [self._of_selection(selection) for selection in selections.selections] if selections else []
        return Size(max((size.depth for size in sizes), default=0), sum(size.fields for size in sizes))

    def _of_selection(self, selection: SelectionNode) -> Size:
        match selection:
            case FieldNode() if selection.name.value.startswith("__"):
                return _NOTHING
            case FieldNode():
                inside = self.of(selection.selection_set)
                return Size(inside.depth + 1, inside.fields + 1)
            case FragmentSpreadNode():
                return self._of_fragment(selection.name.value)
            case InlineFragmentNode():
                return self.of(selection.selection_set)
        return _NOTHING

    def _of_fragment(self, name: str) -> Size:
        if name not in self._known:
            # Unknown fragments and cycles are other rules' business.
            self._known[name] = _NOTHING
            fragment = self._fragments.get(name)
            self._known[name] = self.of(fragment.selection_set) if fragment else _NOTHING
        return self._known[name]


def size_rule(*, depth_max: int, fields_max: int = FIELDS_MAX) -> type[ASTValidationRule]:
    """A validation rule that refuses operations beyond the bounds."""

    class SizeRule(ASTValidationRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            definitions = context.document.definitions
            self._measure = _Measure(
                {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}
            )

        def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
            size = self._measure.of(node.selection_set)
            for what, found, maximum in (
                ("levels of fields", size.depth, depth_max),
                ("fields, fragments written out", size.fields, fields_max),
            ):
                if found > maximum:
                    self.report_error(GraphQLError(f"The operation has more than {maximum} {what}.", node))

    return SizeRule
