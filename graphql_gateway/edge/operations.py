"""Operations that run side by side on one connection, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Protocol

import orjson
import strawberry
from graphql import GraphQLError
from strawberry.types.graphql import OperationType

from graphql_gateway.context import Context
from graphql_gateway.edge.requests import GraphQLRequest
from graphql_gateway.edge.results import Result, errors_of, payload_of, was_refused
from graphql_gateway.errors import rendered
from graphql_gateway.execution.events import Joinable, NotBegun
from graphql_gateway.live.members import ClientGone, Member
from mesh.errors import Code, Exhausted, Failure

__all__ = ["Channel", "ClientGone", "OperationExists", "Operations", "TooManySubscriptions"]


class OperationExists(Failure):
    """An operation with this id runs already on this connection."""

    code = Code.ALREADY_EXISTS
    reason = "OPERATION_EXISTS"


class TooManySubscriptions(Exhausted):
    """This connection runs as many operations as it may; end one, or open another connection."""

    reason = "TOO_MANY_SUBSCRIPTIONS"


class Channel(Protocol):
    """The client's side of a connection. `payload` is JSON, made once, whoever it is sent to.

    All but `tell` raise ClientGone.
    """

    def tell(self, operation_id: str, payload: bytes) -> bool:
        """One result, written at once. False, and nothing is written: what it was sent before waits."""

    async def drained(self) -> None:
        """Once `tell` writes again."""

    async def next(self, operation_id: str, payload: bytes) -> None:
        """One result."""

    async def error(self, operation_id: str, payload: bytes) -> None:
        """It was not carried out, or broke off; `payload` is the list of errors. Nothing follows."""

    async def complete(self, operation_id: str) -> None:
        """Nothing follows."""


class Operations:
    """Starts, stops and counts the operations of one connection: tasks, and members of groups."""

    def __init__(
        self, schema: strawberry.Schema, context: Context, channel: Channel, *, maximum: int
    ) -> None:
        self._schema = schema
        self._context = context
        self._channel = channel
        self._maximum = maximum
        self._running: dict[str, asyncio.Task[None] | Member] = {}
        # Those that were stopped are among them until they have given back what they hold.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self,
        operation_id: str,
        request: GraphQLRequest,
        *,
        allowed: frozenset[OperationType] = frozenset(OperationType),
        on_valid: Callable[[], object] | None = None,
    ) -> None:
        """Runs it until it ends or is stopped; says when it is found to be valid.

        Raises OperationExists, TooManySubscriptions.
        """
        if operation_id in self._running:
            raise OperationExists(f"The operation {operation_id!r} runs already on this connection.")
        if len(self._running) >= self._maximum:
            raise TooManySubscriptions(maximum=self._maximum)
        context = replace(self._context, takes_increments=True, on_valid=on_valid, connection=self._context)
        self._running[operation_id] = self._spawn(self._run(operation_id, request, context, allowed))

    def stop(self, operation_id: str) -> None:
        """Ends it without a word; unknown ones have ended already."""
        running = self._running.pop(operation_id, None)
        if running is not None:
            running.cancel()

    async def close(self) -> None:
        """Ends all, and waits until what they hold is given back."""
        self.stop_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop_all(self) -> None:
        """Ends all."""
        for operation_id in tuple(self._running):
            self.stop(operation_id)

    async def _run(
        self, operation_id: str, request: GraphQLRequest, context: Context, allowed: frozenset[OperationType]
    ) -> None:
        try:
            await self._tell_results(operation_id, request, context, allowed)
        except ClientGone:
            pass
        except Exception as problem:
            await self._tell_fault(operation_id, problem)
        finally:
            self._forget(operation_id)

    async def _tell_fault(self, operation_id: str, problem: Exception) -> None:
        told = rendered(GraphQLError("", original_error=problem))
        self._forget(operation_id)
        with suppress(ClientGone):
            await self._channel.error(operation_id, orjson.dumps([told.formatted]))

    async def _tell_results(
        self, operation_id: str, request: GraphQLRequest, context: Context, allowed: frozenset[OperationType]
    ) -> None:
        end_beginning = await context.budget.begin()
        try:
            await self._tell_them(operation_id, request, context, allowed, end_beginning)
        finally:
            end_beginning()

    async def _tell_them(
        self,
        operation_id: str,
        request: GraphQLRequest,
        context: Context,
        allowed: frozenset[OperationType],
        end_beginning: Callable[[], None],
    ) -> None:
        heard_valid = context.on_valid

        def valid() -> None:
            # A subscription waits for its events: others may begin meanwhile.
            end_beginning()
            if heard_valid is not None:
                heard_valid()

        context = replace(context, on_valid=valid)
        results = await self._schema.stream(
            request.query,
            variable_values=request.variables,
            context_value=context,
            operation_name=request.operation_name,
            operation_extensions=request.extensions,
            allowed_operation_types=allowed,
        )
        async with aclosing(results):
            result: Result | Joinable
            async for result in results:
                if isinstance(result, Joinable):
                    self._join(operation_id, result)
                    return
                if was_refused(result):
                    self._forget(operation_id)
                    await self._channel.error(operation_id, errors_of(result))
                    return
                await self._channel.next(operation_id, payload_of(result))
        # First forgotten, then told: the client may use the id again as soon as it hears.
        self._forget(operation_id)
        await self._channel.complete(operation_id)

    def _join(self, operation_id: str, shared: Joinable) -> None:
        member = Member(self._channel, operation_id, self._context, self._ended)
        self._running[operation_id] = member
        shared.join(member)

    def _ended(self, member: Member, problem: Exception | None) -> None:
        operation_id = member.operation_id
        if self._running.get(operation_id) is member:
            del self._running[operation_id]
            self._spawn(self._tell_end(operation_id, problem))

    async def _tell_end(self, operation_id: str, problem: Exception | None) -> None:
        with suppress(ClientGone):
            if problem is None:
                await self._channel.complete(operation_id)
            elif isinstance(problem, NotBegun):
                await self._channel.error(operation_id, errors_of(problem.result))
            else:
                await self._tell_fault(operation_id, problem)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, operation_id: str) -> None:
        """Unless the client has stopped it, and begun another by the same id."""
        if self._running.get(operation_id) is asyncio.current_task():
            del self._running[operation_id]
