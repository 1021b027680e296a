"""People, their balances and their sessions."""

from __future__ import annotations

from graphql_gateway.accounts.mutations import AccountsMutation
from graphql_gateway.accounts.queries import AccountsQuery, MyAccounts
from graphql_gateway.accounts.subscriptions import AccountsSubscription
from graphql_gateway.accounts.types import MemeOwnership, UserFields, Viewing
from graphql_gateway.composition import Domain
from graphql_gateway.entities import User

DOMAIN = Domain(
    "accounts",
    parts=(
        AccountsQuery,
        AccountsMutation,
        AccountsSubscription,
        UserFields,
        MyAccounts,
        MemeOwnership,
    ),
    nodes=(
        User,
        Viewing,
    ),
    feeds=("ledger",),
)
