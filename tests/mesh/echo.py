"""The service that the tests of the mesh call: it does what the text of a request says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from satreel_testing.mesh.v1 import echo_service_pb2, echo_service_pb2_grpc
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest, EchoResponse

from mesh import caller, deadlines
from mesh.errors import Code, Failure, NotFound, Unavailable

# For what must come, on a busy machine too.
WAIT_S = 120.0
SERVICE = "satreel_testing.mesh.v1.EchoService"
DESCRIPTOR = echo_service_pb2.DESCRIPTOR
EchoStub = echo_service_pb2_grpc.EchoServiceStub
add_echo = echo_service_pb2_grpc.add_EchoServiceServicer_to_server


class OutOfSugar(Failure):
    """There is no sugar left."""

    code = Code.FAILED_PRECONDITION
    reason = "OUT_OF_SUGAR"


class Echo(echo_service_pb2_grpc.EchoServiceServicer):
    """Counts what reaches it; `release` lets calls go on that were told to wait."""

    def __init__(self, behind: EchoStub | None = None, name: str = "echo") -> None:
        self.behind = behind
        self.name = name
        self.seen: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self._texts: dict[str, Callable[[], Any]] = {
            "who": caller.current,
            "time": deadlines.remaining_s,
            "name": lambda: self.name,
        }

    async def Echo(self, request: EchoRequest, context: Any) -> EchoResponse:
        self.seen["Echo"] += 1
        return EchoResponse(text=await self._answer(request.text))

    async def Command(self, request: EchoRequest, context: Any) -> EchoResponse:
        self.seen["Command"] += 1
        return EchoResponse(text=await self._answer(request.text))

    async def UserOnly(self, request: EchoRequest, context: Any) -> EchoResponse:
        self.seen["UserOnly"] += 1
        return EchoResponse(text=caller.current().require_user())

    async def AdminOnly(self, request: EchoRequest, context: Any) -> EchoResponse:
        self.seen["AdminOnly"] += 1
        return EchoResponse(text=caller.current().require_user())

    async def Closed(self, request: EchoRequest, context: Any) -> EchoResponse:
        self.seen["Closed"] += 1
        return EchoResponse(text=request.text)

    async def Watch(self, request: EchoRequest, context: Any) -> AsyncIterator[EchoResponse]:
        self.seen["Watch"] += 1
        for letter in request.text:
            yield EchoResponse(text=letter)
        yield EchoResponse(text=await self._answer(request.text))

    async def Collect(self, request_iterator: AsyncIterator[EchoRequest], context: Any) -> EchoResponse:
        self.seen["Collect"] += 1
        return EchoResponse(text="".join([request.text async for request in request_iterator]))

    async def Talk(
        self, request_iterator: AsyncIterator[EchoRequest], context: Any
    ) -> AsyncIterator[EchoResponse]:
        self.seen["Talk"] += 1
        async for request in request_iterator:
            yield EchoResponse(text=await self._answer(request.text))

    async def _answer(self, text: str) -> str:
        order, _, rest = text.partition(":")
        if order == "wait":
            return await self._wait(rest)
        if order == "forward" and self.behind is not None:
            return (await self.behind.Echo(EchoRequest(text=rest))).text
        if order == "unavailable" and self.seen.total() < int(rest):
            raise Unavailable
        if order == "large":
            return "x" * int(rest)
        _raise_if_told(order)
        return str(self._texts.get(text, lambda: text)())

    async def _wait(self, text: str) -> str:
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(self.name)
            raise
        return text


def _raise_if_told(order: str) -> None:
    if order == "missing":
        raise NotFound("no such thing here", thing="teapot")
    if order == "sugar":
        raise OutOfSugar(spoons=2)
    if order == "grouped":
        raise ExceptionGroup("tasks", [OutOfSugar(spoons=3)])
    if order == "broken":
        raise ValueError("the secret recipe")
