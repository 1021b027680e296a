"""Queries on memes."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.content.v1 import content_service_pb2

from graphql_gateway.arguments import After, First, MemeId, about
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, Query
from graphql_gateway.ids import bare_id
from graphql_gateway.memes.types import MemeState
from graphql_gateway.safety.declared import PAGE, PUBLIC, SAME_FOR_ALL


@part_of(Query)
class MemesQuery:
    """What is asked about memes."""

    @strawberry.field(
        description="A meme; null when there is none with this id.",
        directives=PUBLIC,
        metadata=SAME_FOR_ALL,
    )
    async def meme(self, info: Info, id: MemeId) -> Meme | None:
        """By global id or UUID."""
        return await info.context.loaders.memes.load(bare_id("Meme", id))

    @strawberry.field(
        description="Memes in one state, published ones unless another is named: those by publication, the "
        "oldest first; all others by upload, the newest first.",
        directives=(*PAGE, *PUBLIC),
        metadata=SAME_FOR_ALL,
    )
    async def memes(
        self,
        info: Info,
        state: Annotated[MemeState, about("Only those in this state.")] = MemeState.PUBLISHED,
        creator_id: Annotated[strawberry.ID | None, about("Only of this creator.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Meme]:
        """By state and creator."""
        creator = bare_id("User", creator_id) if creator_id else ""

        async def fetch(size: int, token: str) -> Page:
            request = content_service_pb2.ListMemesRequest(
                state=int(state),  # type: ignore[arg-type] # the contract's numbers
                creator_id=creator,
                page_size=size,
                page_token=token,
            )
            response = await info.context.services.content.ListMemes(request)
            return Page(response.memes, response.next_page_token)

        return await connect(fetch, first=first, after=after)
