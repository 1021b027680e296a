"""The graph, or some of its domains, as a subgraph of Apollo Federation 2: `_service` and `_entities`.

Entities are what has a key: Relay nodes by their global id, and `Me` by its user. They are found by the
DataLoaders that resolvers use, so the representations of one request cost a call for each type.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from typing import Annotated, Any, NewType, Union, cast

import strawberry
from google.protobuf.message import Message
from graphql import DefinitionNode, ObjectTypeDefinitionNode, parse, print_ast
from graphql.language import ConstDirectiveNode
from strawberry.types.base import get_object_definition

from graphql_gateway.arguments import about
from graphql_gateway.composition import Composition, Domain, part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Me, Query
from graphql_gateway.ids import bare_id
from graphql_gateway.loaders import KeyOnly
from graphql_gateway.proto import loader_of, message_of
from graphql_gateway.safety.declared import at_most
from mesh.errors import InvalidArgument

REPRESENTATIONS_MAX = 1_000

# Apollo's specification, and what of it our schemas use.
_IMPORTED = ("authenticated", "key", "requiresScopes", "shareable")
_LINK = (
    'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", '
    f"import: {json.dumps([f'@{name}' for name in _IMPORTED])})"
)
# Defined alike in all subgraphs that have it.
_SHAREABLE = "PageInfo"
# What the specification adds by itself, or imports, and what no supergraph takes over.
_UNTOLD = {
    "_Any",
    "_Entity",
    "_Service",
    "_entities",
    "_service",
    "defer",
    "stream",
    *_IMPORTED,
}

Representation = NewType("Representation", object)
REPRESENTATION = strawberry.scalar(
    name="_Any", description="What names an entity: its `__typename` and the fields of a key."
)


class BadRepresentation(InvalidArgument):
    """It does not name an entity that this subgraph knows more of than the key."""

    reason = "BAD_REPRESENTATION"


class TooManyRepresentations(InvalidArgument):
    """More entities are asked for than one call gives."""

    reason = "TOO_MANY_REPRESENTATIONS"


@strawberry.type(name="_Service", description="This subgraph.")
class Service:
    """What a composition wants to know."""

    sdl: str = strawberry.field(description="Its schema, with the directives of Federation.")


def subgraph(composition: Composition) -> Domain:
    """What makes a graph a subgraph, as a part of it."""
    tell = cache(partial(sdl, composition=composition))
    entities = {_name(entity): entity for entity in _entities(composition) if composition.resolves(entity)}

    @part_of(Query)
    class ServiceQuery:
        @strawberry.field(name="_service", description="This subgraph.")
        def service(self, info: Info) -> Service:
            return Service(sdl=tell(info.schema))

    if not entities:
        return Domain("subgraph", parts=(ServiceQuery,))
    entity_type = Annotated[Union[tuple(entities.values())], strawberry.union("_Entity")]  # type: ignore[valid-type] # noqa: UP007 - made of a list

    async def resolved(
        info: Info, representations: Annotated[list[Representation], about("At most 1,000.")]
    ) -> list[Any]:
        if len(representations) > REPRESENTATIONS_MAX:
            raise TooManyRepresentations(maximum=REPRESENTATIONS_MAX)
        # What is raised is returned in its place: one bad representation is one error.
        finding = (_find(info, one, entities) for one in representations)
        return await asyncio.gather(*finding, return_exceptions=True)

    @part_of(Query)
    class EntitiesQuery:
        entities = strawberry.field(
            resolver=resolved,
            name="_entities",
            description="Entities of other subgraphs, in the order asked; null where there is none.",
            directives=at_most(REPRESENTATIONS_MAX, by="representations"),
            graphql_type=list[entity_type | None],  # type: ignore[valid-type] # as above
        )

    return Domain("subgraph", parts=(ServiceQuery, EntitiesQuery))


def elsewhere(composition: Composition) -> dict[str, KeyOnly]:
    """What stands for the loaders of nodes that other subgraphs serve, by the loaders' names."""
    return {
        loader_of(_name(node)): KeyOnly(cast("type[Message]", message_of(node)))
        for node in composition.elsewhere
    }


async def _find(info: Info, representation: object, entities: Iterable[str]) -> Any:
    """The object; None when there is none, or not for this viewer. Raises BadId, BadRepresentation."""
    match representation:
        case {"__typename": "Me", "user": {"id": str(user_id)}} if "Me" in entities:
            viewer = info.context.viewer
            is_theirs = viewer is not None and viewer.id == bare_id("User", user_id)
            return Me(user_message=viewer.user) if viewer and is_theirs else None
        case {"__typename": str(name), "id": str(global_id)} if name in entities:
            return await getattr(info.context.loaders, loader_of(name)).load(bare_id(name, global_id))
    raise BadRepresentation


def sdl(schema: strawberry.Schema, composition: Composition) -> str:
    """The schema as a subgraph tells it: with keys, and without what the specification adds by itself."""
    keys = {_name(entity): _key(entity, composition) for entity in _entities(composition)}
    told = (
        print_ast(_told(definition, keys))
        for definition in parse(schema.as_str(), no_location=True).definitions
        if _name_of(definition) not in _UNTOLD
    )
    return "\n\n".join([_LINK, *told]) + "\n"


def _told(definition: DefinitionNode, keys: dict[str, str]) -> DefinitionNode:
    if not isinstance(definition, ObjectTypeDefinitionNode):
        return definition
    name = definition.name.value
    added = [keys[name]] if name in keys else ["@shareable"] if name == _SHAREABLE else []
    return replace(
        definition,
        directives=(*(definition.directives or ()), *map(_directive, added)),
        fields=tuple(field for field in definition.fields or () if field.name.value not in _UNTOLD),
    )


def _entities(composition: Composition) -> list[type]:
    return [*composition.nodes, Me]


def _key(entity: type, composition: Composition) -> str:
    fields = "user { id }" if entity is Me else "id"
    return f'@key(fields: "{fields}"{"" if composition.resolves(entity) else ", resolvable: false"})'


def _directive(text: str) -> ConstDirectiveNode:
    (definition,) = parse(f"scalar Any {text}", no_location=True).definitions
    return definition.directives[0]  # type: ignore[attr-defined] # as written above


def _name(entity: type) -> str:
    return get_object_definition(entity, strict=True).name


def _name_of(definition: DefinitionNode) -> str:
    name = getattr(definition, "name", None)
    return name.value if name else ""
