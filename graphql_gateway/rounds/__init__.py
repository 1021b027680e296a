"""Rounds, leaderboards and results."""

from __future__ import annotations

from graphql_gateway.composition import Domain
from graphql_gateway.entities import Round
from graphql_gateway.rounds.mutations import RoundsMutation
from graphql_gateway.rounds.queries import RoundsQuery
from graphql_gateway.rounds.subscriptions import RoundsSubscription
from graphql_gateway.rounds.types import RoundFields

DOMAIN = Domain(
    "rounds",
    parts=(
        RoundsQuery,
        RoundsMutation,
        RoundsSubscription,
        RoundFields,
    ),
    nodes=(Round,),
    feeds=("rounds",),
)
