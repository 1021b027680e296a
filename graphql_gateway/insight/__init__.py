"""Business metrics over time."""

from __future__ import annotations

from graphql_gateway.composition import Domain
from graphql_gateway.insight.queries import InsightQuery

DOMAIN = Domain(
    "insight",
    parts=(InsightQuery,),
)
