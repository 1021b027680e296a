"""The graph as clients meet it: what becomes of an operation from its arrival to its results.

Over HTTP an operation is executed (`execute`); on a connection that lasts it may begin a stream (`stream`).
Documents that were found valid before pass Strawberry and its extensions by.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, aclosing
from contextvars import copy_context
from typing import Any, cast

import strawberry
from graphql import GraphQLError, OperationDefinitionNode
from graphql.execution import (
    Executor,
    experimental_execute_incrementally,
)
from graphql.execution.incremental import IncrementalExecutor
from strawberry.exceptions import MissingQueryError
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions.base_extension import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import _coerce_pre_execution_error
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType

from graphql_gateway import telemetry
from graphql_gateway.composition import Composition
from graphql_gateway.context import Context
from graphql_gateway.edge.increments import asks_for_pieces
from graphql_gateway.edge.results import with_errors_shown
from graphql_gateway.errors import tells_of_fault
from graphql_gateway.execution.documents import Known, ValidDocuments
from graphql_gateway.execution.engine import Engine, Way
from graphql_gateway.execution.events import Account, Events, Joinable, key_of, sharing_of
from graphql_gateway.execution.shared import SharedQueries
from graphql_gateway.live.groups import Followed
from graphql_gateway.safety.admission import charge_for, told
from graphql_gateway.safety.price import Bounds
from graphql_gateway.safety.rules import Rules
from graphql_gateway.safety.turns import Lane
from graphql_gateway.telemetry import Operation, Outcome
from mesh import deadlines
from mesh.errors import Failure, Unavailable

# Time for all calls of an operation together: of a query; of a mutation, which may upload, or wait for
# the ledger. A call never has more than its contract gives it; lookups are shared by those who have that much
# left (mesh.flights), so the first calls of a query may take some time and the next are shared all the same.
QUERY_S, MUTATION_S = 13.0, 60.0


class OperationNamed(SchemaExtension):
    """Refuses to guess which of several operations is meant; tells telemetry which one it is."""

    def on_validate(self) -> Iterator[None]:
        """Before validation."""
        context = self.execution_context
        if context.context.operation is not None:
            context.context.operation.named(context.operation_type.value, context.operation_name)
        definitions = context.graphql_document.definitions if context.graphql_document else ()
        operations = [one for one in definitions if isinstance(one, OperationDefinitionNode)]
        if len(operations) > 1 and context.context.operation_name is None:
            context.pre_execution_errors = [GraphQLError("Name the operation: there are several.")]
        yield
        if not context.pre_execution_errors:
            context.context.valid()


class SatreelSchema(strawberry.Schema):
    """Gives each operation a context of its own, executes known ones by plans, and renders all errors."""

    def __init__(self, composition: Composition, bounds: Bounds, **given: Any) -> None:
        self._composition = composition
        self._bounds = bounds
        super().__init__(**given)
        self.rules = Rules(self._schema)
        self.lane = Lane()
        self.documents = ValidDocuments()
        self.engine = Engine(self, _execute)
        self._shared = SharedQueries(self, self.engine)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        """Those of the domains that are served."""
        return self._composition.fields_of(type_definition)

    async def execute(self, query: str | None, *args: Any, **kwargs: Any) -> ExecutionResult:
        """One operation over HTTP, whose context has just been signed in."""
        # Strawberry would let them through, for protocols that we do not speak.
        allowed = kwargs["allowed_operation_types"] = set(kwargs["allowed_operation_types"]) - {
            OperationType.SUBSCRIPTION
        }
        with telemetry.on_request() as operation:
            own = _give_own_context(kwargs, operation)
            document = self.documents.find(query) if query else None
            known = document.operation(own.operation_name) if document else None
            if known is not None and known.type in allowed:
                result = await self._carry_out(known, own, kwargs)
            else:
                with _time_of(OperationType.MUTATION if OperationType.MUTATION in allowed else None):
                    result = await super().execute(query, *args, **kwargs)
            _remember_change(own)
            operation.over(_outcome(with_errors_shown(result)))
            return result

    async def _carry_out(self, known: Known, own: Context, given: dict[str, Any]) -> ExecutionResult:
        """What Strawberry and its extensions do for a document that need be neither read nor validated."""
        variables = given["variable_values"]
        if own.operation is not None:
            own.operation.named(known.type.value, known.name)
        try:
            priced = known.document.prices(self.rules).of(own.operation_name)
            charge = charge_for(priced, variables, self._bounds)
            own.valid()
            with _time_of(known.type):
                if charge is not None:
                    await own.spend(charge)
                    key = self._shared.key_of(known, charge.priced, variables, own)
                    if key is not None:
                        shared = await self._shared.answer(key, known, variables, own)
                        shared.extensions = told(charge, given.get("operation_extensions"))
                        return shared
                execution = await self.engine.execute(
                    known, variables=variables, context=own, is_awaitable=optimized_is_awaitable
                )
        except Exception as problem:
            return PreExecutionError(data=None, errors=[GraphQLError(str(problem), original_error=problem)])
        own.executed(execution.way)
        result = execution.result
        return ExecutionResult(result.data, result.errors, told(charge, given.get("operation_extensions")))

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """One operation over a connection that lasts: results; or a Joinable, for its client to join."""
        return self._stream_observed(args, kwargs)

    async def _stream_observed(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        async with AsyncExitStack() as stack:
            # The span ends before anything is given away: later events are traces of their own.
            with telemetry.on_socket(kwargs.get("operation_extensions")) as operation:
                own = _give_own_context(kwargs, operation)
                results: AsyncGenerator[ExecutionResult, None] | None = None
                first: Any = await self._begun(args[0], own, kwargs)
                if first is None:
                    results = cast(
                        "AsyncGenerator[ExecutionResult, None]", await super().stream(*args, **kwargs)
                    )
                    await stack.enter_async_context(aclosing(results))
                    first = await anext(results, None)
                    first = first and with_errors_shown(first)
                    _remember_change(own)
                if first is not None:
                    operation.over(Outcome.OK if isinstance(first, Joinable) else _outcome(first))
            if first is not None:
                yield first
            if results is not None:
                async for result in results:
                    yield with_errors_shown(result)

    async def _begun(
        self, query: str | None, own: Context, given: dict[str, Any]
    ) -> ExecutionResult | Joinable | None:
        """What can be said of an operation before it is executed: why it is not, or what it shares."""
        try:
            # A socket may have been signed in long ago.
            await own.renew()
        except Failure as failure:
            return _refusal(failure)
        if query is None or self.documents.find(query) is None:
            refused = await self._refused(query, given)
            if refused is not None:
                return refused
        joinable = await self._joinable(query, own, given)
        return joinable or await self._answered(query, own, given)

    async def _answered(
        self, query: str | None, own: Context, given: dict[str, Any]
    ) -> ExecutionResult | None:
        """The only result of a query or mutation; None: it may come in pieces, or is something else."""
        document = self.documents.find(query or "")
        known = document.operation(own.operation_name) if document else None
        if (
            known is None
            or known.type is OperationType.SUBSCRIPTION
            or known.type not in given["allowed_operation_types"]
            or asks_for_pieces(known.document.text)
        ):
            return None
        result = await self._carry_out(known, own, given)
        _remember_change(own)
        return with_errors_shown(result)

    async def _refused(self, query: str | None, given: dict[str, Any]) -> ExecutionResult | None:
        """What is wrong with a document that is not known: Strawberry's reading, and no more."""
        reading = self._create_execution_context(query=query, **given)
        extensions = self.get_extensions()
        for extension in extensions:
            extension.execution_context = reading
        runner = self.create_extensions_runner(reading, extensions)
        async with runner.operation():
            try:
                refused = await self._prepare_operation_async(reading, runner)
            except (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError) as problem:
                refused = PreExecutionError(data=None, errors=[_coerce_pre_execution_error(problem)])
            if refused is not None:
                refused.extensions = await runner.get_extensions_results(reading)
        return refused and with_errors_shown(refused)

    async def _joinable(
        self, query: str | None, own: Context, given: dict[str, Any]
    ) -> ExecutionResult | Joinable | None:
        """A subscription that others may follow too; or why it is refused. None: it is something else."""
        document = self.documents.find(query or "")
        if document is None:
            return _refusal(Unavailable("Too many documents are new: send it again."))
        known = document.operation(own.operation_name)
        if (
            known is None
            or known.type is not OperationType.SUBSCRIPTION
            or known.type not in given["allowed_operation_types"]
        ):
            return None
        sharing = sharing_of(self._schema, known)
        if sharing.delivery is None:
            return None
        if own.operation is not None:
            own.operation.named(known.type.value, known.name)
        variables = given["variable_values"]
        try:
            charge = charge_for(
                known.document.prices(self.rules).of(own.operation_name), variables, self._bounds
            )
            own.valid()
            if charge is not None:
                await own.spend(charge)
        except Failure as refused:
            return _refusal(refused)
        scope = None if sharing.is_same_for_all else own.viewer
        context = Context(own.parts, own.parts.budgets.of(""), viewer=scope)
        account = Account(own.budget, charge)
        events = Events(self.engine, self._schema, known, variables, context, sharing.delivery, account)
        without = {name: value for name, value in (variables or {}).items() if name != sharing.after}
        main_key = object() if sharing.is_alone else key_of(known, without, scope)
        goes_on = (variables or {}).get(sharing.after or "") is not None
        key = key_of(known, variables, scope) if goes_on else main_key
        follows = Followed(key, main_key, events, own.parts.authenticator, copy_context())
        return Joinable(own.live.groups, follows, told(charge, given.get("operation_extensions")))

    def process_errors(self, *_: Any, **__: Any) -> None:
        """Nothing: `rendered` logs what is ours to mend."""

    def _get_execute_function(self) -> Callable[..., Any]:
        return self._execute

    def _execute(self, *given: Any, **named: Any) -> Any:
        context: Context = named["context_value"]
        known = context.document.operation(named["operation_name"]) if context.document else None
        if known is None:
            context.executed(Way.NEW)
            return _execute(*given, **named)
        return self._execute_known(known, context, named)

    async def _execute_known(self, known: Known, context: Context, named: dict[str, Any]) -> Any:
        execution = await self.engine.execute(
            known,
            variables=named["variable_values"],
            context=context,
            is_awaitable=named["is_awaitable"],
        )
        context.executed(execution.way)
        return execution.result


