"""Where null may be: a field that asks a service can fail, and takes nothing else of the answer with it.

So every field with an asynchronous resolver may be null in the schema. Those whose resolver always gives
something are marked: their null always comes with an error (https://specs.apollo.dev/nullability/v0.4/), and
clients that turn errors into exceptions, such as Relay with `@throwOnFieldError`, need not look for it.
"""

from __future__ import annotations

import copy
import inspect

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.schema_directive import Location
from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.types.unset import UNSET


@strawberry.schema_directive(
    name="semanticNonNull",
    locations=[Location.FIELD_DEFINITION],
    description="The field is null only where there is an error of it. `levels`: of lists within lists those "
    "that this is true of; the outermost, 0, unless given.",
)
class SemanticNonNull:
    """A mark."""

    levels: list[int] | None = UNSET


def fallible(field: StrawberryField) -> StrawberryField:
    """The field as the schema shows it."""
    resolver = field.base_resolver
    if resolver is None or not inspect.iscoroutinefunction(resolver.wrapped_func):
        return field
    kind = field.resolve_type()
    if isinstance(kind, StrawberryOptional):
        return field
    shown = copy.copy(field)
    shown.type_annotation = StrawberryAnnotation(StrawberryOptional(kind))
    shown.directives = [*field.directives, SemanticNonNull()]
    return shown
