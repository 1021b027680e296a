"""How payouts come about: a round's public record, and what somebody got explained from it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import strawberry
from satreel.ledger.v1 import ledger_pb2

from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, User
from graphql_gateway.proto import comment, proto_type
from graphql_gateway.safety.declared import up_to
from graphql_gateway.scalars import Sats
from mesh.errors import RemoteFailure

Answer = TypeVar("Answer")


@proto_type(ledger_pb2.RoundRecord)
class RoundRecord:
    """A round's public record."""

    json: str
    sha256: str


@proto_type(ledger_pb2.PayoutStep)
class PayoutStep:
    """One step of a computation."""

    what: str
    formula: str

    @strawberry.field(description=comment(ledger_pb2.PayoutStep.DESCRIPTOR.fields_by_name["result_sats"]))
    def result_sats(self: ledger_pb2.PayoutStep) -> Sats | None:
        """Zero is a result; none is null."""
        return Sats(self.result_sats) if self.HasField("result_sats") else None

    @strawberry.field(description="The meme it is about; null for steps about the pool.")
    async def meme(self: ledger_pb2.PayoutStep, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id) if self.meme_id else None

    @strawberry.field(description="Who gets the result; null where it is nobody's yet.")
    async def user(self: ledger_pb2.PayoutStep, info: Info) -> User | None:
        """Creator or owner."""
        return await info.context.loaders.users.load(self.user_id) if self.user_id else None


@proto_type(ledger_pb2.PayoutExplanation)
class PayoutExplanation:
    """What a user, or everybody, got in a round."""

    steps: list[PayoutStep] = up_to(1_000)
    total_sats: Sats
    matches: bool
    mismatches: list[str] = up_to(100)

    @strawberry.field(description="The user; null: everybody.")
    async def user(self: ledger_pb2.PayoutExplanation, info: Info) -> User | None:
        """Whose part is explained."""
        return await info.context.loaders.users.load(self.user_id) if self.user_id else None


async def if_played(answer: Awaitable[Answer]) -> Answer | None:
    """The ledger's answer about a round; None when it was never opened there."""
    try:
        return await answer
    except RemoteFailure as failure:
        if failure.reason == "ROUND_NOT_FOUND":
            return None
        raise
