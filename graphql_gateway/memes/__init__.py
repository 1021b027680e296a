"""Memes, their films and their way through the pipeline."""

from __future__ import annotations

from graphql_gateway.composition import Domain
from graphql_gateway.entities import Meme
from graphql_gateway.memes.mutations import MemesMutation
from graphql_gateway.memes.queries import MemesQuery
from graphql_gateway.memes.subscriptions import MemesSubscription
from graphql_gateway.memes.types import MemeFields, UserMemes

DOMAIN = Domain(
    "memes",
    parts=(
        MemesQuery,
        MemesMutation,
        MemesSubscription,
        MemeFields,
        UserMemes,
    ),
    nodes=(Meme,),
    feeds=("content",),
)
