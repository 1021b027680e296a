"""Commands on rounds."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.rounds.v1 import rounds_service_pb2

from graphql_gateway.arguments import WhyForAll, about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Mutation, Round
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import ADMINS


@part_of(Mutation)
class RoundsMutation:
    """What can be done to rounds."""

    @strawberry.mutation(
        description="Undoes a round that is not completed: viewers are paid back whole. Administrators only.",
        directives=ADMINS,
    )
    async def void_round(
        self,
        info: Info,
        round_id: Annotated[strawberry.ID, about("The round: its global id or UUID.")],
        reason: WhyForAll,
    ) -> Round:
        """May be repeated."""
        request = rounds_service_pb2.VoidRoundRequest(round_id=bare_id("Round", round_id), reason=reason)
        return shown(Round, (await info.context.services.rounds.VoidRound(request)).round)
