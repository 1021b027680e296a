"""A schema with what the gateway's own does not have: unions, inputs, lists of lists, plain interfaces."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import AsyncIterator
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from satreel.content.v1 import content_pb2
from satreel.identity.v1 import identity_pb2
from strawberry.schema.config import StrawberryConfig

from graphql_gateway.entities import User
from graphql_gateway.proto import resolve_field
from graphql_gateway.scalars import SCALARS, Long
from tests.gateway.weather import IDS

T = TypeVar("T")


@strawberry.enum
class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.interface
class Animal:
    name: str
    colour: Colour | None

    @strawberry.field
    def loud(self, times: int = 2) -> str:
        return self.name.upper() * times


@strawberry.type
class Cat(Animal):
    lives: int
    weight: float | None

    @strawberry.field
    async def friends(self, first: int = 2) -> list[Pet | None]:
        return [animal(f"{self.name} {number}") for number in range(max(first, 0))]


@strawberry.type
class Dog(Animal):
    good: bool
    born: Long

    @strawberry.field
    def owner(self) -> User | None:
        return identity_pb2.User(id=IDS[1], display_name=self.name) if self.good else None  # type: ignore[return-value]

    @strawberry.field
    async def enemy(self) -> Cat:
        found = animal(f"enemy of {self.name}")
        return found if isinstance(found, Cat) else None  # type: ignore[return-value]


Pet = Annotated[Cat | Dog | User, strawberry.union("Pet")]


@strawberry.type
class Box(Generic[T]):
    content: T
    more: list[list[T | None]]


@strawberry.input
class Where:
    name: str = "any"
    colours: list[Colour] | None = None
    inner: Where | None = None


def animal(seed: str) -> Any:
    chance = random.Random(seed)
    name, colour = seed[-12:], chance.choice([*Colour, None])
    match chance.randrange(3):
        case 0:
            return Cat(
                name=name, colour=colour, lives=chance.choice([9, 2**31]), weight=chance.choice([None, 4.5])
            )
        case 1:
            return Dog(
                name=name, colour=colour, good=chance.random() < 0.5, born=Long(chance.choice([0, 2**54]))
            )
    return identity_pb2.User(id=IDS[0], display_name=name)


@strawberry.type
class Query:
    @strawberry.field
    async def pet(self, where: Where | None = None) -> Pet | None:
        pet: Pet = animal(repr(where))
        return pet

    @strawberry.field
    def pets(self, tags: list[list[str]], where: Where | None = None) -> list[Pet]:
        return [animal(f"{where} {tag}") for tag in tags]

    @strawberry.field
    async def animals(self, names: list[str | None]) -> list[Animal | None]:
        await asyncio.sleep(0)
        return [None if name is None else animal(name) for name in names]

    @strawberry.field
    def matrix(self, size: int = 2, hole: bool = False) -> list[list[int | None]]:
        return [
            [None if hole and row == column else row for column in range(size % 9)] for row in range(size % 9)
        ]

    @strawberry.field
    async def box(self) -> Box[Cat]:
        cat: Any = Cat(name="boxed", colour=Colour.RED, lives=1, weight=None)
        return Box(content=cat, more=[[cat, None], []])

    @strawberry.field
    async def stranger(self) -> User | None:
        return content_pb2.Meme(id=IDS[2])  # type: ignore[return-value] # that is what is wrong with it

    @strawberry.field
    def cast(self) -> Animal:
        return strawberry.cast(Dog, Cat(name="a dog, it says", colour=None, lives=1, weight=None))

    @strawberry.field
    def whole(self, info: strawberry.Info) -> str | None:
        return None


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def rename(self, name: str, where: Where) -> Animal:
        await asyncio.sleep(0)
        renamed: Animal = animal(f"{name} {where.name}")
        return renamed

    @strawberry.mutation
    def count(self) -> int:
        return 2**31 - 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def animals(self) -> AsyncIterator[Animal]:
        yield animal("first")


def build() -> strawberry.Schema:
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[Cat, Dog],
        config=StrawberryConfig(default_resolver=resolve_field, scalar_map=SCALARS),
    )
