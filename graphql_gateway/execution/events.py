"""Executes subscriptions: one execution for each event and authorisation scope, whoever subscribes.

What an answer depends on is the news, the text of the operation, its variables, and its scope: nobody, where
all its fields are the same for everybody; the viewer's session elsewhere. An answer for nobody is made as
nobody, without any viewer's token, so there is nothing in it that could leak.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from graphql import (
    BREAK,
    DocumentNode,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    VisitorAction,
    visit,
)
from graphql import ExecutionResult as CoreResult
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from strawberry import relay
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.execution import ExecutionResult
from strawberry.types.field import StrawberryField

from graphql_gateway.edge.authentication import Viewer, act_for
from graphql_gateway.edge.increments import asks_for_pieces
from graphql_gateway.edge.results import Told, payload_of, with_errors_shown
from graphql_gateway.execution.documents import Known, ValidDocuments
from graphql_gateway.execution.engine import Engine
from graphql_gateway.live.answers import Answers
from graphql_gateway.safety.access import guard_of
from graphql_gateway.safety.declared import SAME_FOR_ALL

if TYPE_CHECKING:
    from graphql_gateway.context import Context


class Subscribed:
    """One subscription, as far as its answers depend on it."""

    __slots__ = ("_documents", "_given", "_name", "_text", "asks_for_pieces", "engine", "variables")

    def __init__(
        self,
        engine: Engine,
        documents: ValidDocuments,
        text: str | None,
        name: str | None,
        variables: dict[str, Any] | None,
    ) -> None:
        self.engine = engine
        self._documents = documents
        # Without a text it is refused before there are events.
        self._text = text or ""
        self._name = name
        self.variables = variables
        self.asks_for_pieces = asks_for_pieces(self._text)
        self._given: Hashable = None

    @property
    def known(self) -> Known | None:
        """The operation in the document that was found valid; None once others took its place."""
        document = self._documents.find(self._text)
        return document.operation(self._name) if document else None

    def is_same_for_all(self, schema: GraphQLSchema) -> bool:
        """Whether no field depends on who asks."""
        known = self.known
        if known is None:
            return False
        found = known.document.is_same_for_all
        if known.name not in found:
            found[known.name] = is_same_for_all(schema, known)
        return found[known.name]

    def key(self, scope: Viewer | None) -> Hashable:
        """Answers to the same news with the same key are the same. Raises TypeError: variables are not plain.

        The user alone would not do: another session of theirs may end while this one's token is used.
        """
        if self._given is None:
            variables = orjson.dumps(self.variables or {}, option=orjson.OPT_SORT_KEYS)
            self._given = (self._text, self._name, variables)
        return (self._given, scope and (scope.id, scope.session_id, tuple(scope.user.roles)))


class EventExecutor(ExecutorThrowingOnIncremental):
    """graphql-core's, but for events: by a plan when there is one, and once for all who may share it."""

    def __init__(self, *given: Any, operation_extensions: object = None, **named: Any) -> None:  # noqa: ARG002 - Strawberry gives it to any executor
        super().__init__(*given, **named)

    def execute_operation(self, serially: bool | None = None) -> Any:
        """The answer to one event."""
        context: Context = self.context_value
        subscribed, answers = context.subscribed, context.answers
        if subscribed is None or answers is None:
            return super().execute_operation(serially)
        scope = None if subscribed.is_same_for_all(self.schema) else context.viewer
        try:
            key = subscribed.key(scope)
        except TypeError:
            # Files, or nested deeper than can be written.
            return super().execute_operation(serially)
        return self._told(answers, key, partial(self._made, context, subscribed, scope))

    async def _told(
        self, answers: Answers, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> Told:
        return Told(payload=await answers.of(key, make))

    async def _made(self, context: Context, subscribed: Subscribed, scope: Viewer | None) -> bytes:
        """In a task of its own, which outlives the subscriber that it was begun for."""
        act_for(scope)
        own = self.context_value = replace(
            context, viewer=scope, takes_increments=False, on_valid=None, operation=None, connection=None
        )
        result = await self._executed(own, subscribed)
        return payload_of(with_errors_shown(ExecutionResult(result.data, result.errors)))

    async def _executed(self, context: Context, subscribed: Subscribed) -> CoreResult:
        known = subscribed.known
        # Neither can be had of an event, and graphql-core says so.
        if known is not None and not subscribed.asks_for_pieces:
            execution = await subscribed.engine.execute(
                known, variables=subscribed.variables, context=context, root=self.root_value
            )
            return execution.result
        result: Any = super().execute_operation(serially=False)
        executed: CoreResult = await result if self.is_awaitable(result) else result
        return executed


class _Fields(Visitor):
    """Looks whether all fields are the same for everybody."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self._info = info
        self.are_same = True

    def enter_field(self, *_: Any) -> VisitorAction:
        """One field of the operation or of a fragment."""
        field = self._info.get_field_def()
        declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) if field else None
        if isinstance(declared, StrawberryField) and not is_same(declared):
            self.are_same = False
            return BREAK
        return None


def is_same_for_all(schema: GraphQLSchema, known: Known) -> bool:
    """Whether what an operation answers depends on the news alone, and not on who asks."""
    info = TypeInfo(schema)
    fields = _Fields(info)
    definitions = (known.operation, *known.document.fragments.values())
    visit(DocumentNode(definitions=definitions), TypeInfoVisitor(info, fields))
    return fields.are_same


def is_same(field: StrawberryField) -> bool:
    """Whether a field is the same for everybody: it is read from what was told, is a key, or says so."""
    resolver = field.base_resolver
    if resolver is None or resolver.info_parameter is None:
        return True
    if guard_of(field) is not None:
        return False
    return field.metadata == SAME_FOR_ALL or field.origin is relay.Node
