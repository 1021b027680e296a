"""Arguments that many fields take, each with what the schema says of it."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry
from strawberry.types.arguments import StrawberryArgumentAnnotation


def about(text: str) -> StrawberryArgumentAnnotation:
    """Documents an argument: `Annotated[int, about("…")]`."""
    return strawberry.argument(description=text)


First: TypeAlias = Annotated[int | None, about("At most this many items, 1 to 100; 20 unless given.")]
After: TypeAlias = Annotated[str | None, about("Goes on behind the item with this cursor.")]

MemeId: TypeAlias = Annotated[strawberry.ID, about("The meme: its global id or UUID.")]
MemeIdFilter: TypeAlias = Annotated[strawberry.ID | None, about("Only of this meme; of all unless given.")]

NewId: TypeAlias = Annotated[
    strawberry.ID | None,
    about("A UUIDv7 of your own: a call repeated with it and the same arguments is carried out once."),
]
WhyForAll: TypeAlias = Annotated[str, about("Why, in 3 to 500 characters, for those concerned to read.")]
