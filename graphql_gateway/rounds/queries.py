"""Queries on rounds."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2

from graphql_gateway.arguments import After, First, about
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Query, Round
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown
from graphql_gateway.safety.declared import PAGE, PUBLIC, SAME_FOR_ALL
from graphql_gateway.services import Services
from mesh.errors import RemoteFailure


async def find_current_round(services: Services) -> rounds_pb2.Round | None:
    """The round that is active or calculating, else the pending one; None when there is none."""
    try:
        response = await services.rounds.GetCurrentRound(rounds_service_pb2.GetCurrentRoundRequest())
    except RemoteFailure as failure:
        if failure.reason == "NO_CURRENT_ROUND":
            return None
        raise
    return response.round


@part_of(Query)
class RoundsQuery:
    """What is asked about rounds."""

    @strawberry.field(
        description="The round that is active or calculating, else the pending one.",
        directives=PUBLIC,
        metadata=SAME_FOR_ALL,
    )
    async def current_round(self, info: Info) -> Round | None:
        """The current round; null when there is none."""
        current = await find_current_round(info.context.services)
        return None if current is None else shown(Round, current)

    @strawberry.field(
        description="A round; null when there is none with this id.",
        directives=PUBLIC,
        metadata=SAME_FOR_ALL,
    )
    async def round(
        self, info: Info, id: Annotated[strawberry.ID, about("Its global id or UUID.")]
    ) -> Round | None:
        """By global id or UUID."""
        return await info.context.loaders.rounds.load(bare_id("Round", id))

    @strawberry.field(
        description="Rounds, the newest first.", directives=(*PAGE, *PUBLIC), metadata=SAME_FOR_ALL
    )
    async def rounds(self, info: Info, first: First = None, after: After = None) -> Connection[Round]:
        """All rounds ever."""

        async def fetch(size: int, token: str) -> Page:
            request = rounds_service_pb2.ListRoundsRequest(page_size=size, page_token=token)
            response = await info.context.services.rounds.ListRounds(request)
            return Page(response.rounds, response.next_page_token)

        return await connect(fetch, first=first, after=after)
