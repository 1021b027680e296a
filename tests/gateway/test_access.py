"""Who may use a field is declared on it, as the contracts of services have it, and enforced by that."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.descriptor_pool import Default
from graphql import GraphQLObjectType, ObjectTypeDefinitionNode, parse, print_ast
from satreel.mesh.v1 import access_pb2
from strawberry.types.field import StrawberryField

from graphql_gateway import schema
from graphql_gateway.context import Context
from graphql_gateway.safety.access import ADMINS, SIGNED_IN, Authenticated, RequiresScopes
from mesh.interceptors.guards import UserTokenMissing
from tests.gateway.client import Client
from tests.gateway.world import World, token_of

_CALL = re.compile(r"services\.(\w+)\.([A-Z]\w+)\(")
# They need a viewer though no contract says so: the viewer pays, or the account is the viewer's.
THEIRS = {"Subscription.watch", "Subscription.balanceChanged", "Me.balance", "Me.statement"}
_NEEDED = {access_pb2.USER_SIGNED_IN: SIGNED_IN, access_pb2.USER_ADMIN: ADMINS}


def _fields() -> Iterator[tuple[str, StrawberryField]]:
    for kind in schema.build()._schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                yield f"{kind.name}.{name}", field.extensions["strawberry-definition"]


def _needed(field: StrawberryField) -> Any:
    """What the contracts of the methods ask for that a resolver calls."""
    if field.base_resolver is None:
        return ()
    source = inspect.getsource(inspect.unwrap(cast("Callable[..., Any]", field.base_resolver.wrapped_func)))
    users = {
        Default()
        .FindServiceByName(f"satreel.{service}.v1.{service.capitalize()}Service")
        .methods_by_name[method]
        .GetOptions()
        .Extensions[access_pb2.access]
        .user
        for service, method in _CALL.findall(source)
    }
    return _NEEDED.get(max(users, default=access_pb2.USER_UNSPECIFIED), ())


def test_fields_declare_what_contracts_ask_for() -> None:
    fields = dict(_fields())
    declared = {
        name: tuple(one for one in field.directives if isinstance(one, Authenticated | RequiresScopes))
        for name, field in fields.items()
    }
    needed = {name: SIGNED_IN if name in THEIRS else _needed(field) for name, field in fields.items()}
    assert {name for name in fields if declared[name] != needed[name]} == set()
    assert sum(map(bool, needed.values())) >= 25


async def test_the_resolver_itself_refuses_whoever_executes_it() -> None:
    context = Context.__new__(Context)
    context.viewer = None
    nobody = SimpleNamespace(context=context)
    for name, field in _fields():
        if any(isinstance(one, Authenticated | RequiresScopes) for one in field.directives):
            called = cast("Any", field.base_resolver).wrapped_func(None, info=nobody)
            with pytest.raises(UserTokenMissing):
                await (anext(called) if name.startswith("Subscription.") else called)


def test_the_schema_tells_it() -> None:
    told = {
        field.name.value: [print_ast(one) for one in field.directives or ()]
        for kind in parse(schema.FILE.read_text()).definitions
        if isinstance(kind, ObjectTypeDefinitionNode)
        for field in kind.fields or ()
    }
    assert '@requiresScopes(scopes: [["admin"]])' in told["voidRound"]
    assert "@authenticated" in told["setDisplayName"]
    assert "@authenticated" in told["watch"]
    assert told["currentRound"] == [one for one in told["currentRound"] if "@cost" in one or "@cache" in one]


@pytest.mark.parametrize(
    ("call", "who", "code"),
    [
        ("mutation { cancelListing(listingId: 1) { id } }", "", "USER_TOKEN_MISSING"),
        ("mutation { logOut }", "", "USER_TOKEN_MISSING"),
        ("mutation { floatAddress }", "", "USER_TOKEN_MISSING"),
        ("mutation { floatAddress }", "ada", "ADMIN_REQUIRED"),
    ],
)
async def test_nothing_is_called_for_whom_it_is_not(
    world: World, client: Client, call: str, who: str, code: str
) -> None:
    world.user("ada")
    assert (await client.fail(call, token=token_of(who) if who else ""))["code"] == code
    assert {seen.name for seen in world.log.calls} <= {"Authenticate"}
