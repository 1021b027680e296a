"""Operations are measured before they are validated, and paid for before they are executed."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from graphql import GraphQLError
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.extensions.base_extension import SchemaExtension

from graphql_gateway.safety.price import Bounds, Charge, OperationTooLarge, prices
from graphql_gateway.safety.rules import Rules

TOKENS_MAX = 2_000
# `"extensions": {"cost": true}` of a request: the response tells what the operation cost.
ASKED = "cost"

# Fields of one name are compared pair by pair: graphql-core would do so for a second.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 50_000


# `graphql.pyutils` has a function of the same name.
_did_you_mean = importlib.import_module("graphql.pyutils.did_you_mean")


def suggest(*, names_max: int) -> None:
    """How many names errors suggest, in this process: they tell what introspection does not."""
    _did_you_mean.MAX_LENGTH = names_max  # type: ignore[attr-defined] # a module's constant


class Admission(SchemaExtension):
    """Refuses what is too large: validation would take longer to say so. Tells the price when asked to."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self._charge: Charge | None = None

    def on_validate(self) -> Iterator[None]:
        """Before validation."""
        context = self.execution_context
        if context.graphql_document is not None and not context.pre_execution_errors:
            priced = prices(context.graphql_document, self._rules).of(context.context.operation_name)
            try:
                if priced is not None:
                    self._charge = Charge(priced, priced.check(context.variables, self._bounds))
            except OperationTooLarge as refused:
                context.pre_execution_errors = [GraphQLError("", original_error=refused)]
        yield

    async def on_execute(self) -> AsyncIterator[None]:
        """Before execution. Raises RateLimited."""
        if self._charge is not None:
            await self.execution_context.context.budget.spend(self._charge)
        yield

    def get_results(self) -> dict[str, Any]:
        """The response's extensions."""
        asked = (self.execution_context.operation_extensions or {}).get(ASKED)
        return {ASKED: self._charge.told} if asked is True and self._charge is not None else {}
