"""Operations are measured before they are validated, and paid for before they are executed."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from graphql import GraphQLError, validate
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.extensions.base_extension import SchemaExtension

from graphql_gateway.safety.price import Bounds, Charge, OperationTooLarge, Priced, prices
from graphql_gateway.safety.rules import Rules
from graphql_gateway.safety.turns import Lane
from mesh.errors import InvalidArgument

TOKENS_MAX = 2_000
# Of one document: to find more takes time, and to suggest names for each.
ERRORS_MAX = 10
# `"extensions": {"cost": true}` of a request: the response tells what the operation cost.
ASKED = "cost"

# Fields of one name are compared pair by pair: graphql-core would do so for a second.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000


# `graphql.pyutils` has a function of the same name.
_did_you_mean = importlib.import_module("graphql.pyutils.did_you_mean")


def suggest(*, names_max: int) -> None:
    """How many names errors suggest, in this process: those of variables cannot be told otherwise."""
    _did_you_mean.MAX_LENGTH = names_max  # type: ignore[attr-defined] # a module's constant


class DocumentTooLong(InvalidArgument):
    """The document is longer than one may be: put large values into variables."""

    reason = "OPERATION_TOO_LARGE"


class Admission(SchemaExtension):
    """Refuses what is too large, before it is read or validated; tells the price when asked to.

    `hides_names`: errors suggest no names. They would tell what introspection does not.
    """

    def __init__(self, rules: Rules, bounds: Bounds, lane: Lane, *, hides_names: bool) -> None:
        self._rules = rules
        self._lane = lane
        self._is_in_lane = False
        self._bounds = bounds
        self._hides_names = hides_names
        self._charge: Charge | None = None

    def on_operation(self) -> Iterator[None]:
        """Around everything: what cannot be read may not keep the lane."""
        try:
            yield
        finally:
            self._leave_lane()

    async def on_parse(self) -> AsyncIterator[None]:
        """Before parsing: new documents wait for their turn. Raises DocumentTooLong, TooManyWaiting."""
        context = self.execution_context
        if len(context.query or "") > self._bounds.chars:
            raise DocumentTooLong(maximum=self._bounds.chars)
        if context.graphql_document is None:
            await self._lane.enter(context.context.budget.client)
            self._is_in_lane = True
        yield

    def on_validate(self) -> Iterator[None]:
        """Instead of Strawberry's validation, which would look for many more errors than anybody reads."""
        context = self.execution_context
        document = context.graphql_document
        if document is not None and not context.pre_execution_errors:
            known = context.context.document
            found = known.prices(self._rules) if known else prices(document, self._rules)
            try:
                self._charge = charge_for(
                    found.of(context.context.operation_name), context.variables, self._bounds
                )
            except OperationTooLarge as refused:
                context.pre_execution_errors = [GraphQLError("", original_error=refused)]
        if document is not None and context.pre_execution_errors is None:
            context.pre_execution_errors = validate(
                self._rules.schema,
                document,
                context.validation_rules,
                max_errors=ERRORS_MAX,
                hide_suggestions=self._hides_names,
            )
        self._leave_lane()
        yield

    async def on_execute(self) -> AsyncIterator[None]:
        """Before execution. Raises RateLimited."""
        if self._charge is not None:
            await self.execution_context.context.spend(self._charge)
        yield

    def _leave_lane(self) -> None:
        if self._is_in_lane:
            self._is_in_lane = False
            self._lane.leave()

    def get_results(self) -> dict[str, Any]:
        """The response's extensions."""
        return told(self._charge, self.execution_context.operation_extensions)


def charge_for(priced: Priced | None, variables: Mapping[str, Any] | None, bounds: Bounds) -> Charge | None:
    """What an operation costs with these variables; None when there is none. Raises OperationTooLarge."""
    return None if priced is None else Charge(priced, priced.check(variables, bounds))


def told(charge: Charge | None, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """The response's extensions, for those that the request had."""
    return {ASKED: charge.told} if charge is not None and (asked or {}).get(ASKED) is True else {}
