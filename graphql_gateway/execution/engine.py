"""Executes operations: by a plan when there is one, and by graphql-core wherever a plan ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution.values import VariableValues, get_variable_values

from graphql_gateway.execution.calls import Call, Calls, cancel
from graphql_gateway.execution.compiler import Plan, compiled
from graphql_gateway.execution.documents import Known
from graphql_gateway.execution.fallback import execute_rest
from graphql_gateway.execution.sources import NotPlanned, Unplanned
from mesh import telemetry

_compiled = telemetry.counter("graphql.plans", "Operations compiled to plans.", unit="{plan}")

# Of one document: each combination of its conditions is a plan.
PLANS_MAX = 16


class Way(StrEnum):
    """How an operation was executed, as metrics and spans tell it."""

    PLAN = "plan"
    # Not at all: somebody had asked for the same.
    MEMO = "memo"
    # By graphql-core, because it is `Unplanned`, or:
    # its document is new, or not valid;
    NEW = "new"
    # an argument or a variable has a wrong value;
    INPUT = "input"
    # a resolver raised;
    RESOLVER = "resolver"
    # there was a value that cannot be shown, or not as it is.
    VALUE = "value"


class ResolverInfo:
    """What resolvers are given as `info`: all that they use of Strawberry's."""

    __slots__ = ("context", "schema")

    def __init__(self, context: Any, schema: strawberry.Schema) -> None:
        self.context = context
        self.schema = schema


@dataclass(frozen=True, slots=True)
class Execution:
    """An operation's answer, and the way it came about."""

    result: ExecutionResult
    way: Way | Unplanned


class Engine:
    """Executes the operations of one schema."""

    def __init__(self, schema: strawberry.Schema, execute: Callable[..., Any]) -> None:
        """`execute`: graphql-core's function of this name, or what stands for it."""
        self._schema = schema
        self._execute = execute

    async def execute(
        self, known: Known, *, variables: dict[str, Any] | None, context: Any, root: Any = None, **named: Any
    ) -> Execution:
        """A query or a mutation; or with an event as `root` what a subscription says of it."""
        calls = Calls()
        data, way = await self._planned(calls, known, variables, context, root)
        if way is Way.PLAN:
            return Execution(ExecutionResult(data, None), way)
        result = await execute_rest(
            partial(
                self._execute,
                self._schema._schema,  # noqa: SLF001 - Strawberry's way to graphql-core's schema
                known.document.node,
                variable_values=variables,
                context_value=context,
                root_value=root,
                operation_name=known.name,
                **named,
            ),
            calls,
        )
        return Execution(result, way)

    async def _planned(
        self,
        calls: Calls,
        known: Known,
        given: dict[str, Any] | None,
        context: Any,
        root: Any,
    ) -> tuple[Any, Way | Unplanned]:
        """The data of the answer; or why there is none, with the calls that were made until then."""
        definitions = known.operation.variable_definitions or ()
        variables = get_variable_values(self._schema._schema, definitions, given or {})  # noqa: SLF001 - as above
        if not isinstance(variables, VariableValues):
            return None, Way.INPUT
        plan = self._plan(known, variables)
        if isinstance(plan, Unplanned):
            return None, plan
        try:
            arguments = [arguments_for(variables) for arguments_for in plan.arguments]
        except Exception:
            return None, Way.INPUT
        try:
            return await _run(plan, calls, ResolverInfo(context, self._schema), root, arguments), Way.PLAN
        except Exception:
            failed = any(call.problem is not None for call in calls.made)
            return None, Way.RESOLVER if failed else Way.VALUE
        except BaseException:
            await cancel(calls.made)
            raise

    def _plan(self, known: Known, variables: VariableValues) -> Plan | Unplanned:
        document = known.document
        key = (known.name, *(variables.coerced.get(name) for name in document.conditions))
        if key not in document.plans:
            if len(document.plans) >= PLANS_MAX:
                return Unplanned.CONDITIONS
            document.plans[key] = self._compiled(known, variables)
        return document.plans[key]

    def _compiled(self, known: Known, variables: VariableValues) -> Plan | Unplanned:
        try:
            plan = compiled(self._schema, known.operation, known.document.fragments, variables)
        except NotPlanned as not_planned:
            return not_planned.why
        except GraphQLError:
            return Unplanned.INVALID
        _compiled.add(1)
        return plan


async def _run(
    plan: Plan, calls: Calls, info: ResolverInfo, root: Any, arguments: list[dict[str, Any]]
) -> Any:
    answer = plan.function(calls, info, root, arguments)
    if plan.operation_type is not OperationType.MUTATION:
        await calls.settle()
        return answer
    data: dict[str, Any] = {}
    # One after the other, each to its end.
    for key, field in answer:
        data[key] = value = field()
        if value.__class__ is Call:
            value.target = data
        await calls.settle()
    return data
