"""Any object by its global id, as Relay refetches it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import strawberry
from strawberry import relay

from graphql_gateway.arguments import about
from graphql_gateway.composition import Domain, part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Query
from graphql_gateway.ids import split_id
from graphql_gateway.proto import loader_of
from graphql_gateway.safety.declared import at_most
from mesh.errors import InvalidArgument

NODES_MAX = 100


class TooManyNodes(InvalidArgument):
    """More objects are asked for than one call gives."""

    reason = "TOO_MANY_NODES"


@part_of(Query)
class NodesQuery:
    """Relay's two queries."""

    @strawberry.field(description="Any object by its global id; null when there is none.")
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, about("Its global id.")]
    ) -> relay.Node | None:
        """One object."""
        type_name, bare = split_id(id)
        return await getattr(info.context.loaders, loader_of(type_name)).load(bare)

    @strawberry.field(
        description="Objects by their global ids, in the order asked; null where there is none.",
        directives=at_most(NODES_MAX, by="ids"),
    )
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], about("Their global ids, at most 100.")]
    ) -> list[relay.Node | None]:
        """Objects of any types, one BatchGet call for each type."""
        if len(ids) > NODES_MAX:
            raise TooManyNodes(maximum=NODES_MAX)
        split = [split_id(global_id) for global_id in ids]
        loads = [getattr(info.context.loaders, loader_of(name)).load(bare) for name, bare in split]
        return list(await asyncio.gather(*loads))


DOMAIN = Domain("nodes", parts=(NodesQuery,))
