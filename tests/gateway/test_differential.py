"""Plans and graphql-core execute the same operations in the same weather: answers and calls are the same."""

from __future__ import annotations

import asyncio
import gc
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import orjson
import pytest
import strawberry
from graphql import ExecutionResult, parse, validate
from graphql.execution import experimental_execute_incrementally as execute
from satreel.identity.v1 import identity_pb2
from strawberry.execution import optimized_is_awaitable
from strawberry.utils.await_maybe import await_maybe

from graphql_gateway import schema
from graphql_gateway.context import Context, Parts
from graphql_gateway.edge.authentication import Viewer, act_for
from graphql_gateway.errors import in_order
from graphql_gateway.execution.documents import Document
from graphql_gateway.execution.engine import Engine, Way
from tests.gateway import odd_schema, virtual_time
from tests.gateway.generated import Operation, Operations
from tests.gateway.weather import IDS, Weather, felt_by

ADA = identity_pb2.User(id=IDS[0], display_name="ada", roles=[identity_pb2.ROLE_ADMIN])
VIEWER = Viewer(ADA, "session", "access", "user token")
# How often calls fail, resolvers go wrong, fields have extreme values.
FAIR, WILD, BAD, AWFUL = (0.0, 0.0, 0.0), (0.0, 0.0, 0.1), (0.05, 0.04, 0.01), (0.3, 0.2, 0.05)


_ADDRESS = re.compile(" at 0x[0-9a-f]+")


@dataclass
class Bench:
    """Both engines over one schema."""

    graph: strawberry.Schema
    ways: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.engine = Engine(self.graph, execute)
        self.how: dict[str, Any] = {
            "is_awaitable": optimized_is_awaitable,
            "executor_class": self.graph.execution_context_class,
        }
        self.felt: list[Weather] = []

    async def compare(self, operation: Operation, document: Document, weather: Weather) -> None:
        known = document.operation(operation.name)
        assert known is not None
        planned, stock = replace(weather, calls=Counter(), resolved=Counter()), weather
        execution = await self._in(
            planned,
            operation.variables,
            lambda context: self.engine.execute(
                known, variables=operation.variables, context=context, **self.how
            ),
        )
        self.ways[execution.way] += 1
        expected = await self._in(
            stock, operation.variables, lambda context: self._stock(operation, document, context)
        )
        told = f"seed {weather.seed}, {weather.failing}: {execution.way}\n{operation}"
        assert shown(execution.result) == shown(expected), told
        assert_same_calls(planned, stock, expected, told)

    async def _in(self, weather: Weather, variables: dict[str, Any], run: Any) -> Any:
        self.felt[:] = [weather]
        for value in variables.values():
            if isinstance(value, BytesIO):
                value.seek(0)
        act_for(VIEWER)
        parts = Parts(weather.services(), *[None] * 8)  # type: ignore[arg-type] # no resolver of ours needs them
        context = Context(parts, None, viewer=VIEWER)  # type: ignore[arg-type] # as above
        result = await run(context)
        # What graphql-core left running in the background ends too.
        await asyncio.sleep(100)
        return result

    async def _stock(self, operation: Operation, document: Document, context: Context) -> ExecutionResult:
        result: Any = execute(
            self.graph._schema,
            document.node,
            variable_values=operation.variables,
            operation_name=operation.name,
            context_value=context,
            **self.how,
        )
        return await await_maybe(result)


def shown(result: ExecutionResult) -> str:
    """The answer's bytes, and what `errors.rendered` looks at beside them."""
    errors = [(error.formatted, repr(error.original_error)) for error in in_order(result.errors or ())]
    return _ADDRESS.sub("", orjson.dumps({"data": result.data, "errors": errors}, default=repr).decode())


def assert_same_calls(planned: Weather, stock: Weather, expected: ExecutionResult, told: str) -> None:
    assert not planned.resolved - stock.resolved, told
    if expected.errors:
        return
    assert planned.resolved == stock.resolved, told
    assert planned.calls == stock.calls, told


MOODS = (FAIR, WILD, BAD, AWFUL)
# Fields that graphql-core cancels before they have begun say so.
unawaited = pytest.mark.filterwarnings(
    "ignore:.*never awaited", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def otherwise(operation: Operation, chance: random.Random) -> Operation:
    """The operation with other values for its conditions: a plan must know which ones it was made for."""
    conditions = {name: chance.random() < 0.5 for name in operation.variables if name.startswith("c")}
    return replace(operation, variables={**operation.variables, **conditions})


@unawaited
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("build", [schema.build, odd_schema.build], ids=["gateway", "odd"])
def test_generated_operations_are_answered_alike(build: Callable[[], strawberry.Schema], seed: int) -> None:
    graph, chance = build(), random.Random(seed)
    bench, operations = Bench(graph), Operations(graph._schema, chance)
    with felt_by(graph, bench.felt):
        for _ in range(60):
            operation = operations.make(chance.choice(["query", "query", "mutation"]))
            node = parse(operation.text)
            if not validate(graph._schema, node):
                document = Document(node)
                for mood in MOODS:
                    weather = Weather(chance.randrange(10**9), *mood)
                    virtual_time.run(bench.compare(otherwise(operation, chance), document, weather))
    gc.collect()
    assert bench.ways[Way.PLAN] > 30, bench.ways
    assert bench.ways[Way.RESOLVER] + bench.ways[Way.VALUE] > 40, bench.ways
