"""Operations are measured before they are validated."""

from __future__ import annotations

from collections.abc import Iterator

from graphql import GraphQLError
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.extensions.base_extension import SchemaExtension

from graphql_gateway.safety.price import Bounds, OperationTooLarge, prices
from graphql_gateway.safety.rules import Rules

TOKENS_MAX = 2_000

# Fields of one name are compared pair by pair: graphql-core would do so for a second.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 50_000


class Admission(SchemaExtension):
    """Refuses what is too large. Validation would take longer to say so."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds

    def on_validate(self) -> Iterator[None]:
        """Before validation."""
        context = self.execution_context
        if context.graphql_document is not None and not context.pre_execution_errors:
            priced = prices(context.graphql_document, self._rules).of(context.context.operation_name)
            try:
                if priced is not None:
                    priced.check(context.variables, self._bounds)
            except OperationTooLarge as refused:
                context.pre_execution_errors = [GraphQLError("", original_error=refused)]
        yield
