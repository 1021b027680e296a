"""Documents that were parsed and found valid, by their text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from strawberry.extensions.base_extension import SchemaExtension
from strawberry.types.graphql import OperationType

from graphql_gateway.safety.price import Prices, prices
from graphql_gateway.safety.rules import Rules

if TYPE_CHECKING:
    from graphql_gateway.execution.compiler import Plan
    from graphql_gateway.execution.events import Sharing
    from graphql_gateway.execution.sources import Unplanned

DOCUMENTS_MAX = 1_000
# Of all texts together; parsed, a document takes some two hundred times its text.
CHARS_MAX = 400_000
_CONDITIONS = {"skip", "include", "defer", "stream"}


class Known:
    """An operation of a valid document."""

    __slots__ = ("document", "name", "operation", "type")

    def __init__(self, document: Document, operation: OperationDefinitionNode) -> None:
        self.document = document
        self.operation = operation
        # The operation's own name, if it has one.
        self.name = operation.name.value if operation.name else None
        # Query, mutation or subscription.
        self.type = OperationType(operation.operation.value)


class Document:
    """A valid document."""

    __slots__ = (
        "_operations",
        "_prices",
        "conditions",
        "fragments",
        "node",
        "plans",
        "sharing",
    )

    def __init__(self, node: DocumentNode) -> None:
        self.node = node
        self.fragments = {
            one.name.value: one for one in node.definitions if isinstance(one, FragmentDefinitionNode)
        }
        operations = [one for one in node.definitions if isinstance(one, OperationDefinitionNode)]
        self._operations: dict[str | None, Known] = {
            one.name.value: Known(self, one) for one in operations if one.name
        }
        if len(operations) == 1:
            # It needs no name.
            self._operations[None] = Known(self, operations[0])
        # Variables that `@skip` and `@include` depend on.
        self.conditions = tuple(
            sorted(
                {
                    name
                    for one in (*operations, *self.fragments.values())
                    for name in _conditions(one.selection_set)
                }
            )
        )
        # By the operation's name and the values of `conditions`; None: it cannot be planned.
        self.plans: dict[tuple[Any, ...], Plan | Unplanned] = {}
        # By the operation's name, for subscriptions.
        self.sharing: dict[str | None, Sharing] = {}
        self._prices: Prices | None = None

    @property
    def text(self) -> str:
        """As it was written."""
        return self.node.loc.source.body if self.node.loc else ""

    def prices(self, rules: Rules) -> Prices:
        """What its operations cost, measured once."""
        if self._prices is None:
            self._prices = prices(self.node, rules)
        return self._prices

    def operation(self, name: str | None) -> Known | None:
        """The operation that a request means."""
        return self._operations.get(name)


class ValidDocuments:
    """The valid documents used last; bounded in number and in characters."""

    def __init__(self, *, count_max: int = DOCUMENTS_MAX, chars_max: int = CHARS_MAX) -> None:
        self._count_max = count_max
        self._chars_max = chars_max
        self._chars = 0
        self._known: OrderedDict[str, Document] = OrderedDict()

    def find(self, text: str) -> Document | None:
        """The document of this very text, if it is known."""
        found = self._known.get(text)
        if found is not None:
            self._known.move_to_end(text)
        return found

    def add(self, text: str, node: DocumentNode) -> None:
        """A document that was found valid. The ones used longest ago make room."""
        if text in self._known or len(text) > self._chars_max:
            return
        self._known[text] = Document(node)
        self._chars += len(text)
        while len(self._known) > self._count_max or self._chars > self._chars_max:
            gone, _ = self._known.popitem(last=False)
            self._chars -= len(gone)


class KnownDocuments(SchemaExtension):
    """Parses and validates no document twice. Stands before extensions that find faults while validating."""

    def __init__(self, documents: ValidDocuments) -> None:
        self._documents = documents
        self._found: Document | None = None

    def on_parse(self) -> Iterator[None]:
        """Around parsing."""
        self._found = self._documents.find(self.execution_context.query or "")
        if self._found is not None:
            self.execution_context.graphql_document = self._found.node
            self.execution_context.context.document = self._found
        yield

    def on_validate(self) -> Iterator[None]:
        """Around validation, which is left out when its errors are known: none."""
        context = self.execution_context
        if self._found is not None:
            context.pre_execution_errors = []
        yield
        if self._found is None and not context.pre_execution_errors and context.graphql_document is not None:
            self._documents.add(context.query or "", context.graphql_document)


def _conditions(selections: SelectionSetNode | None) -> Iterator[str]:
    for selection in selections.selections if selections else ():
        for directive in selection.directives or ():
            for argument in directive.arguments or () if directive.name.value in _CONDITIONS else ():
                if isinstance(argument.value, VariableNode):
                    yield argument.value.name.value
        yield from _conditions(getattr(selection, "selection_set", None))
