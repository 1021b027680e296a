"""Queries that answer everybody alike: executed once, as nobody, and remembered (`memo`)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import orjson
import strawberry
from strawberry.execution import optimized_is_awaitable
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from graphql_gateway.context import Context
from graphql_gateway.edge.authentication import act_for
from graphql_gateway.edge.results import Told, payload_of, with_errors_shown
from graphql_gateway.execution.documents import Known
from graphql_gateway.execution.engine import Engine, Way
from graphql_gateway.execution.events import sharing_of
from graphql_gateway.execution.memo import Answer, Key, Noted
from graphql_gateway.execution.sources import Unplanned
from graphql_gateway.safety.price import Priced
from mesh.batch import CurrentTask

if TYPE_CHECKING:
    from graphql_gateway.services import Services


class SharedQueries:
    """Those of one schema."""

    def __init__(self, schema: strawberry.Schema, engine: Engine) -> None:
        self._schema = schema._schema  # noqa: SLF001 - Strawberry's way to graphql-core's schema
        self._engine = engine

    def key_of(
        self, known: Known, priced: Priced, variables: dict[str, Any] | None, context: Context
    ) -> Key | None:
        """What others may ask for as well; None for what is this viewer's, or may never be old."""
        if (
            not priced.max_age_s
            or known.type is not OperationType.QUERY
            or not sharing_of(self._schema, known).is_same_for_all
        ):
            return None
        if context.viewer is not None and not context.parts.memo.is_for(context.viewer.id):
            return None
        try:
            given = orjson.dumps(variables, option=orjson.OPT_SORT_KEYS) if variables else b""
        except TypeError:
            # Files, or nested deeper than can be written.
            return None
        return known.document.text, known.name, given

    async def answer(
        self, key: Key, known: Known, variables: dict[str, Any] | None, context: Context
    ) -> ExecutionResult:
        """What everybody is told; a result of this asker's own."""
        memo = context.parts.memo
        answer = memo.find(key)
        way: Way | Unplanned = Way.MEMO
        if answer is None:
            is_first = not memo.makes(key)
            answer = await memo.made(key, partial(self._made, known, variables, context))
            way = answer.way if is_first else way
        context.executed(way)
        if answer.failed is not None:
            return ExecutionResult(answer.failed.data, answer.failed.errors)
        return Told(payload=answer.payload)

    async def _made(self, known: Known, variables: dict[str, Any] | None, asker: Context) -> Answer:
        """By nobody, without anybody's token: there is nothing in it that could leak."""
        act_for(None)
        noted = Noted(asker.parts.services)
        own = Context(
            replace(asker.parts, services=cast("Services", noted)),
            asker.budget,
            work=CurrentTask(),
        )
        execution = await self._engine.execute(
            known, variables=variables, context=own, is_awaitable=optimized_is_awaitable
        )
        result = with_errors_shown(ExecutionResult(execution.result.data, execution.result.errors))
        return Answer(payload_of(result), result if result.errors else None, noted.asked, execution.way)
