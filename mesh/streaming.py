"""Calls that answer with a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from mesh import telemetry, waiting
from mesh.contracts import MethodContract
from mesh.errors import Code, RemoteFailure
from mesh.status import from_rpc_error


class ResponseStream:
    """A running call that answers with a stream; ending the iteration early cancels it.

    Its span lasts until its last answer, its failure, or until it is left.
    """

    def __init__(
        self,
        begin: Callable[[], Any],
        contract: MethodContract,
        span: telemetry.Span,
        *,
        ends_s: float,
        repeatable: bool,
    ) -> None:
        self._begin = begin
        self._contract = contract
        self._span = span
        self._ends_s = ends_s
        self._repeatable = repeatable
        self._call = begin()
        self._iterated = self._answered = self._moves = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        pauses, self._iterated = waiting.pauses_s(), True
        try:
            while True:
                try:
                    async for response in self._call:
                        self._answered = True
                        yield response
                    break
                except grpc.aio.AioRpcError as error:
                    pause_s = next(pauses)
                    if self._answered or not self._may_begin_again(error, pause_s):
                        raise self._failed(error) from None
                except asyncio.CancelledError:
                    if not self._moves or _is_cancelled():
                        raise
                    pause_s = 0.0
                await asyncio.sleep(pause_s)
                self._moves, self._call = False, self._begin()
            self._ended("OK")
        finally:
            self.cancel()

    @property
    def waits(self) -> bool:
        """Whether it may still be waiting for a server."""
        return not (self._answered or self._span.is_over)

    def move(self) -> None:
        """Begins again on the channel of now, while nothing was answered, if that does no harm.

        Where nobody takes the certificate any more, a call that waits for a server would wait for ever.
        """
        if self._iterated and self.waits and self._contract.asks_once and self._contract.repeatable:
            self._moves = True
            self._call.cancel()

    def _may_begin_again(self, error: grpc.aio.AioRpcError, pause_s: float) -> bool:
        failure = from_rpc_error(error, method=self._contract.path)
        in_time = time.perf_counter() + pause_s < self._ends_s
        return (
            self._contract.asks_once and in_time and waiting.is_worth_it(failure, repeatable=self._repeatable)
        )

    async def read(self) -> Any:
        """The next response, or grpc.aio.EOF."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None
        if response is grpc.aio.EOF:
            self._ended("OK")
        return response

    async def write(self, request: Any) -> None:
        """Sends a request on a stream whose requests were not given as an iterable."""
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None

    async def done_writing(self) -> None:
        """Says that no more requests come."""
        await self._call.done_writing()

    def cancel(self) -> bool:
        """Ends the call."""
        self._ended(Code.CANCELLED)
        return bool(self._call.cancel())

    def _failed(self, error: grpc.aio.AioRpcError) -> RemoteFailure:
        failure = from_rpc_error(error, method=self._contract.path)
        self._ended(failure.code)
        return failure

    def _ended(self, code: str) -> None:
        if self._span.is_over:
            return
        self._span.set_attribute("rpc.response.status_code", code)
        if code in telemetry.ERRORS:
            self._span.failed(code)
        self._span.end()


def _is_cancelled() -> bool:
    """Whether whoever iterates is to end, rather than the call alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
