"""Services and resolvers that do anything at all, but the same whenever they are asked the same.

A `Weather` is a seed and how bad it is. Whatever is asked of it is answered from a hash of the seed and the
question, so two engines that execute one operation in one weather meet the same values, failures and delays.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import strawberry
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_service_pb2
from satreel.content.v1 import content_service_pb2
from satreel.identity.v1 import identity_pb2, identity_service_pb2
from satreel.insight.v1 import insight_service_pb2
from satreel.ledger.v1 import ledger_service_pb2
from satreel.market.v1 import market_service_pb2
from satreel.rounds.v1 import rounds_service_pb2

from graphql_gateway.services import Services
from mesh.errors import Code, Failure, InvalidArgument, RemoteFailure

IDS = [f"01900000-0000-7000-8000-{number:012d}" for number in range(8)]
_TEXTS = ["", "cat", "a longer text", '\N{PILE OF POO}\x00\n"', "x" * 40]
# Made for a call that was given none.
_NEW_ID = re.compile(r"(?!01900000)[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_USUAL: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _TEXTS,
    FieldDescriptor.CPPTYPE_BOOL: [False, True],
    FieldDescriptor.CPPTYPE_DOUBLE: [0.0, 0.5, 29.97],
    FieldDescriptor.CPPTYPE_FLOAT: [0.0, 0.5, 1.0],
    FieldDescriptor.CPPTYPE_INT32: [0, 1, 42, 2**31 - 1],
    FieldDescriptor.CPPTYPE_UINT32: [0, 7],
    FieldDescriptor.CPPTYPE_INT64: [0, 1, 3_600, 2**53 - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1],
}
_EXTREME: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_ENUM: [0, 99],
    FieldDescriptor.CPPTYPE_DOUBLE: [float("nan"), float("inf")],
    FieldDescriptor.CPPTYPE_FLOAT: [float("nan"), -float("inf")],
    FieldDescriptor.CPPTYPE_UINT32: [2**32 - 1],
    FieldDescriptor.CPPTYPE_INT64: [2**53, -(2**60)],
    FieldDescriptor.CPPTYPE_UINT64: [2**60],
}
_CONTRACTS = {
    "identity": identity_service_pb2,
    "content": content_service_pb2,
    "rounds": rounds_service_pb2,
    "ledger": ledger_service_pb2,
    "market": market_service_pb2,
    "chain": chain_service_pb2,
    "insight": insight_service_pb2,
}


@dataclass
class Weather:
    """How often things go wrong, and what was asked."""

    seed: int
    # Of calls that fail, of resolvers that give something else or raise, of fields with extreme values.
    failing: float = 0.0
    wrong: float = 0.0
    extreme: float = 0.0
    # How often each call reached a service; each resolver was called for each source and arguments.
    calls: Counter[str] = field(default_factory=Counter)
    resolved: Counter[str] = field(default_factory=Counter)

    def chance(self, *question: object) -> random.Random:
        """Chance that depends on seed and question only."""
        return random.Random(f"{self.seed} {question}")

    def services(self) -> Services:
        """Stubs of services that improvise."""
        stubs = {name: _Stub(self, contract) for name, contract in _CONTRACTS.items()}
        return Services(**stubs)  # type: ignore[arg-type] # they have what resolvers use of stubs


class _Stub:
    def __init__(self, weather: Weather, contract: Any) -> None:
        self._weather = weather
        (service,) = contract.DESCRIPTOR.services_by_name.values()
        self._methods = service.methods_by_name
        self._service = service.full_name

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        method = self._methods[name]
        response_class: type[Message] = GetMessageClass(method.output_type)

        async def call(request: Any) -> Message:
            if not isinstance(request, Message):
                request = await _last(request)
            # Loaders may gather ids one way or the other: what one of them gets depends on no other.
            batch = name.startswith("BatchGet")
            chance = self._weather.chance(name, "" if batch else _NEW_ID.sub("new", repr(request)))
            self._weather.calls[name] += 1
            # No two answers come at the very same time: then their order would be anybody's.
            await asyncio.sleep(1.0 + self._weather.chance(name, self._weather.calls[name]).random())
            if chance.random() < self._weather.failing:
                raise self._failure(name, chance)
            if batch:
                return self._batch(response_class, request)
            improvised_response: Message = improvised(response_class, chance, self._weather.extreme)
            return improvised_response

        return call

    def _failure(self, name: str, chance: random.Random) -> Exception:
        reason = chance.choice(["NOT_YOURS", "ACCOUNT_NOT_FOUND", "NO_CURRENT_ROUND", "SALE_NOT_FOUND"])
        remote = RemoteFailure(
            chance.choice([Code.NOT_FOUND, Code.UNAVAILABLE, Code.INTERNAL]),
            reason,
            "it failed",
            domain="satreel.fake",
            method=f"/{self._service}/{name}",
        )
        return chance.choice([remote, ValueError("a fault of ours"), KeyError("missing")])

    def _batch(self, response_class: type[Message], request: Message) -> Message:
        """An item for most ids, by each."""
        response = response_class()
        ((asked, _),) = [one for one in request.ListFields() if one[0].is_repeated]
        items: Any = response.DESCRIPTOR.fields[0]
        key = asked.name.removesuffix("s")
        for wanted in getattr(request, asked.name):
            chance = self._weather.chance(items.full_name, wanted)
            if chance.random() < 0.9:
                item = improvised(GetMessageClass(items.message_type), chance, self._weather.extreme)
                names = {name for name in (key, "id", "name") if name in item.DESCRIPTOR.fields_by_name}
                setattr(item, key if key in names else min(names), wanted)
                getattr(response, items.name).append(item)
        return response


async def _last(requests: AsyncIterator[Message]) -> Message:
    return [one async for one in requests][-1]


def improvised(cls: type[Message], chance: random.Random, extreme: float, depth: int = 0) -> Any:
    """A message with values everywhere, or nearly."""
    message = cls()
    if isinstance(message, Timestamp):
        message.seconds, message.nanos = chance.randrange(2**31), chance.choice([0, 250_000_000, 1, 999])
        if chance.random() < extreme:
            message.seconds = chance.choice([2**62, -(2**62)])
        return message
    for one in cls.DESCRIPTOR.fields:
        if one.is_repeated and one.message_type and one.message_type.GetOptions().map_entry:
            continue
        if one.is_repeated:
            count = chance.randrange(4) if depth < 6 else 0
            getattr(message, one.name).extend(_value(one, chance, extreme, depth) for _ in range(count))
        elif chance.random() < 0.8 and depth < 6:
            value = _value(one, chance, extreme, depth)
            if one.message_type:
                getattr(message, one.name).CopyFrom(value)
            else:
                setattr(message, one.name, value)
    return message


def _value(one: Any, chance: random.Random, extreme: float, depth: int) -> Any:
    if one.message_type:
        return improvised(GetMessageClass(one.message_type), chance, extreme, depth + 1)
    if one.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        usual: list[Any] = [value.number for value in one.enum_type.values[1:] or one.enum_type.values]
    elif one.type == FieldDescriptor.TYPE_STRING and (one.name == "id" or one.name.endswith("_id")):
        usual = IDS
    else:
        usual = _USUAL[one.cpp_type] if one.type != FieldDescriptor.TYPE_BYTES else [b"\x00\xff"]
    return chance.choice(_EXTREME.get(one.cpp_type, usual) if chance.random() < extreme else usual)


class Broken:
    """Reads of it fail, or give what nobody expects."""

    def __init__(self, seed: float) -> None:
        self._seed = seed

    def __getattr__(self, name: str) -> Any:
        chance = random.Random(f"{self._seed} {name}")
        if name.startswith("_"):
            raise AttributeError(name)
        if chance.random() < 0.5:
            raise Failure("broken")
        return chance.choice([None, 5, "text", [], [None], {"a": 1}])


class Later:
    """A value that has to be awaited."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0.5).__await__()
        return self._value


