"""One gRPC interceptor that runs all parts, so that each part is written once for the four kinds of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from mesh import contracts
from mesh.caller import NOBODY, Caller
from mesh.contracts import MethodContract
from mesh.errors import InvalidArgument

EXEMPT = ("/grpc.health.v1.", "/grpc.reflection.")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(slots=True)
class IncomingCall:
    """A call on its way in, as far as the parts before have got with it."""

    contract: MethodContract
    context: Context
    metadata: Mapping[str, str | bytes]
    caller: Caller = NOBODY
    # It came in at the edge, where everybody may come; its caller may be a team all the same.
    through_edge: bool = False
    code: str = field(default="OK")


# What is left of the call to be done: with its request, or the requests of a stream.
Proceed: TypeAlias = Callable[[IncomingCall, Any], Awaitable[Any]]
# Runs around the whole call, until its last response is sent: proceeds, and gives what that gives.
Around: TypeAlias = Callable[[IncomingCall, Any, Proceed], Awaitable[Any]]
# Runs once before the servicer; raises a Failure to refuse the call.
Guard: TypeAlias = Callable[[IncomingCall], None]
# Runs on every request message; raises a Failure to refuse it.
Check: TypeAlias = Callable[[Message], None]
# Stands for a request that is no message.
_UNREADABLE: Final = object()


class Pipeline(grpc.aio.ServerInterceptor):
    """Runs `arounds`, then `guards`, then the servicer, with `check` on every request message."""

    def __init__(self, arounds: Sequence[Around], guards: Sequence[Guard], check: Check) -> None:
        self._arounds = tuple(arounds)
        self._guards = tuple(guards)
        self._check_message = check
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the servicer's method, once per method."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or path.startswith(EXEMPT):
            return handler
        wrapped = self._wrapped[path] = self._wrap(handler, contracts.method(path))
        return wrapped

    def _inside(self, proceed: Proceed, contract: MethodContract) -> Callable[[Any, Context], Awaitable[Any]]:
        """Everything around, and then what is inside."""
        for around in reversed(self._arounds):
            proceed = partial(_wrapped, around, proceed)

        async def serve(request: Any, context: Context) -> Any:
            return await proceed(
                IncomingCall(contract, context, dict(context.invocation_metadata() or ())), request
            )

        return serve

    def _guard(self, call: IncomingCall) -> None:
        for guard in self._guards:
            guard(call)

    def _check(self, request: Any) -> None:
        if request is _UNREADABLE:
            raise InvalidArgument("this is no message of the contract's, or has text that is not UTF-8")
        self._check_message(request)

    async def _checked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self._check(request)
            yield request

    def _wrap(self, handler: Handler, contract: MethodContract) -> Handler:
        make = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._unary, handler.unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._streaming, handler.unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._unary, handler.stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._streaming, handler.stream_stream),
        }
        factory, wrapper, behaviour = make[bool(handler.request_streaming), bool(handler.response_streaming)]
        wrapped: Handler = factory(
            wrapper(behaviour, contract, bool(handler.request_streaming)),
            _reader(handler.request_deserializer or bytes),
            handler.response_serializer,
        )
        return wrapped

    def _unary(self, behaviour: Any, contract: MethodContract, streams_in: bool) -> Any:
        async def answer(call: IncomingCall, request: Any) -> Any:
            self._guard(call)
            if streams_in:
                return await behaviour(self._checked(request), call.context)
            self._check(request)
            return await behaviour(request, call.context)

        return self._inside(answer, contract)

    def _streaming(self, behaviour: Any, contract: MethodContract, streams_in: bool) -> Any:
        # Not a generator: gRPC would leave one lying when the caller goes away, to be closed later and in
        # another context than it was opened in. Written here, everything ends in the task of the call.
        async def answer(call: IncomingCall, request: Any) -> None:
            self._guard(call)
            if streams_in:
                request = self._checked(request)
            else:
                self._check(request)
            async with aclosing(behaviour(request, call.context)) as responses:
                async for response in responses:
                    await call.context.write(response)

        return self._inside(answer, contract)


def _wrapped(around: Around, proceed: Proceed, call: IncomingCall, request: Any) -> Awaitable[Any]:
    return around(call, request, proceed)


def _reader(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Reads requests. Of what cannot be read gRPC would tell strangers our insides, as a fault of ours."""

    def found(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _UNREADABLE

    return found
