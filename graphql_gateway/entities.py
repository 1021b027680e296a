"""Types whose fields come from several domains: each here is no more than what joins them.

A domain's part of such a type is a class of its own, `@part_of(Meme)`; `composition` puts the parts together.
So domains share these keys, and no resolvers.
"""

from __future__ import annotations

import strawberry
from satreel.content.v1 import content_pb2
from satreel.identity.v1 import identity_pb2
from satreel.rounds.v1 import rounds_pb2
from strawberry import relay

from graphql_gateway.proto import proto_type, shown


@strawberry.type(description="What can be asked.")
class Query:
    """All queries."""


@strawberry.type(
    description="What can be done. Calls that create something may be repeated with the same `id`."
)
class Mutation:
    """All commands."""


@strawberry.type(description="What changes, over graphql-transport-ws.")
class Subscription:
    """All live updates."""


@proto_type(identity_pb2.User, loader="users")
class User(relay.Node):
    """A person, known by a wallet."""

    id: relay.NodeID[str]


@proto_type(content_pb2.Meme, loader="memes")
class Meme(relay.Node):
    """A meme."""

    id: relay.NodeID[str]


@proto_type(rounds_pb2.Round, loader="rounds")
class Round(relay.Node):
    """A round."""

    id: relay.NodeID[str]


@strawberry.type(description="The signed-in user, with what only they may see.")
class Me:
    """The viewer. Other domains join it by its user."""

    user_message: strawberry.Private[identity_pb2.User]

    @strawberry.field(description="As others see them.")
    def user(self) -> User:
        """The public side."""
        return shown(User, self.user_message)
