"""Blocks, transactions, deposits and withdrawals."""

from __future__ import annotations

from graphql_gateway.chain.mutations import ChainMutation
from graphql_gateway.chain.queries import ChainQuery, MyCoins
from graphql_gateway.chain.subscriptions import ChainSubscription
from graphql_gateway.chain.types import MemeOnChain, RoundOnChain, Withdrawal
from graphql_gateway.composition import Domain

DOMAIN = Domain(
    "chain",
    parts=(
        ChainQuery,
        ChainMutation,
        ChainSubscription,
        MyCoins,
        MemeOnChain,
        RoundOnChain,
    ),
    nodes=(Withdrawal,),
    feeds=("blocks",),
)
