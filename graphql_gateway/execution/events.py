"""Subscriptions that many may share: one execution for each event and authorisation scope.

What an answer depends on is the news, the text of the operation, its variables, and its scope: nobody, where
all its fields are the same for everybody; the viewer's session elsewhere. An answer for nobody is made as
nobody, without any viewer's token, so there is nothing in it that could leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Hashable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from graphql import (
    SKIP,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    VisitorAction,
    visit,
)
from graphql import ExecutionResult as CoreResult
from graphql.execution import create_source_event_stream, execute_subscription_event
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from strawberry import relay
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.field import StrawberryField
from strawberry.utils.await_maybe import await_maybe

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.edge.increments import asks_for_pieces
from graphql_gateway.edge.results import payload_of, with_errors_shown
from graphql_gateway.execution.documents import Known
from graphql_gateway.execution.engine import Engine
from graphql_gateway.live.groups import Followed, Groups
from graphql_gateway.live.members import Member, Said
from graphql_gateway.live.telling import DELIVERY, ITSELF, Delivery, Telling
from graphql_gateway.safety.access import guard_of
from graphql_gateway.safety.budget import Budget
from graphql_gateway.safety.declared import SAME
from graphql_gateway.safety.price import Charge

if TYPE_CHECKING:
    from graphql_gateway.context import Context


class NotBegun(Exception):  # noqa: N818 - it carries what clients are told
    """graphql-core found the operation's variables or arguments wrong: a result without data."""

    def __init__(self, errors: list[GraphQLError] | None) -> None:
        super().__init__()
        self.result = with_errors_shown(PreExecutionError(data=None, errors=errors))


class Joinable:
    """A subscription that its client may follow with others."""

    def __init__(self, groups: Groups, follows: Followed, extensions: dict[str, Any]) -> None:
        self._groups = groups
        self._follows = follows
        # Of each of its results, for this client alone.
        self._extensions = extensions

    def join(self, member: Member) -> None:
        """From now on the member is told."""
        member.extensions = self._extensions
        self._groups.join(member, self._follows)


class Account(NamedTuple):
    """Whom a group's work is put down to: the client that began it, and what that paid for the operation."""

    budget: Budget
    charge: Charge | None


class Events:
    """A subscription, executed: the source of its group."""

    def __init__(
        self,
        engine: Engine,
        schema: GraphQLSchema,
        known: Known,
        variables: dict[str, Any] | None,
        context: Context,
        delivery: Delivery,
        account: Account,
    ) -> None:
        """`context` is the group's own, with its scope as viewer; `account` whoever began it."""
        self.delivery = delivery
        self.is_for_all = context.viewer is None
        self._context = context
        self._account = account
        self._engine = engine
        self._schema = schema
        self._known = known
        self._variables = variables
        self._asks_for_pieces = asks_for_pieces(known.document.text)

    async def said(self, viewers: Callable[[], Collection[Viewer]]) -> AsyncGenerator[Said, None]:
        """What the subscription says, as JSON. Raises NotBegun, or what its resolver raises;
        RateLimited when what came before is more than its client may have within a minute.
        """
        if self._context.viewer is not None:
            self._context.viewers = viewers
        await self._context.renew()
        executor = ExecutorThrowingOnIncremental.build(
            self._schema,
            self._known.document.node,
            context_value=self._context,
            raw_variable_values=self._variables,
            operation_name=self._known.name,
        )
        if isinstance(executor, list):
            raise NotBegun(executor)
        source: Any = await await_maybe(create_source_event_stream(executor))
        if isinstance(source, CoreResult):
            raise NotBegun(source.errors)
        async with aclosing(source) as events:
            async for event in events:
                about = self._context.telling
                if about.is_past and self._account.charge is not None:
                    # A client asks for a thousand of them at once, in as many ways as it likes.
                    await self._account.budget.pay(self._account.charge)
                if self._asks_for_pieces:
                    async with self._account.budget.event():
                        piece = execute_subscription_event(executor.build_per_event_executor(event))
                        result = await await_maybe(piece)
                else:
                    result = await self._executed(event, replace(self._context))
                yield _said(result, about, event if about.now is ITSELF else about.now)

    async def told_first(self, last: Said) -> Said:
        """How things are after the last event."""
        about = Telling(position=max(last.about.position, last.about.now_position))
        context = replace(self._context)
        # This may run in a task of one of those who join.
        await context.renew()
        return _said(await self._executed(last.now, context), about, last.now)

    async def _executed(self, event: Any, context: Context) -> CoreResult:
        async with self._account.budget.event():
            execution = await self._engine.execute(
                self._known, variables=self._variables, context=context, root=event
            )
        return execution.result


