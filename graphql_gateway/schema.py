"""The schema: what all domains show, as one graph. `python -m graphql_gateway.schema` prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import strawberry
from strawberry import relay
from strawberry.extensions import DisableIntrospection, MaxTokensLimiter, QueryDepthLimiter
from strawberry.extensions.base_extension import SchemaExtension
from strawberry.schema.config import StrawberryConfig

from graphql_gateway.accounts.mutations import AccountsMutation
from graphql_gateway.accounts.queries import AccountsQuery
from graphql_gateway.accounts.subscriptions import AccountsSubscription
from graphql_gateway.chain.mutations import ChainMutation
from graphql_gateway.chain.queries import ChainQuery
from graphql_gateway.chain.subscriptions import ChainSubscription
from graphql_gateway.errors import RenderErrors
from graphql_gateway.insight.queries import InsightQuery
from graphql_gateway.market.mutations import MarketMutation
from graphql_gateway.market.queries import MarketQuery
from graphql_gateway.market.subscriptions import MarketSubscription
from graphql_gateway.memes.mutations import MemesMutation
from graphql_gateway.memes.queries import MemesQuery
from graphql_gateway.memes.subscriptions import MemesSubscription
from graphql_gateway.proto import resolve_field
from graphql_gateway.rounds.mutations import RoundsMutation
from graphql_gateway.rounds.queries import RoundsQuery
from graphql_gateway.rounds.subscriptions import RoundsSubscription
from graphql_gateway.scalars import SCALARS

TOKENS_MAX = 2_000
DEPTH_MAX = 12


@strawberry.type(description="What can be asked.")
class Query(RoundsQuery, MemesQuery, MarketQuery, AccountsQuery, ChainQuery, InsightQuery):
    """All queries."""

    node: relay.Node | None = relay.node(description="Any object by its global id; null when there is none.")


@strawberry.type(
    description="What can be done. Calls that create something may be repeated with the same `id`."
)
class Mutation(AccountsMutation, MemesMutation, MarketMutation, ChainMutation, RoundsMutation):
    """All commands."""


@strawberry.type(description="What changes, over graphql-transport-ws.")
class Subscription(
    RoundsSubscription, AccountsSubscription, MarketSubscription, MemesSubscription, ChainSubscription
):
    """All live updates."""


def build(
    *, tokens_max: int = TOKENS_MAX, depth_max: int = DEPTH_MAX, introspection: bool = True
) -> strawberry.Schema:
    """The whole graph, with bounds on documents."""
    extensions: list[Callable[[], SchemaExtension]] = [
        RenderErrors,
        lambda: MaxTokensLimiter(max_token_count=tokens_max),
        lambda: QueryDepthLimiter(max_depth=depth_max),
        *(() if introspection else (DisableIntrospection,)),
    ]
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=extensions,
        config=StrawberryConfig(default_resolver=resolve_field, scalar_map=SCALARS),
    )


if __name__ == "__main__":
    sys.stdout.write(build().as_str() + "\n")
