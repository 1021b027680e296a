"""What graphql-core makes of an operation that a plan began: it is given the calls made, and makes the rest.

The answer is graphql-core's own, errors with their order, places and paths included. Only where a resolver
would be called a second time, it is given the first call: the value, what was raised, or what is under way.

The order of errors is that in which failures come to be known. So that it stays what it would have been,
graphql-core first comes to where the plan was: calls that it awaits meanwhile queue up. Then they go on in
the order in which they would have begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from inspect import iscoroutine
from typing import Any

from graphql import ExecutionResult, GraphQLResolveInfo, MiddlewareManager
from strawberry.utils.await_maybe import await_maybe

from graphql_gateway.execution.calls import Call, Calls, Path, cancel

# Of the event loop, in which graphql-core asked for nothing more: it needs one from field to field.
IDLE_TURNS = 3


async def execute_rest(execute: Callable[..., Any], calls: Calls) -> Any:
    """The answer of graphql-core's `execute`, given all but its middleware. Cancels calls of no use."""
    if not calls.made:
        return await await_maybe(execute())
    replay = _Replay(calls)
    result = execute(middleware=MiddlewareManager(replay))
    if isinstance(result, ExecutionResult):
        return result
    executing = asyncio.ensure_future(result)
    try:
        await replay.come_to_where_it_was(executing)
        return await executing
    finally:
        executing.cancel()
        await cancel(replay.unclaimed.values())


class _Replay:
    def __init__(self, calls: Calls) -> None:
        self.unclaimed = {_keys(call.path): call for call in calls.made}
        self._calls = calls
        self._asked = 0
        # Calls that wait for their turn; None: each goes on as it is awaited.
        self._queue: list[asyncio.Future[None]] | None = []

    def resolve(
        self, next_: Callable[..., Any], source: Any, info: GraphQLResolveInfo[Any], **given: Any
    ) -> Any:
        """Instead of each resolver, as graphql-core's middleware."""
        self._asked += 1
        call = self.unclaimed.pop(tuple(info.path.as_list()), None) if self.unclaimed else None
        if call is not None:
            return call.outcome() if call.complete is None else _Turn(self, call)
        result = next_(source, info, **given)
        if self._queue is None or not iscoroutine(result):
            return result
        call = Call(None, None, self._calls.wave)
        call.coroutine = result
        return _Turn(self, call)

    async def come_to_where_it_was(self, executing: asyncio.Future[Any]) -> None:
        """Until graphql-core asks for nothing more; then all go on."""
        asked, idle = 0, 0
        while idle < IDLE_TURNS and not executing.done():
            await asyncio.sleep(0)
            asked, idle = self._asked, 0 if asked != self._asked else idle + 1
        self._release()

    def queue(self, call: Call) -> asyncio.Future[None] | None:
        """What a call has to wait for before it goes on."""
        is_past = call.coroutine is None and call.ended < self._calls.wave
        if self._queue is None or is_past:
            return None
        gate = asyncio.get_running_loop().create_future()
        self._queue.append(gate)
        return gate

    def give_back(self, call: Call) -> None:
        """A call that was not gone on with."""
        self.unclaimed[_keys(call.path)] = call

    def _release(self) -> None:
        queue, self._queue = self._queue or [], None
        for gate in queue:
            if not gate.done():
                gate.set_result(None)


class _Turn:
    """A call for graphql-core to await."""

    __slots__ = ("_call", "_replay")

    def __init__(self, replay: _Replay, call: Call) -> None:
        self._replay = replay
        self._call = call

    def __await__(self) -> Generator[Any, Any, Any]:
        gate = self._replay.queue(self._call)
        if gate is not None:
            try:
                yield from gate
            except asyncio.CancelledError:
                self._replay.give_back(self._call)
                raise
        elif self._call.coroutine is None:
            return self._call.outcome()
        return (yield from self._call.__await__())


def _keys(path: Path) -> tuple[str | int, ...]:
    keys: list[str | int] = []
    while path is not None:
        path, key = path
        keys.append(key)
    return tuple(reversed(keys))
