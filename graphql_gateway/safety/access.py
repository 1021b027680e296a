"""Who may use a field: declared on it, as in Apollo's specification, and enforced here alone.

`directives=SIGNED_IN` or `ADMINS` on a field shows as `@authenticated` or `@requiresScopes` in the
schema; `guarded` makes its resolver check that before it does anything, whoever executes the operation. The
services check again, by their contracts.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

import strawberry
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graphql_gateway.context import Context
from mesh.interceptors.guards import AdminRequired


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="authenticated",
    description="For signed-in users only; others get USER_TOKEN_MISSING.",
)
class Authenticated:
    """`@authenticated` of Apollo Federation."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="requiresScopes",
    description="For signed-in users who hold all scopes of one of the lists; others get ADMIN_REQUIRED. The "
    "only scope here is `admin`, that of administrators.",
)
class RequiresScopes:
    """`@requiresScopes` of Apollo Federation."""

    scopes: list[list[str]]


# Lists of directives for fields, as in `declared`.
SIGNED_IN: Final = (Authenticated(),)
ADMINS: Final = (RequiresScopes(scopes=[["admin"]]),)


def require(declared: Authenticated | RequiresScopes, context: Context) -> None:
    """Whether the viewer meets a declaration. Raises UserTokenMissing, AdminRequired."""
    viewer = context.require_viewer()
    if isinstance(declared, RequiresScopes) and not viewer.is_admin:
        raise AdminRequired


def guard_of(field: StrawberryField) -> Authenticated | RequiresScopes | None:
    """What the field declares; None: it is open to all."""
    found = (one for one in field.directives if isinstance(one, Authenticated | RequiresScopes))
    return next(found, None)


def guarded(field: StrawberryField) -> StrawberryField:
    """The field, with a resolver that first checks what the field declares."""
    declared = guard_of(field)
    if declared is None:
        return field
    if field.base_resolver is None or not field.is_async or field.base_resolver.info_parameter is None:
        raise TypeError(f"{field.python_name}: only asynchronous resolvers with `info` can be guarded")
    guarded_field = copy.copy(field)
    guarded_field.base_resolver = StrawberryResolver(_guard(declared, field.base_resolver.wrapped_func))
    return guarded_field


def _guard(declared: Authenticated | RequiresScopes, resolver: Any) -> Callable[..., Any]:
    """Of the same kind as the resolver: Strawberry tells a coroutine function from a generator function."""
    if inspect.isasyncgenfunction(resolver):

        @functools.wraps(resolver)
        async def stream(*given: Any, info: Any, **more: Any) -> AsyncIterator[Any]:
            require(declared, info.context)
            async with aclosing(resolver(*given, info=info, **more)) as events:
                async for event in events:
                    yield event

        return stream

    @functools.wraps(resolver)
    async def resolve(*given: Any, info: Any, **more: Any) -> Any:
        require(declared, info.context)
        return await resolver(*given, info=info, **more)

    return resolve
