"""Directives that say, in the schema, what a field costs and how long its list may be.

`@cost` and `@listSize` are those of the GraphQL cost directives specification
(https://ibm.github.io/graphql-specs/cost-spec.html), `@cacheControl` is Apollo's. `price.py` enforces them.
"""

from __future__ import annotations

from typing import Any, Final

import strawberry
from strawberry.schema_directive import Location
from strawberry.types.unset import UNSET

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100
# A field that asks a service by itself, instead of having a place in a batch, takes as long as this many.
CALL_WEIGHT = 25.0


@strawberry.schema_directive(
    name="cost",
    locations=[Location.FIELD_DEFINITION],
    description="What a field costs by itself: a number, in values of an answer. A field without it costs 1, "
    "one of Query, Mutation or Subscription 25.",
)
class Cost:
    """`weight` is a decimal number as text, as the specification has it."""

    weight: str


@strawberry.schema_directive(
    name="listSize",
    locations=[Location.FIELD_DEFINITION],
    description="How many items the field's list, or the lists `sizedFields` inside, have at most: as many "
    "as one of `slicingArguments` says or has items itself, else `assumedSize`.",
)
class ListSize:
    """A list's bound."""

    assumed_size: int
    slicing_arguments: list[str] | None = UNSET
    sized_fields: list[str] | None = UNSET
    require_one_slicing_argument: bool | None = UNSET


@strawberry.schema_directive(
    name="cacheControl",
    locations=[Location.FIELD_DEFINITION],
    description="For how many seconds what everybody may see of the field is fresh enough. An answer to "
    "nobody in particular may be kept as long as all its root fields allow.",
)
class CacheControl:
    """Seconds."""

    max_age: int


@strawberry.schema_directive(
    name="countsAsLogIn",
    locations=[Location.FIELD_DEFINITION],
    description="The field counts against the limit of log-ins, which is stricter than that of requests.",
)
class CountsAsLogIn:
    """A mark."""


# Lists of directives for fields: `@strawberry.field(description=…, directives=PAGE)`.
CALL = (Cost(weight=f"{CALL_WEIGHT:g}"),)
PAGE = (
    *CALL,
    ListSize(
        assumed_size=PAGE_SIZE_DEFAULT,
        slicing_arguments=["first"],
        sized_fields=["edges", "nodes"],
        require_one_slicing_argument=False,
    ),
)
PUBLIC = (CacheControl(max_age=1),)
# `metadata` of a field whose resolver answers everybody alike: its answer may be shared by all subscribers.
SAME: Final = "same_for_all"
SAME_FOR_ALL: Final = {SAME: True}
LOG_IN = (CountsAsLogIn(),)


def at_most(size: int, *, by: str | None = None, within: str | None = None) -> tuple[ListSize]:
    """A list of at most `size` items, or as many as the argument `by` says; `within`: not the field's own."""
    return (
        ListSize(
            assumed_size=size,
            slicing_arguments=[by] if by else UNSET,
            sized_fields=[within] if within else UNSET,
            require_one_slicing_argument=False if by else UNSET,
        ),
    )


def up_to(size: int) -> Any:
    """A message's list, for `proto_type`: `standings: list[Standing] = up_to(100)`."""
    return strawberry.field(directives=at_most(size))