def _spoilt(value: Any, chance: random.Random) -> Any:
    """Something else than a resolver gave, or its value in another way."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.choice([5, 5.5, True, "text", float("nan"), 2**60, b"bytes", object()]),
        lambda: identity_pb2.Role.DESCRIPTOR,
        lambda: ValueError("given, not raised"),
        lambda: Broken(chance.random()),
        lambda: improvised(identity_pb2.User, chance, 0.0),
        lambda: Later(value),
        lambda: {"name": "a dict"},
    ]
    if isinstance(value, list):
        kinds += [
            lambda: [None, *value],
            lambda: tuple(value),
            lambda: (one for one in value),
            lambda: [Later(one) for one in value],
            lambda: [*value, RuntimeError("among others")],
            lambda: [*value, 5, Broken(chance.random())],
        ]
    return chance.choice(kinds)()


def _raised(chance: random.Random) -> Exception:
    return chance.choice(
        [
            InvalidArgument("refused", why="weather"),
            ValueError("a fault of ours"),
            KeyError("missing"),
            Failure("no"),
        ]
    )


@contextmanager
def felt_by(schema: strawberry.Schema, felt: list[Weather]) -> Iterator[None]:
    """Makes the resolvers of a schema count their calls and go wrong, in the last weather of `felt`."""
    resolvers = {}
    for name, concrete in schema.schema_converter.type_map.items():
        for one in getattr(concrete.definition, "fields", ()):
            resolver = getattr(one, "base_resolver", None)
            if resolver is not None and not isinstance(resolver.wrapped_func, MethodType):
                resolvers[id(resolver)] = (f"{name}.{one.python_name}", resolver, resolver.wrapped_func)
    for name, resolver, function in resolvers.values():
        resolver.wrapped_func = _feeling(name, function, felt)
    try:
        yield
    finally:
        for _, resolver, function in resolvers.values():
            resolver.wrapped_func = function


def _feeling(name: str, function: Callable[..., Any], felt: list[Weather]) -> Callable[..., Any]:
    def begin(given: tuple[Any, ...], more: dict[str, Any]) -> random.Random:
        weather = felt[-1]
        arguments = {key: value for key, value in more.items() if key != "info"}
        question = f"{name} {[_told(one) for one in given]} {arguments!r}"
        weather.resolved[question] += 1
        return weather.chance(question)

    @functools.wraps(function)
    def resolve(*given: Any, **more: Any) -> Any:
        chance, wrong = begin(given, more), felt[-1].wrong
        if chance.random() < wrong / 2:
            raise _raised(chance)
        value = function(*given, **more)
        return _spoilt(value, chance) if chance.random() < wrong / 2 else value

    @functools.wraps(function)
    async def resolve_later(*given: Any, **more: Any) -> Any:
        chance, wrong = begin(given, more), felt[-1].wrong
        if chance.random() < wrong / 4:
            raise _raised(chance)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() + felt[-1].resolved.total() * 1e-6)
        value = await function(*given, **more)
        if chance.random() < wrong / 4:
            raise _raised(chance)
        return _spoilt(value, chance) if chance.random() < wrong / 2 else value

    return resolve_later if inspect.iscoroutinefunction(function) else resolve


def _told(source: Any) -> str:
    if isinstance(source, Message):
        return f"{type(source).__name__} {source.SerializeToString(deterministic=True)!r}"
    return type(source).__name__