def _execute(*given: Any, **named: Any) -> Any:
    """Results come in pieces to those who take them; for others `@defer` and `@stream` count for nothing."""
    context: Context = named["context_value"]
    # For resolvers that read a request's extensions: we have none.
    named.pop("operation_extensions", None)
    named["executor_class"] = IncrementalExecutor if context.takes_increments else Executor
    return experimental_execute_incrementally(*given, **named)


def _time_of(type_: OperationType | None) -> AbstractContextManager[None]:
    """Calls made in the block end in time."""
    return deadlines.within(MUTATION_S if type_ is OperationType.MUTATION else QUERY_S)


def _give_own_context(arguments: dict[str, Any], operation: Operation) -> Context:
    shared: Context = arguments["context_value"]
    own = arguments["context_value"] = shared.for_operation(arguments["operation_name"], operation)
    return own


def _refusal(failure: Failure) -> ExecutionResult:
    error = GraphQLError("", original_error=failure)
    return with_errors_shown(PreExecutionError(data=None, errors=[error]))


def _remember_change(context: Context) -> None:
    """Whoever changes something sees it from then on."""
    operation = context.operation
    if (
        context.viewer is not None
        and operation is not None
        and operation.type == OperationType.MUTATION.value
    ):
        context.parts.memo.has_changed(context.viewer.id)


def _outcome(result: ExecutionResult) -> Outcome:
    if not result.errors:
        return Outcome.OK
    return Outcome.FAILED if any(map(tells_of_fault, result.errors)) else Outcome.REFUSED