def _said(result: CoreResult, about: Telling, now: Any) -> Said:
    told = with_errors_shown(ExecutionResult(result.data, result.errors))
    return Said(payload_of(told), about, now, is_sound=not result.errors)


def key_of(known: Known, variables: dict[str, Any] | None, scope: Viewer | None) -> Hashable:
    """Subscriptions with the same key say the same.

    The user alone would not do: another session of theirs may end while this one's token is used.
    """
    try:
        written: object = orjson.dumps(variables or {}, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Files, or nested deeper than can be written: nobody's but this one's.
        written = object()
    whose = scope and (scope.id, scope.session_id, tuple(scope.user.roles))
    return (known.document.text, known.name, written, whose)


class _Fields(Visitor):
    """Looks at how all fields are declared."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self._info = info
        self.are_same = True
        self.delivery: Delivery | None = None
        # The variable that gives the cursor to go on behind, and how often each is used.
        self.after: str | None = None
        self.uses: Counter[str] = Counter()
        # Whether a cursor may be given at all.
        self.goes_on = False

    @property
    def sharing(self) -> Sharing:
        """What all that comes to."""
        after = self.after if self.after and self.uses[self.after] == 1 else None
        return Sharing(self.are_same, self.delivery, after, self.goes_on and after is None)

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: Any) -> VisitorAction:
        """Not a use; but a default is."""
        self.uses[node.variable.name.value] += node.default_value is not None
        return SKIP

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        """One use of a variable."""
        self.uses[node.name.value] += 1

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """One field of the operation or of a fragment."""
        field = self._info.get_field_def()
        declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) if field else None
        if isinstance(declared, StrawberryField):
            self.are_same = self.are_same and is_same(declared)
            if DELIVERY in declared.metadata:
                self.delivery = declared.metadata[DELIVERY]
                given = {one.name.value: one.value for one in node.arguments or ()}
                after = given.get("after")
                self.goes_on = after is not None
                self.after = after.name.value if isinstance(after, VariableNode) else None


class Sharing(NamedTuple):
    """How far a subscription may be shared."""

    # No field depends on who asks.
    is_same_for_all: bool
    # None: each client's is its own.
    delivery: Delivery | None
    # The variable that gives the cursor to go on behind, and nothing else.
    after: str | None = None
    # It gives one in another way: who comes later would miss what was told before.
    is_alone: bool = False


def sharing_of(schema: GraphQLSchema, known: Known) -> Sharing:
    """What the fields of a subscription declare; looked up once."""
    found = known.document.sharing
    if known.name not in found:
        info = TypeInfo(schema)
        fields = _Fields(info)
        definitions = (known.operation, *known.document.fragments.values())
        visit(DocumentNode(definitions=definitions), TypeInfoVisitor(info, fields))
        found[known.name] = fields.sharing
    return found[known.name]


def is_same(field: StrawberryField) -> bool:
    """Whether a field is the same for everybody: it is read from what was told, is a key, or says so."""
    resolver = field.base_resolver
    if resolver is None or resolver.info_parameter is None:
        return True
    if guard_of(field) is not None:
        return False
    return field.metadata.get(SAME) is True or field.origin is relay.Node
